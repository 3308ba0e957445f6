//! The museum's uses of PostgreSQL by sqlx: see `tests/museum`.
//!
//! The server's address is in `TENURE_POSTGRES_URL`; `cargo xtask test` starts one and sets it.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

#[path = "../common/load.rs"]
mod load;

mod postgres;
