//! What the benches, the report and the instruction counter have in common: the operations they measure.
#![deny(unsafe_code)]

pub mod hand_over;
pub mod measure;
pub mod memory;
pub mod operations;
pub mod resource;

pub use operations::{OPERATIONS, Operation, find};
