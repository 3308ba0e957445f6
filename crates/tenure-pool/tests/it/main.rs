//! The laws of the pool, and its features, through the public interface.

mod basics;
mod closing;
mod creating;
mod fairness;
mod lifetimes;
mod machine;
mod returning;
mod support;
