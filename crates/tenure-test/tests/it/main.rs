//! The harness, proven on futures that are known to leak and on some that are known not to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod catches;
mod faults;
mod hub;
mod laws;
mod sequence;
mod trace;
