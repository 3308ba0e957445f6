//! Several contexts entered at once, and exited at once.

mod contexts;
mod exits;

pub use contexts::{Join, join};
pub(crate) use exits::{Faults, result_of};
