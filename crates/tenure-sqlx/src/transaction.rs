//! A transaction as a context: committed when its body completed, rolled back on every other path.
//!
//! # Invariants
//! 1. The lease is dirty from before the `BEGIN` is sent until a `COMMIT` or `ROLLBACK` was acknowledged.
//! 2. Each attempt to begin is shielded: once a `BEGIN` is out, its answer is awaited, also when nobody
//!    waits for the transaction any more, and what it opened is rolled back. Waiting between
//!    attempts is not shielded: nothing is open then.
//! 3. After a `COMMIT` that was refused, a `ROLLBACK` follows; the connection goes home only if that succeeds. After
//!    one whose answer is lost nothing follows: the lease stays dirty, which closes the connection.
//! 4. No answer is waited for longer than the limit, except where a database needs none.

use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx_core::transaction::TransactionManager as _;
use tenure::{AsyncExit, Ending, Outcome, hold, shield};

use crate::connection::close;
use crate::ending::{commit, undo};
use crate::lease::{Holder, Keeper, Lease};
use crate::line::Line;
use crate::{Backend, Error, Retry, SetSavepoint, Stage};

/// A transaction to be entered; made by [`Connection::transaction`](crate::Connection::transaction).
#[must_use = "nothing is begun before it is entered, with `tenure::with` for instance"]
pub struct Begin<'c, DB: Backend> {
    pub(crate) on: On<'c, DB>,
    pub(crate) terms: Terms<DB>,
}

/// How it begins and ends.
pub(crate) struct Terms<DB: Backend> {
    mode: DB::Mode,
    pub(crate) retry: Retry,
    pub(crate) answer_limit: Option<Duration>,
}

impl<DB: Backend> Clone for Terms<DB> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<DB: Backend> Copy for Terms<DB> {}

/// The connection on which to begin.
pub(crate) enum On<'c, DB: Backend> {
    Borrowed(&'c mut Holder<DB>),
    Owned(Holder<DB>),
    /// One that a pool will lend.
    #[cfg_attr(not(feature = "pool"), expect(dead_code, reason = "there is no pool"))]
    Pooled(Get<DB>),
}

/// Gets a connection of a pool.
pub(crate) type Get<DB> = Pin<Box<dyn Future<Output = Result<Keeper<DB>, Error>> + Send>>;

impl<'c, DB: Backend> Begin<'c, DB> {
    pub(crate) fn borrowed(holder: &'c mut Holder<DB>) -> Self {
        Self::on(On::Borrowed(holder))
    }

    fn on(on: On<'c, DB>) -> Self {
        let (mode, retry, answer_limit) = (DB::Mode::default(), Retry::new(), DB::ANSWER_LIMIT);
        Self { on, terms: Terms { mode, retry, answer_limit } }
    }

    /// Sets how it begins. The default is what the database does by default.
    pub fn mode(mut self, mode: DB::Mode) -> Self {
        self.terms.mode = mode;
        self
    }

    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn map_mode(mut self, change: impl FnOnce(&mut DB::Mode)) -> Self {
        change(&mut self.terms.mode);
        self
    }

    /// Sets how a busy database is waited for, at `BEGIN` and at `COMMIT`; with [`run`](Self::run), also how often the
    /// whole is done. The default is [`Retry::new`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.terms.retry = retry;
        self
    }

    /// Sets how long to wait for the answer to a `BEGIN`, `COMMIT` or `ROLLBACK` and to statements about savepoints, each.
    /// Then the connection is closed, and the step has failed. `None` is no limit. The default is
    /// [`Backend::ANSWER_LIMIT`].
    ///
    /// It counts from when the statement is sent. A rollback waits behind a statement that was abandoned, and a
    /// server goes on with that one: a short limit gives the caller's time back, not the server's.
    pub fn answer_limit(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.terms.answer_limit = limit.into();
        self
    }

    async fn enter(self) -> Result<Transaction<DB>, Error> {
        let Self { on, terms } = self;
        let mut lease = match on {
            On::Borrowed(holder) => {
                holder.wait().await?;
                holder.lend().ok_or_else(Error::closed)?
            }
            On::Owned(mut holder) => {
                holder.wait().await?;
                holder.give().ok_or_else(Error::closed)?
            }
            On::Pooled(get) => {
                let mut keeper = get.await?;
                let holder = keeper.0.holder_mut();
                holder.wait().await?;
                holder.lend().ok_or_else(Error::closed)?.keep(keeper)
            }
        };
        let mut attempts = terms.retry.start();
        loop {
            let refused = match shield(Attempt::make(lease, terms)).await?.0 {
                Ok(transaction) => return Ok(transaction),
                Err(refused) => refused,
            };
            if !DB::is_busy(&refused.error) {
                let Refused { lease, error } = refused;
                return Err(refuse(lease, Error::new::<DB>(Stage::Begin, error)).await);
            }
            let Refused { lease: free, error } = refused;
            if let Err(gave_up) = attempts.pause().await {
                return Err(refuse(free, Error::busy(Stage::Begin, error, gave_up)).await);
            }
            lease = free;
        }
    }
}

/// What a failed enter comes to, after a connection that was given for good is closed, and one of a pool is given back,
/// told why.
async fn refuse<DB: Backend>(lease: Lease<DB>, error: Error) -> Error {
    if lease.is_for_good() {
        return error.with_cleanup(shut(lease).await.err());
    }
    if let Some(keeper) = lease.end() {
        // It never fails.
        let _ = keeper.exit(Outcome::failed(&error)).await;
    }
    error
}

impl<DB: Backend> Begin<'static, DB> {
    pub(crate) fn owned(holder: Holder<DB>) -> Self {
        Self::on(On::Owned(holder))
    }

    #[cfg(feature = "pool")]
    pub(crate) fn pooled(get: Get<DB>) -> Self {
        Self::on(On::Pooled(get))
    }
}

impl<'c, DB: Backend> IntoFuture for Begin<'c, DB> {
    type Output = Result<Transaction<DB>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.enter())
    }
}

/// What begins a transaction inside of one that is always rolled back.
const TEST_SAVEPOINT: &str = "SAVEPOINT tenure_test";

/// A `BEGIN` that was sent, and what came of it: what the shield guards.
///
/// A refusal is a resource too: when nobody waits for it any more, it still has a connection to
/// close or to give back, and that the database was busy is then nobody's trouble.
struct Attempt<DB: Backend>(Result<Transaction<DB>, Refused<DB>>);

/// A `BEGIN` that failed, and the connection on which it did.
struct Refused<DB: Backend> {
    lease: Lease<DB>,
    error: sqlx::Error,
}

impl<DB: Backend> Attempt<DB> {
    /// Sends one `BEGIN` and waits for the answer.
    async fn make(mut lease: Lease<DB>, terms: Terms<DB>) -> Result<Self, Error> {
        let statement = DB::begin_statement(terms.mode);
        lease.mark_dirty();
        let limit = terms.answer_limit;
        lease.holder_mut().wait().await?;
        if let Err(error) = lease.holder_mut().prove(limit).await {
            return Ok(Self(Err(Refused { lease, error })));
        }
        let is_in_test = lease.holder().is_in_test();
        let line = match lease.holder_mut().line_in_reach() {
            Ok(reached) => reached,
            Err(error) => return Ok(Self(Err(Refused { lease, error }))),
        };
        let Line { connection, patience, overcounted, .. } = line;
        let begun = async {
            if is_in_test {
                // It nests in the one that is always rolled back.
                Box::pin(DB::execute(connection, TEST_SAVEPOINT.into_sql_str())).await
            } else if *overcounted {
                DB::begin_counted(connection, statement).await
            } else {
                DB::TransactionManager::begin(connection, Some(statement)).await
            }
        };
        Ok(Self(match patience.within(limit, begun).await {
            Ok(()) => {
                line.begun();
                Ok(Transaction { lease, terms })
            }
            Err(error) => {
                if DB::is_refused_begin(&error) {
                    lease.mark_clean();
                }
                Err(Refused { lease, error })
            }
        }))
    }
}

impl<DB: Backend> AsyncExit for Attempt<DB> {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        match self.0 {
            Ok(transaction) => transaction.exit(outcome).await,
            Err(Refused { lease, error }) => {
                let is_busy = DB::is_busy(&error);
                let error = refuse(lease, Error::new::<DB>(Stage::Begin, error)).await;
                if is_busy && error.cleanup_error().is_none() { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// An open transaction: the resource that a body gets.
///
/// It dereferences to sqlx's own connection: `query.execute(&mut **transaction)`, streams and query macros work as
/// on sqlx's `Transaction`, sqlx's own nested `begin` included. Only beginning is different, and ending: a body that
/// returns `Ok` commits, and everything else rolls back.
///
/// # Guarantees
/// - The commit or rollback is awaited before the result of the body comes out. When the caller
///   is gone, it goes on in the background.
/// - After the exit the connection is clean, or it is closed. A connection with an open transaction is never
///   handed back.
/// - What a statement has left undone because nobody waited for it is dealt with before, and an error of it is
///   not taken for an answer to the commit.
/// - A commit that the database refuses because it is busy is repeated, as [`Retry`] says. When it is refused for
///   good, the transaction is rolled back and the error is at [`Stage::Commit`].
///
/// # Panics
/// Dereferencing panics while a savepoint has the connection: while it is held, and after it was dropped before its
/// end, until its rollback has ended in the background. After a `timeout` or `select!` around a savepoint, await
/// [`ready`](Self::ready) first.
#[must_use = "a transaction that is dropped, not exited, closes its connection"]
pub struct Transaction<DB: Backend> {
    lease: Lease<DB>,
    terms: Terms<DB>,
}

impl<DB: Backend> Transaction<DB> {
    /// Returns a savepoint in this transaction, as a context: released when its body completed, rolled back to otherwise.
    ///
    /// ```
    /// # use sqlx::sqlite::SqliteConnectOptions;
    /// # use tenure::with;
    /// # use tenure_sqlx::sqlite;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sqlx::Error> {
    /// # let mut connection = sqlite::connect(SqliteConnectOptions::new().in_memory(true)).await?;
    /// # sqlx::query("CREATE TABLE seats (seat INTEGER UNIQUE)").execute(&mut *connection).await?;
    /// with(connection.transaction().immediate(), async |transaction| {
    ///     for seat in [7, 8, 7] {
    ///         let booked = with(transaction.savepoint(), async |savepoint| {
    ///             let insert = sqlx::query("INSERT INTO seats VALUES (?)").bind(seat);
    ///             insert.execute(&mut **savepoint).await
    ///         });
    ///         if let Err(taken) = booked.await {
    ///             println!("seat {seat}: {taken}"); // only this one is undone
    ///         }
    ///     }
    ///     Ok::<_, sqlx::Error>(())
    /// })
    /// .await?;
    /// # let seats: i64 = sqlx::query_scalar("SELECT count(*) FROM seats").fetch_one(&mut *connection).await?;
    /// # assert_eq!(seats, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Entering fails at [`Stage::Savepoint`], or at [`Stage::HandBack`]. The exit fails at [`Stage::Release`] or
    /// [`Stage::RollbackToSavepoint`].
    ///
    /// # Cancel safety
    /// As [`Connection::transaction`](crate::Connection::transaction).
    pub fn savepoint(&mut self) -> SetSavepoint<'_, DB> {
        SetSavepoint::in_transaction(self.lease.holder_mut(), self.terms.answer_limit)
    }

    /// Commits now: for code that cannot be the body of a [`with`](tenure::with), or is not yet.
    ///
    /// Whoever has a transaction by value has to end it on each path: one that is dropped is not rolled back but loses
    /// its connection, which is closed. In a body there is no need for this: return `Ok`.
    ///
    /// # Errors
    /// As the exit's, at [`Stage::Commit`].
    ///
    /// # Cancel safety
    /// Once polled, it goes on in the background.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), Error>> + Send {
        let held = hold(ready(Ok::<_, Infallible>(self)));
        async move {
            let Ok(held) = held.await;
            held.close().await
        }
    }

    /// Rolls back now: see [`commit`](Self::commit). In a body there is no need for this: return `Err`.
    ///
    /// # Errors
    /// As the exit's, at [`Stage::Rollback`].
    ///
    /// # Cancel safety
    /// Once polled, it goes on in the background.
    #[track_caller]
    pub fn rollback(self) -> impl Future<Output = Result<(), Error>> + Send {
        let held = hold(ready(Ok::<_, Infallible>(self)));
        async move {
            let Ok(held) = held.await;
            held.exit(Ending::Cancelled).await
        }
    }

    /// Returns the connection of sqlx's: what dereferencing gives.
    ///
    /// # Panics
    /// As dereferencing does: while a savepoint has the connection.
    #[track_caller]
    pub fn conn(&mut self) -> &mut DB::Connection {
        self
    }

    /// Waits until the connection has come back from a savepoint that was dropped before its end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// [`Stage::HandBack`], if the connection had to be closed, or did not come back within 10 s.
    pub async fn ready(&mut self) -> Result<&mut DB::Connection, Error> {
        self.lease.holder_mut().ready().await
    }
}

impl<DB: Backend> AsyncExit for Transaction<DB> {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        let Self { mut lease, terms } = self;
        lease.holder_mut().wait().await?;
        let ended = match outcome {
            Outcome::Completed => commit(&mut lease, terms).await,
            Outcome::Failed(_) | Outcome::Panicked(_) => undo(&mut lease, terms).await,
            Outcome::Cancelled => match undo(&mut lease, terms).await {
                // A body that is dropped amid a statement may take the connection's place along. The connection is closed,
                // since the lease stays dirty, and the transaction ends with it: nothing has gone wrong.
                Err(error) if error.is_out_of_place() => Ok(()),
                undone => undone,
            },
        };
        if !lease.is_for_good() {
            if let Some(keeper) = lease.end() {
                let outcome = ended.as_ref().map_or_else(Outcome::failed, |()| outcome);
                keeper.exit(outcome).await?;
            }
            return ended;
        }
        let closed = shut(lease).await;
        match ended {
            Ok(()) => closed,
            Err(error) => Err(error.with_cleanup(closed.err())),
        }
    }
}

/// Closes a connection that was given for good, clean or not.
async fn shut<DB: Backend>(mut lease: Lease<DB>) -> Result<(), Error> {
    match lease.holder_mut().take() {
        Some(connection) => close(Holder::<DB>::new(connection)).await,
        None => Ok(()),
    }
}

impl<DB: Backend> Deref for Transaction<DB> {
    type Target = DB::Connection;

    #[track_caller]
    fn deref(&self) -> &DB::Connection {
        let connection = self.lease.holder().connection();
        connection.expect(AWAY)
    }
}

impl<DB: Backend> DerefMut for Transaction<DB> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut DB::Connection {
        let connection = self.lease.holder_mut().connection_mut();
        connection.expect(AWAY)
    }
}

/// What a dereference says when the connection is away.
pub(crate) const AWAY: &str = "a savepoint has the connection: await `ready()` after a savepoint was dropped";

impl<DB: Backend> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("database", &DB::NAME)
            .field("is_here", &self.lease.holder().connection().is_some())
            .finish()
    }
}

impl<DB: Backend> fmt::Debug for Begin<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin")
            .field("database", &DB::NAME)
            .field("mode", &self.terms.mode)
            .field("retry", &self.terms.retry)
            .field("answer_limit", &self.terms.answer_limit)
            .finish_non_exhaustive()
    }
}
