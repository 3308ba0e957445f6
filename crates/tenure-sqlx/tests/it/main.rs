//! Connections, transactions and savepoints against real SQLite files.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

mod busy;
mod cancelled;
#[cfg(feature = "pool")]
mod cluster;
mod common;
mod conflicts;
mod connections;
#[path = "../common/dropped.rs"]
mod dropped;
#[path = "../common/failure.rs"]
mod failure;
#[cfg(feature = "pool")]
#[path = "../common/hooks.rs"]
mod hooks;
mod outcomes;
#[cfg(feature = "pool")]
mod pooled;
mod pooled_transactions;
mod proofs;
#[cfg(feature = "pool")]
mod replicated;
mod savepoints;
mod sqlx_inside;
#[cfg(feature = "pool")]
#[path = "../common/matrix.rs"]
mod subject;
#[cfg(feature = "pool")]
mod tended;
#[cfg(feature = "pool")]
#[path = "../common/trouble.rs"]
mod trouble;
#[cfg(feature = "pool")]
#[path = "../common/turns.rs"]
mod turns;
mod types;
mod undrained;
