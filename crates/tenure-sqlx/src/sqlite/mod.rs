//! SQLite: connections, transactions and savepoints as tenures.
//!
//! ```
//! use sqlx::sqlite::SqliteConnectOptions;
//! use tenure::with;
//! use tenure_sqlx::sqlite;
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let options = SqliteConnectOptions::new().in_memory(true);
//! let answer = with(sqlite::connect(options), async |connection| {
//!     with(connection.transaction().immediate(), async |transaction| {
//!         sqlx::query("CREATE TABLE answer (value INTEGER)").execute(&mut **transaction).await?;
//!         sqlx::query("INSERT INTO answer VALUES (42)").execute(&mut **transaction).await?;
//!         Ok::<_, sqlx::Error>(())
//!     })
//!     .await?; // committed
//!     sqlx::query_scalar::<_, i64>("SELECT value FROM answer").fetch_one(&mut **connection).await
//! })
//! .await?; // closed
//! assert_eq!(answer, 42);
//! # Ok::<_, sqlx::Error>(()) }).unwrap();
//! ```
//!
//! # What is particular to SQLite
//! - sqlx runs each connection on a thread of its own. A statement whose future is dropped is not stopped: it runs to
//!   its end, or to its first row that nobody takes, and a rollback waits in line behind it.
//! - There is one writer at a time. A transaction that reads first and writes later may find that another has
//!   written meanwhile (`SQLITE_BUSY_SNAPSHOT`), and then only a new transaction helps. Whoever means to write begins
//!   [`immediate`](crate::Begin::immediate), where waiting for one's turn is possible and is done.
//! - On a full disk and on some other errors SQLite rolls the transaction back by itself. The exit knows that.

mod driver;

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnectOptions;

pub use driver::Mode;

/// Returns a connection to an SQLite database, as a context: opened when entered, closed at its exit.
///
/// Setting the journal mode
/// needs the database for itself, for which SQLite does not wait; so opening is tried again while the database
/// is busy.
///
/// # Errors
/// Entering fails at [`Stage::Connect`](crate::Stage::Connect), the exit at [`Stage::Close`](crate::Stage::Close).
///
/// # Cancel safety
/// Dropped before the first poll, or while it waits between attempts, nothing is open. Once a connection is being
/// opened, that goes on in the background, and it is closed there in order.
pub fn connect(options: SqliteConnectOptions) -> Connect {
    Connect::new(options)
}

/// A connection to an SQLite database to be opened; made by [`connect`].
pub type Connect = crate::Connect<sqlx::Sqlite>;

/// A connection to an SQLite database, closed at its exit.
pub type Connection = crate::Connection<sqlx::Sqlite>;
/// A transaction on an SQLite database.
pub type Transaction = crate::Transaction<sqlx::Sqlite>;
/// A savepoint in a transaction on an SQLite database.
pub type Savepoint = crate::Savepoint<sqlx::Sqlite>;

/// Options for a database in memory that all connections with these options share, and that lives as long as one of them
/// is open. A pool closes connections that are idle; its `Connections::in_memory` keeps one besides.
///
/// Each call makes another database.
#[must_use]
pub fn in_memory() -> SqliteConnectOptions {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: a number that differs is all that is wanted.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // SQLite's own file system in memory shares what has a name with a slash in front.
    SqliteConnectOptions::new().vfs("memdb").filename(format!("/tenure-{count}")).create_if_missing(true)
}
