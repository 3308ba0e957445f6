//! What the benches, the report and the instruction counter have in common: the operations they measure.

pub mod operations;
pub mod resource;

pub use operations::{OPERATIONS, Operation, find};
