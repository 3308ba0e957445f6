//! The laws of the pool, and its features, through the public interface.
#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod basics;
mod closing;
mod completed;
mod creating;
mod extras;
mod fairness;
mod keyed;
mod lifetimes;
mod limits;
mod machine;
mod orphans;
mod peers;
mod proof;
mod returning;
mod runtimes;
mod settings;
mod support;
mod user_code;
