//! Opening a connection.

use std::fmt;
use std::pin::Pin;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::time::Duration;

use sqlx::ConnectOptions as _;
use tenure::shield;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::cancel::{CANCEL_AFTER, CANCEL_LIMIT, Cancel, stop};
use crate::cancel::{Canceller, Stop};
use crate::lease::Holder;
use crate::{Backend, Connection, Error, Retry, Stage};

/// How a connection of this database is opened.
pub(crate) type Options<DB> = <<DB as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// A connection to be opened, as a context: made by the function `connect` in the module of its database.
#[must_use = "nothing is opened before it is entered, with `tenure::with` for instance"]
pub struct Connect<DB: Backend> {
    options: Options<DB>,
    retry: Retry,
    cancel: Option<Stop<DB>>,
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<DB: Cancel> Connect<DB> {
    /// How long a statement that nobody waits for may go on before the server is told to stop it, with
    /// [`cancel_statements`](Self::cancel_statements): 100 ms.
    pub const CANCEL_AFTER: Duration = CANCEL_AFTER;
    /// How long opening the connection for it may take, and again telling the server: 5 s.
    pub const CANCEL_LIMIT: Duration = CANCEL_LIMIT;

    /// Sets whether a statement that a dropped body has left running is stopped before the rollback: after
    /// [`CANCEL_AFTER`](Self::CANCEL_AFTER), by a word to the server (`pg_cancel_backend`, `KILL QUERY`) on a second
    /// connection, which is opened for it with the same options and may take [`CANCEL_LIMIT`](Self::CANCEL_LIMIT). The
    /// default is no: the rollback waits for the statement, up to its
    /// [`answer_limit`](crate::Begin::answer_limit).
    ///
    /// It is done in the exits that undo: of a transaction, of a savepoint, of a connection whose use did not complete.
    /// If the second connection cannot be opened, as where the server has no room for it, it is tried again while the
    /// statement goes on, up to its limit. Connections of one pool take turns, so that one more is open at a time. If the server has been asked and does
    /// not answer, the connection is closed.
    ///
    /// It costs one round trip when a connection is opened and, while a statement is being stopped, one further
    /// connection. Leave it off behind a proxy that shares the
    /// server's sessions among clients, such as `PgBouncer` in transaction mode: another's statement would be stopped.
    pub fn cancel_statements(mut self, yes: bool) -> Self {
        self.cancel = yes.then(stop::<DB>);
        self
    }
}

impl<DB: Backend> Connect<DB> {
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "pool")),
        expect(dead_code, reason = "there is nothing to connect to without a database")
    )]
    pub(crate) fn new(options: Options<DB>) -> Self {
        Self { options, retry: Retry::new(), cancel: None }
    }

    /// Sets how a busy database is waited for. The default is [`Retry::new`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    #[cfg(feature = "pool")]
    pub(crate) fn cancel(mut self, cancel: Option<Stop<DB>>) -> Self {
        self.cancel = cancel;
        self
    }

    async fn enter(self) -> Result<Connection<DB>, Error> {
        let mut attempts = self.retry.start();
        loop {
            // Only the attempt is shielded: nothing is open between attempts.
            match shield(open::<DB>(self.options.clone(), self.cancel.clone())).await {
                Ok(connection) => return Ok(connection),
                Err(error) if DB::is_busy(&error) => {
                    if let Err(gave_up) = attempts.pause().await {
                        return Err(Error::busy(Stage::Connect, error, gave_up));
                    }
                }
                Err(error) => return Err(Error::new::<DB>(Stage::Connect, error)),
            }
        }
    }
}

async fn open<DB: Backend>(
    options: Options<DB>,
    cancel: Option<Stop<DB>>,
) -> Result<Connection<DB>, sqlx::Error> {
    let mut connection = options.connect().await?;
    let interrupt = DB::interrupt(&mut connection).await?;
    let canceller = match cancel {
        Some(stop) => Some(Canceller::of(&mut connection, options, stop).await?),
        None => None,
    };
    Ok(Connection::of(Holder::opened(connection, canceller, interrupt)))
}

impl<DB: Backend> IntoFuture for Connect<DB> {
    type Output = Result<Connection<DB>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.enter())
    }
}

impl<DB: Backend> Clone for Connect<DB> {
    fn clone(&self) -> Self {
        Self { options: self.options.clone(), retry: self.retry, cancel: self.cancel.clone() }
    }
}

/// Without the options, which may have a password in them.
impl<DB: Backend> fmt::Debug for Connect<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("database", &DB::NAME)
            .field("retry", &self.retry)
            .field("cancel_statements", &self.cancel.is_some())
            .finish_non_exhaustive()
    }
}
