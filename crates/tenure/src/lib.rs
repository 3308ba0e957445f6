//! `async with` for Rust: whatever is entered is exited.
#![forbid(unsafe_code)]

mod exit;
mod outcome;

pub use exit::AsyncExit;
pub use outcome::{Ending, ErrorValue, Failure, Outcome};
