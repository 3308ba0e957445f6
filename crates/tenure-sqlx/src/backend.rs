//! What differs from database to database: one sealed trait, implemented once for each driver.
//!
//! Everything else (lending, retrying, the order of things) is written once, on top of it.

use std::fmt::Debug;

use sqlx::{Database, SqlStr};

/// A database whose connections and transactions can be tenures.
///
/// Implemented for [`sqlx::Sqlite`]. It is sealed: the rules an implementation has to keep are internal.
pub trait Backend: Database + Driver {
    /// How a transaction of this database begins: what can be said in its `BEGIN`.
    ///
    /// The default is what the database does by default.
    type Mode: Clone + Copy + Debug + Default + Send + Sync + 'static;
}

/// The driver's part of [`Backend`], which nobody else can name.
pub trait Driver: Database {
    /// The statement that begins a transaction in this mode.
    fn begin_statement(mode: <Self as Backend>::Mode) -> SqlStr
    where
        Self: Backend;

    /// Runs one statement that yields no rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Whether the transaction that was begun on the connection is still open.
    ///
    /// When the answer comes, whatever was sent before has been processed: the answer is not stale.
    fn is_open(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send + '_;

    /// Ends the transaction without keeping its changes. `Ok` means that none is open any more, also when
    /// the database had rolled it back by itself before.
    fn roll_back(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Whether the database itself reported this: the statement was processed, and the connection is in order.
    fn is_answer(error: &sqlx::Error) -> bool;

    /// Whether this answer to a `COMMIT` says that no transaction is open.
    fn says_not_open(error: &sqlx::Error) -> bool;

    /// Whether waiting may cure this error.
    fn is_busy(error: &sqlx::Error) -> bool;
}
