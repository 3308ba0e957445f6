//! The museum: documented uses of crates that others wrote, each of which leaks when it is dropped, and its twin that
//! does not.
//!
//! A leak counts as found if each of ten proofs finds it on an idle machine, and each of ten on a busy one. What is
//! claimed of a crate holds for the version that the manifest names.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

#[path = "../common/load.rs"]
mod load;

mod files;
mod jobs;
mod processes;
mod sqlite;
