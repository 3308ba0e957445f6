//! The real binary: what it prints, what it leaves, and the code it ends with.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

mod arguments;
mod bank;
mod disks;
mod runs;
mod signals;
