//! A connection as a resource: closed, and awaited, at its exit.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::Connection as _;
use tenure::{AsyncExit, Outcome};

use crate::cancel::stop_abandoned;
use crate::lease::Holder;
#[cfg(feature = "pool")]
use crate::line::Line;
#[cfg(feature = "pool")]
use crate::pool::end_use;
use crate::{Backend, Begin, Error, Stage};

/// A connection that is closed at its exit, and on which transactions are contexts.
///
/// It dereferences to sqlx's own connection, so whatever takes `&mut SqliteConnection` takes `&mut *connection`.
/// Begin transactions with [`transaction`](Self::transaction) rather than with sqlx's `begin`, which leaves the
/// rollback of a dropped transaction to whoever uses the connection next.
///
/// # Guarantees
/// The exit closes the connection as [`sqlx::Connection::close`] does, and has ended when the database is closed.
/// A transaction on it has ended before. A connection that a transaction could not leave clean is closed at once
/// and is not handed back.
///
/// # Panics
/// Dereferencing panics while the connection is away. It is away while a transaction on it is held, and after a
/// transaction was dropped before its end, until its rollback has ended in the background. After a `timeout` or a
/// `select!` around a transaction, await [`ready`](Self::ready) first.
#[must_use = "a connection that is dropped, not exited, is closed in the background"]
pub struct Connection<DB: Backend> {
    holder: Holder<DB>,
}

impl<DB: Backend> Connection<DB> {
    /// Makes a resource of a connection of sqlx's, on which no transaction is open.
    pub fn from_sqlx(connection: DB::Connection) -> Self {
        Self::of(Holder::new(connection))
    }

    pub(crate) fn of(holder: Holder<DB>) -> Self {
        Self { holder }
    }

    /// Whether a transaction has closed it, or somebody has taken it out.
    #[cfg(feature = "pool")]
    pub(crate) fn is_closed(&self) -> bool {
        self.holder.is_closed()
    }

    /// Whether it is here, and as far as sqlx knows no transaction is open on it, nor a word left to send.
    #[cfg(feature = "pool")]
    pub(crate) fn is_idle(&self) -> bool {
        let connection = self.holder.connection().filter(|_| !self.holder.is_lost());
        let is_counted = self.holder.is_in_test() || self.holder.is_overcounted();
        connection.is_some_and(|connection| {
            (is_counted || !connection.is_in_transaction()) && !connection.should_flush()
        })
    }

    /// Has its place in the protocol proved, and ends what transaction is open.
    #[cfg(feature = "pool")]
    pub(crate) async fn tidy(&mut self) -> Result<(), Error> {
        let failed = |error| Error::new::<DB>(Stage::Check, error);
        self.holder.wait().await?;
        if self.holder.is_in_test() {
            return end_use(&mut self.holder, DB::ANSWER_LIMIT).await.map_err(failed);
        }
        let Line { connection, patience, overcounted, .. } = self.holder.line_in_reach().map_err(failed)?;
        // Nobody has had it since a commit where the count is too high.
        let tidied =
            async { if *overcounted { DB::prove(connection).await } else { DB::tidy(connection).await } };
        let answer = patience.within(DB::ANSWER_LIMIT, tidied).await;
        self.holder.note(answer).map_err(failed)?;
        Ok(())
    }

    #[cfg(feature = "pool")]
    pub(crate) fn holder(&self) -> &Holder<DB> {
        &self.holder
    }

    #[cfg(feature = "pool")]
    pub(crate) fn into_holder(self) -> Holder<DB> {
        self.holder
    }

    pub(crate) fn holder_mut(&mut self) -> &mut Holder<DB> {
        &mut self.holder
    }

    /// Returns a transaction on this connection, as a context. The connection moves into it and comes back at its exit.
    ///
    /// A `BEGIN` is sent when the context is entered, after an earlier transaction on this connection has ended.
    ///
    /// ```
    /// # use sqlx::sqlite::SqliteConnectOptions;
    /// # use tenure::with;
    /// # use tenure_sqlx::sqlite;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sqlx::Error> {
    /// # let mut connection = sqlite::connect(SqliteConnectOptions::new().in_memory(true)).await?;
    /// # sqlx::query("CREATE TABLE seats (seat INTEGER UNIQUE)").execute(&mut *connection).await?;
    /// let booked = with(connection.transaction().immediate(), async |transaction| {
    ///     for seat in [7, 8, 7] {
    ///         let insert = sqlx::query("INSERT INTO seats VALUES (?)").bind(seat);
    ///         insert.execute(&mut **transaction).await?;
    ///     }
    ///     Ok::<_, sqlx::Error>(())
    /// })
    /// .await;
    /// assert!(booked.is_err()); // seat 7 was taken
    /// let seats: i64 = sqlx::query_scalar("SELECT count(*) FROM seats").fetch_one(&mut *connection).await?;
    /// assert_eq!(seats, 0); // and so seat 8 was given back
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Entering fails at [`Stage::Begin`], or at [`Stage::HandBack`] if the connection was closed or did not come
    /// back from an earlier transaction within 10 s. The exit fails at [`Stage::Commit`] or [`Stage::Rollback`].
    ///
    /// # Cancel safety
    /// Dropped before the first poll, or while it waits, nothing has happened. Once a `BEGIN` is out, its answer is
    /// awaited in the background, and what it opened is rolled back there.
    pub fn transaction(&mut self) -> Begin<'_, DB> {
        Begin::borrowed(&mut self.holder)
    }

    /// Returns the connection of sqlx's: what `&mut *connection` is on a `Connection`, whatever it is behind.
    ///
    /// In a body of [`with`](tenure::with), where `connection` is a `&mut Connection`, `connection.conn()` is
    /// `&mut **connection`.
    ///
    /// # Panics
    /// As dereferencing does: while a transaction has the connection.
    #[track_caller]
    pub fn conn(&mut self) -> &mut DB::Connection {
        self
    }

    /// Returns a transaction on this connection, as a context, which closes the connection after its end.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction), and at its exit [`Stage::Close`].
    pub fn into_transaction(self) -> Begin<'static, DB> {
        Begin::owned(self.holder)
    }

    /// Waits until the connection has come back from a transaction that was dropped before its end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// [`Stage::HandBack`], if the connection had to be closed, or did not come back within 10 s.
    pub async fn ready(&mut self) -> Result<&mut DB::Connection, Error> {
        self.holder.ready().await
    }

    /// Returns the connection of sqlx's, if no transaction has it.
    ///
    /// From here on nobody closes it.
    ///
    /// # Errors
    /// Gives `self` back while the connection is away.
    pub fn into_sqlx(mut self) -> Result<DB::Connection, Self> {
        // The user's own from here on.
        self.holder.connection_mut();
        self.holder.take().ok_or(self)
    }
}

impl<DB: Backend> AsyncExit for Connection<DB> {
    type Error = Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Error> {
        match self.holder.wait().await {
            Ok(()) => {
                if !matches!(outcome, Outcome::Completed) {
                    // Closed it is in any case.
                    let _ = stop_abandoned(&mut self.holder, DB::ANSWER_LIMIT).await;
                }
                close(self.holder).await
            }
            // It was closed by a transaction, whose exit has reported why.
            Err(error) if error.is_closed() => Ok(()),
            Err(still_lent) => Err(still_lent),
        }
    }
}

/// What a dereference says when the connection is away.
pub(crate) const AWAY: &str = "the connection is away: await `ready()` after a transaction on it was dropped";

/// Closes what the holder has.
pub(crate) async fn close<DB: Backend>(mut holder: Holder<DB>) -> Result<(), Error> {
    match holder.take() {
        Some(connection) => connection.close().await.map_err(|error| Error::new::<DB>(Stage::Close, error)),
        None => Ok(()),
    }
}

impl<DB: Backend> Deref for Connection<DB> {
    type Target = DB::Connection;

    #[track_caller]
    fn deref(&self) -> &DB::Connection {
        let connection = self.holder.connection();
        connection.expect(AWAY)
    }
}

impl<DB: Backend> DerefMut for Connection<DB> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut DB::Connection {
        let connection = self.holder.connection_mut();
        connection.expect(AWAY)
    }
}

impl<DB: Backend> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("database", &DB::NAME)
            .field("is_here", &self.holder.connection().is_some())
            .finish()
    }
}
