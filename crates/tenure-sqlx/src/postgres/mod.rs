//! PostgreSQL: connections, transactions and savepoints as tenures.
//!
//! ```no_run
//! use sqlx::postgres::PgConnectOptions;
//! use tenure::with;
//! use tenure_sqlx::{Isolation, postgres};
//!
//! # async fn example() -> Result<(), sqlx::Error> {
//! let options: PgConnectOptions = "postgres://localhost/bank".parse()?;
//! let total = with(postgres::connect(options), async |connection| {
//!     let audit = connection.transaction().isolation(Isolation::Serializable).read_only().deferrable();
//!     with(audit, async |transaction| {
//!         sqlx::query_scalar::<_, i64>("SELECT sum(balance)::bigint FROM account")
//!             .fetch_one(&mut **transaction)
//!             .await
//!     })
//!     .await
//! })
//! .await?; // committed, and the connection closed
//! # drop(total); Ok(()) }
//! ```
//!
//! # What is particular to PostgreSQL
//! - After a statement has failed, the transaction is aborted, and a `COMMIT` rolls it back without a word of error.
//!   So the exit asks by setting a savepoint: a body that passes over a failed statement and returns `Ok` gets the error
//!   `25P02` at [`Stage::Commit`](crate::Stage::Commit). On a pool the question travels with the `COMMIT`, and a transaction
//!   of one statement takes three round trips; elsewhere four.
//! - A statement whose future is dropped is not stopped: the rollback waits behind it, up to the
//!   [`answer_limit`](crate::Begin::answer_limit). Then the connection is closed, and the server rolls back when the
//!   statement has ended. [`cancel_statements`](crate::Connect::cancel_statements) has it stopped instead.
//! - Serialization failures (`40001`) and deadlocks (`40P01`) abort the transaction. [`Begin::run`](crate::Begin::run)
//!   does it again.

#[cfg(feature = "pool")]
mod copy;
mod driver;
mod listen;
#[cfg(feature = "pool")]
mod lock;

#[cfg(feature = "pool")]
pub use copy::{CopyIn, copy_in, copy_out};
pub use driver::Mode;
pub use listen::{Heard, Listen, Listener, listen};
#[cfg(feature = "pool")]
pub use lock::{AdvisoryLock, advisory_lock};

/// Returns a connection to a PostgreSQL server, as a context: opened when entered, closed at its exit.
///
/// It is tried again while the
/// server is starting or has no room for another connection.
///
/// # Errors
/// Entering fails at [`Stage::Connect`](crate::Stage::Connect), the exit at [`Stage::Close`](crate::Stage::Close).
///
/// # Cancel safety
/// Dropped before the first poll, or while it waits between attempts, nothing is open. Once a connection is being
/// opened, that goes on in the background, and it is closed there in order.
pub fn connect(options: sqlx::postgres::PgConnectOptions) -> Connect {
    Connect::new(options)
}

/// A connection to a PostgreSQL server to be opened; made by [`connect`].
pub type Connect = crate::Connect<sqlx::Postgres>;
/// A connection to a PostgreSQL server, closed at its exit.
pub type Connection = crate::Connection<sqlx::Postgres>;
/// A transaction on a PostgreSQL server.
pub type Transaction = crate::Transaction<sqlx::Postgres>;
/// A savepoint in a transaction on a PostgreSQL server.
pub type Savepoint = crate::Savepoint<sqlx::Postgres>;
