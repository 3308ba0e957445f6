//! The model: see `main.rs`. The random programs use it too.

mod code;
mod dropping;
pub(crate) mod explore;
mod ledger;
pub(crate) mod programs;
pub(crate) mod rules;
pub(crate) mod state;
