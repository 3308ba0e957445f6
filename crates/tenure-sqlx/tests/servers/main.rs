//! What is promised, on a real PostgreSQL and a real MySQL or MariaDB: the same suite on both.
//!
//! Each test has a schema or a database of its own. The servers' addresses are in `TENURE_POSTGRES_URL` and
//! `TENURE_MYSQL_URL`; `cargo xtask test` starts servers and sets them.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

mod cancelled;
mod common;
mod conflicts;
mod contexts;
mod cut;
#[path = "../common/dropped.rs"]
mod dropped;
#[path = "../common/failure.rs"]
mod failure;
#[path = "../common/hooks.rs"]
mod hooks;
mod matrix;
mod modes;
mod outcomes;
mod pooled;
mod proofs;
mod proxy;
mod replicated;
mod server;
mod session;
mod stopped;
#[path = "../common/matrix.rs"]
mod subject;
mod trips;
#[path = "../common/trouble.rs"]
mod trouble;
#[path = "../common/turns.rs"]
mod turns;
