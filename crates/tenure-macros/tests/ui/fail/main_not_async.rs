//! A `main` that is not async.

#[tenure::main]
fn main() {}
