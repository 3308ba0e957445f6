//! The books: accounts and a ledger in a database, how to reach them, and what is done with them.
//!
//! Everything here is written once for the three databases. What differs is in [`ledger`], where each spells its
//! statements, and in how a database is claimed: [`mod@file`] for SQLite, [`server`] for the others.

pub(crate) mod audit;
pub(crate) mod connections;
pub(crate) mod file;
pub(crate) mod ledger;
pub(crate) mod server;
pub(crate) mod transfer;
