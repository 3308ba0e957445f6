//! What differs from database to database: one sealed trait, implemented once for each driver.
//!
//! Everything else (lending, retrying, the order of things) is written once, on top of it.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::database::HasStatementCache;
use sqlx::error::DatabaseError;
use sqlx::{Connection, Database, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use crate::lease::out_of_place;

/// A database whose connections and transactions can be tenures.
///
/// Implemented for `sqlx::Sqlite`, `sqlx::Postgres` and `sqlx::MySql`, each behind its feature. It is sealed: the
/// rules an implementation has to keep are internal.
pub trait Backend: Database<Connection: Connection<Database = Self> + Sync> + Driver {
    /// How a transaction of this database begins: what can be said in its `BEGIN`.
    ///
    /// The default is what the database does by default.
    type Mode: Clone + Copy + Debug + Default + Send + Sync + 'static;

    /// How long the answer to a `BEGIN`, `COMMIT` or `ROLLBACK` is waited for, unless
    /// [`Begin::answer_limit`](crate::Begin::answer_limit) says otherwise.
    ///
    /// None on SQLite, which is in the same process and always answers; 10 s on a server, whose answer may be lost.
    const ANSWER_LIMIT: Option<Duration>;
}

/// The driver's part of [`Backend`], which nobody else can name.
pub trait Driver: Database + HasStatementCache {
    /// Whether of two connections that close at the same time each has to know of the other.
    const CLOSES_IN_TURN: bool = false;

    /// Returns the statement that begins a transaction in this mode.
    fn begin_statement(mode: <Self as Backend>::Mode) -> SqlStr
    where
        Self: Backend;

    /// Proves that the connection is in its place in the protocol: the next answer is the next statement's own.
    ///
    /// Statements that were abandoned half-way are finished with before. Only an echo of a random word is a proof; no
    /// other answer is, and after an error none but an echo of another word.
    fn prove(connection: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Takes in the answers to the statements that were abandoned half-way, also where they were stopped.
    fn skip(connection: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Runs statements whose rows nobody needs. `Ok` is a proof as well, as of [`prove`](Self::prove).
    fn execute(
        connection: &mut Self::Connection,
        statements: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Returns `true` if a `COMMIT` would keep what was done since the `BEGIN`: the transaction is still open, and the
    /// connection is in its place. To be called once, before the `COMMIT`.
    ///
    /// `Ok(true)` is a proof as well, as of [`prove`](Self::prove). If the connection is shared, as those of a pool are,
    /// what would disturb the next user is given up as well.
    fn is_whole(
        connection: &mut Self::Connection,
        is_shared: bool,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send + '_;

    /// `true` if [`commit_at_once`](Self::commit_at_once) is there.
    const COMMITS_AT_ONCE: bool = false;

    /// Makes sure that nothing is in the way of [`commit_at_once`](Self::commit_at_once). Nothing is committed yet.
    fn clear_the_way(
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_ {
        ready(Ok(()))
    }

    /// Commits if the transaction is still open and whole, in one trip; sqlx's count has to be one, and stays.
    ///
    /// `Ok` is a proof as well, as of [`prove`](Self::prove). An error that [is an answer](Self::is_answer) says that
    /// nothing is kept, if it is this statement's own: an echo that comes back later proves that.
    ///
    /// What would disturb the next user of a shared connection is given up as well.
    fn commit_at_once(
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_ {
        ready(Err(out_of_place()))
    }

    /// Begins a transaction where sqlx counts one already, and none is open.
    fn begin_counted(
        _connection: &mut Self::Connection,
        _begin: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_ {
        ready(Err(out_of_place()))
    }

    /// Lowers sqlx's count from one to none where no transaction is open, without waiting: whoever sends the next
    /// statement waits for it.
    fn lower_count(connection: &mut Self::Connection) {
        Self::TransactionManager::start_rollback(connection);
    }

    /// Returns how many transactions sqlx counts as open.
    fn depth(connection: &Self::Connection) -> usize {
        Self::TransactionManager::get_transaction_depth(connection)
    }

    /// Ends the transaction without keeping its changes. `Ok` means that none is open any more, also when
    /// the database had rolled it back by itself before. It is a proof as well, as of [`prove`](Self::prove).
    fn roll_back(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Does the same as [`roll_back`](Self::roll_back), for where probably no transaction is open: after a use that completed.
    fn tidy(connection: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_ {
        Self::roll_back(connection)
    }

    /// Sets the session back to what it was when it was opened, where no transaction is open.
    ///
    /// `Ok(Restored::Whole)` is a proof as well, as of [`prove`](Self::prove).
    fn restore(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Restored, sqlx::Error>> + Send + '_;

    /// Returns `true` if the database itself reported this: the statement was processed, and the connection is in order.
    fn is_answer(error: &sqlx::Error) -> bool;

    /// Returns `true` if this failure of a `BEGIN` leaves no transaction open.
    fn is_refused_begin(error: &sqlx::Error) -> bool {
        Self::is_answer(error)
    }

    /// Returns `true` if this answer to a `COMMIT` says that no transaction is open.
    fn says_not_open(error: &sqlx::Error) -> bool;

    /// Returns `true` if this answer to a [`commit_at_once`](Self::commit_at_once) says that the transaction was aborted before.
    fn says_aborted(_error: &sqlx::Error) -> bool {
        false
    }

    /// Returns `true` if sending the same statement again may cure this error.
    fn is_busy(error: &sqlx::Error) -> bool;

    /// Returns `true` if doing the whole transaction again may cure this error.
    fn is_conflict(error: &(dyn DatabaseError + 'static)) -> bool;

    /// Returns `true` if this error of a statement says that the session will fail again at what others do in it.
    fn is_spoilt(error: &(dyn DatabaseError + 'static)) -> bool;

    /// Returns the same of an error that is known only by what it shows of itself.
    #[cfg(feature = "pool")]
    fn shows_spoilt(shown: &str) -> bool;

    /// Returns `true` if this error of a statement says that the server, or the session, may only read.
    #[cfg(feature = "pool")]
    fn is_read_only(error: &(dyn DatabaseError + 'static)) -> bool;

    /// Returns the same of an error that is known only by what it shows of itself.
    #[cfg(feature = "pool")]
    fn shows_read_only(shown: &str) -> bool;

    /// Asks whether the session can write. `Ok` is a proof as well, as of [`prove`](Self::prove).
    #[cfg(feature = "pool")]
    fn role(connection: &mut Self::Connection) -> impl Future<Output = Result<Role, sqlx::Error>> + Send + '_;

    /// Returns `true` if a statement that the session had prepared has become useless, since a table has changed.
    fn is_stale_plan(_error: &(dyn DatabaseError + 'static)) -> bool {
        false
    }

    /// Returns the same of an error that is known only by what it shows of itself.
    fn shows_stale_plan(_shown: &str) -> bool {
        false
    }

    /// Makes the statements of this connection stop while the flag that is returned is up, where that can be done
    /// without another connection.
    fn interrupt(
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Option<Arc<AtomicBool>>, sqlx::Error>> + Send + '_ {
        ready(Ok(None))
    }
}

/// The role of a member of a [`ReplicatedPool`](crate::pool::ReplicatedPool).
#[cfg(feature = "pool")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It can be read.
    Replica,
    /// It serves neither end: it is too far behind, for instance. Only a
    /// [rule of yours](crate::pool::ReplicatedPoolBuilder::role_by) says so.
    Unfit,
}

/// What has become of a session that was to be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Nothing was done: there is nothing that could be set back.
    Kept,
    /// It is as it was when it was opened, but for what a hook has set since.
    Whole,
    /// It cannot be set back: a new session has to take its place.
    Replace,
}
