//! Every path that the macros write is absolute, and every name they make is hygienic.
#![no_implicit_prelude]
#![deny(warnings, missing_docs, clippy::all)]

use ::tenure::NeverLent;

/// Shadows of all that the macros could mean by a short path.
mod core {}
/// As above.
mod std {}
/// As above.
mod tenure {}

/// An error.
#[derive(Debug)]
pub struct Error;

impl ::core::convert::From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

/// A context with the names that the macro uses itself.
#[::tenure::context]
pub async fn names(lender: u8, end: u8, argument0: u8, (left, right): (u8, u8)) -> ::core::result::Result<u8, Error> {
    let lent = lender + end + argument0 + left + right;
    let back = ::tenure::lend!(lent);
    if back.value != lender + end + argument0 + left + right {
        return ::core::result::Result::Err(Error);
    }
    ::core::result::Result::Ok(())
}

/// A wrapped function.
#[::tenure::within(names(1, 2, 3, (4, 5)))]
#[::tenure::within(end = names(1, 2, 3, (4, 5)))]
pub async fn wrapped(context: u8) -> ::core::result::Result<u8, Error> {
    ::core::result::Result::Ok(context + **end)
}

#[::tenure::test(start_paused = true, drain_limit = "1s")]
async fn test() {}

#[::tenure::main(flavor = "multi_thread", worker_threads = 1, exit_timeout = "1s")]
async fn main() -> ::core::result::Result<(), Error> {
    let n = wrapped(1).await?;
    ::core::assert_eq!(n, 16);
    ::core::result::Result::Ok(())
}
