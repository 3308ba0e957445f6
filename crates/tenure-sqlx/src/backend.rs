//! What differs from database to database: one sealed trait, implemented once for each driver.
//!
//! Everything else (lending, retrying, the order of things) is written once, on top of it.

use std::fmt::Debug;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::{Connection, Database, SqlStr};

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
pub trait Driver: Database {
    /// Whether of two connections that close at the same time each has to know of the other.
    const CLOSES_IN_TURN: bool = false;

    /// The statement that begins a transaction in this mode.
    fn begin_statement(mode: <Self as Backend>::Mode) -> SqlStr
    where
        Self: Backend;

    /// Finishes with the statements that were abandoned half-way, so that the next answer is the next
    /// statement's own. To be called before a `BEGIN`.
    fn settle(connection: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Takes in the answers to the statements that were abandoned half-way, also where they were stopped.
    fn skip(connection: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Runs one statement that yields no rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Whether a `COMMIT` would keep what was done since the `BEGIN`: the transaction is still open, and the
    /// connection has not lost its place in the protocol. To be called once, before the `COMMIT`.
    ///
    /// When the answer comes, whatever was sent before has been processed: the answer is not stale.
    fn is_whole(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send + '_;

    /// Ends the transaction without keeping its changes. `Ok` means that none is open any more, also when
    /// the database had rolled it back by itself before.
    fn roll_back(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Whether the database itself reported this: the statement was processed, and the connection is in order.
    fn is_answer(error: &sqlx::Error) -> bool;

    /// Whether this failure of a `BEGIN` leaves no transaction open.
    fn is_refused_begin(error: &sqlx::Error) -> bool {
        Self::is_answer(error)
    }

    /// Whether this answer to a `COMMIT` says that no transaction is open.
    fn says_not_open(error: &sqlx::Error) -> bool;

    /// Whether sending the same statement again may cure this error.
    fn is_busy(error: &sqlx::Error) -> bool;

    /// Whether doing the whole transaction again may cure this error.
    fn is_conflict(error: &(dyn DatabaseError + 'static)) -> bool;
}
