//! Connections, transactions and savepoints against real SQLite files.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

mod busy;
mod cancelled;
mod common;
mod conflicts;
mod connections;
mod outcomes;
mod proofs;
mod savepoints;
mod sqlx_inside;
mod types;
mod undrained;
