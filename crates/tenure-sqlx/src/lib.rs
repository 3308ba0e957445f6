//! [sqlx]'s connections and transactions as tenures: committed or rolled back, and awaited, on every path.
//!
//! A transaction of sqlx's that is dropped queues a `ROLLBACK` for whoever uses the connection next (sqlx's pool does, in
//! a task of its own), and holds its locks until then; one that is dropped while its `BEGIN` is in flight may stay open without anybody knowing. Here a
//! transaction is a context:
//!
//! | the body | the transaction | the caller gets |
//! |---|---|---|
//! | returns `Ok` | is committed | the value, or the error of the commit |
//! | returns `Err` | is rolled back | that very error |
//! | panics | is rolled back | that very panic, after the rollback |
//! | is dropped: timeout, abort, disconnected client | is rolled back in the background | — |
//!
//! The same holds while the `BEGIN`, the `COMMIT` or the `ROLLBACK` is in flight. Afterwards the connection is clean,
//! or it has been closed.
//!
//! - [`Connection`] is a resource: see `connect` in the module of each database.
//! - [`Connection::transaction`] is a context on it, [`Transaction::savepoint`] one inside.
//! - The body gets sqlx's own connection by dereferencing: `query.execute(&mut **transaction)`.
//! - On a pool, `pool.transaction()` and `pool.connection()` are contexts: see [`pool::PoolExt`].
//! - A primary and its replicas are one pool with two ends: see [`pool::ReplicatedPool`].
//! - In tests a [`pool::test_pool`] rolls back all that the code under test has committed.
//! - [`Begin::run`] does a transaction again that has met another one, such as after a deadlock.
//! - [`Retry`] says how a busy database is waited for, [`Error`] which step failed and what became of the changes.
//!
//! To move from sqlx's `begin`, its pool, deadpool or bb8, see [`migration`].
//!
//! # Features
//! - `sqlite` (default): SQLite, compiled in.
//! - `postgres`: PostgreSQL.
//! - `mysql`: MySQL and MariaDB.
//! - `pool`: a manager of connections for `tenure-pool`.
//! - `migrate`: sqlx's migrations on a connection in a body.
//!
//! # What cannot be promised
//! A runtime that is shut down before what was handed over to it has ended drops the connections concerned, which
//! closes them; the database then rolls back. To see the clean end, drain: `tenure::run` does.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod acquire;
mod backend;
mod cancel;
mod connect;
mod connection;
mod ending;
mod error;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod isolation;
mod lease;
mod line;
#[cfg(feature = "migrate")]
mod migrate;
#[cfg(any(doc, doctest))]
pub mod migration;
#[cfg(feature = "mysql")]
pub mod mysql;
mod patience;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
mod retry;
mod run;
mod savepoint;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod server;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod transaction;

pub use backend::Backend;
pub use connect::Connect;
pub use connection::Connection;
pub use error::{Error, Fate, Stage};
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use isolation::Isolation;
#[cfg(feature = "migrate")]
pub use migrate::migrate;
pub use retry::Retry;
pub use run::is_conflict;
pub use savepoint::{Savepoint, SetSavepoint};
pub use transaction::{Begin, Transaction};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
