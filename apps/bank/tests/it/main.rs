//! The real binary: what it prints, what it leaves, and the code it ends with.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

mod arguments;
mod disks;
mod runs;
mod serves;
mod signals;
#[path = "../support/mod.rs"]
mod support;
