//! Opening a connection.

use std::fmt;
use std::pin::Pin;

use sqlx::ConnectOptions as _;
use tenure::shield;

use crate::{Backend, Connection, Error, Retry, Stage};

/// How a connection of this database is opened.
pub(crate) type Options<DB> = <<DB as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// A connection to be opened, as a context: made by the function `connect` in the module of its database.
#[must_use = "nothing is opened before it is entered, with `tenure::with` for instance"]
pub struct Connect<DB: Backend> {
    options: Options<DB>,
    retry: Retry,
}

impl<DB: Backend> Connect<DB> {
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "pool")),
        expect(dead_code, reason = "there is nothing to connect to without a database")
    )]
    pub(crate) fn new(options: Options<DB>) -> Self {
        Self { options, retry: Retry::new() }
    }

    /// How a busy database is waited for. The default is [`Retry::new`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    async fn enter(self) -> Result<Connection<DB>, Error> {
        let mut attempts = self.retry.start();
        loop {
            // Only the attempt is shielded: nothing is open between attempts.
            match shield(open::<DB>(self.options.clone())).await {
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

async fn open<DB: Backend>(options: Options<DB>) -> Result<Connection<DB>, sqlx::Error> {
    options.connect().await.map(Connection::from_sqlx)
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
        Self { options: self.options.clone(), retry: self.retry }
    }
}

/// Without the options, which may have a password in them.
impl<DB: Backend> fmt::Debug for Connect<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("database", &DB::NAME)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
