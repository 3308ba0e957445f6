//! The harness, proven on futures that are known to leak and on some that are known not to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod auto;
mod catches;
mod faults;
mod hub;
mod laws;
mod options;
mod prepared;
mod sequence;
mod survey;
mod trace;
mod truth;
