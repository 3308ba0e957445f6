//! MySQL and MariaDB: connections, transactions and savepoints as tenures.
//!
//! ```no_run
//! use sqlx::mysql::MySqlConnectOptions;
//! use tenure::with;
//! use tenure_sqlx::{Isolation, mysql};
//!
//! # async fn example() -> Result<(), sqlx::Error> {
//! let options: MySqlConnectOptions = "mysql://localhost/bank".parse()?;
//! with(mysql::connect(options), async |connection| {
//!     with(connection.transaction().isolation(Isolation::ReadCommitted), async |transaction| {
//!         sqlx::query("UPDATE account SET balance = balance - 1 WHERE id = 7").execute(&mut **transaction).await?;
//!         sqlx::query("UPDATE account SET balance = balance + 1 WHERE id = 8").execute(&mut **transaction).await?;
//!         Ok::<_, sqlx::Error>(())
//!     })
//!     .await // committed
//! })
//! .await // closed
//! # }
//! ```
//!
//! # What is particular to MySQL
//! - sqlx loses its place in the protocol when the future of a statement is dropped at certain points; what it
//!   reads afterwards is the answer to something else. So before each `BEGIN`, `COMMIT` and `ROLLBACK` the connection
//!   is asked to echo a number drawn at random. One that answers anything else is closed.
//! - A deadlock, and every statement that changes a table's definition, ends the transaction without
//!   anybody asking for it; what follows is kept at once. So a savepoint named `tenure_begin` is set at the beginning,
//!   and a transaction that has lost it by its end has an error at [`Stage::Commit`](crate::Stage::Commit) with
//!   an [unknown fate](crate::Fate::Unknown).
//! - Both together cost one round trip at the beginning and one at the end.
//! - A statement whose future is dropped is not stopped: the rollback waits behind it, up to 2 s. Then the
//!   connection is closed, and the server rolls back when the statement has ended.
//!   [`cancel_statements`](crate::Connect::cancel_statements) has it stopped instead.
//! - Tables of the engine MyISAM know no transactions, and nothing is undone in them.

mod driver;
#[cfg(any(feature = "pool", feature = "migrate"))]
mod lock;

pub use driver::Mode;
#[cfg(feature = "pool")]
pub use lock::{NamedLock, named_lock};
#[cfg(feature = "migrate")]
pub(crate) use lock::{lock_migrations, unlock_migrations};

/// Returns a connection to a MySQL or MariaDB server, as a context: opened when entered, closed at its exit.
///
/// It is tried again while the
/// server has no room for another connection.
///
/// # Errors
/// Entering fails at [`Stage::Connect`](crate::Stage::Connect), the exit at [`Stage::Close`](crate::Stage::Close).
///
/// # Cancel safety
/// Dropped before the first poll, or while it waits between attempts, nothing is open. Once a connection is being
/// opened, that goes on in the background, and it is closed there in order.
pub fn connect(options: sqlx::mysql::MySqlConnectOptions) -> Connect {
    Connect::new(options)
}

/// A connection to a MySQL or MariaDB server to be opened; made by [`connect`].
pub type Connect = crate::Connect<sqlx::MySql>;
/// A connection to a MySQL or MariaDB server, closed at its exit.
pub type Connection = crate::Connection<sqlx::MySql>;
/// A transaction on a MySQL or MariaDB server.
pub type Transaction = crate::Transaction<sqlx::MySql>;
/// A savepoint in a transaction on a MySQL or MariaDB server.
pub type Savepoint = crate::Savepoint<sqlx::MySql>;
