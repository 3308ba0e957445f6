//! For those who come from another pool.

#[doc = include_str!("../docs/from_bb8.md")]
pub mod from_bb8 {}

#[doc = include_str!("../docs/from_deadpool.md")]
pub mod from_deadpool {}
