//! Functions that cannot be wrapped.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn number() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::within]
async fn no_context() -> Result<(), Error> {
    Ok(())
}

#[tenure::within()]
async fn empty() -> Result<(), Error> {
    Ok(())
}

#[tenure::within(number(), number())]
async fn two_contexts() -> Result<(), Error> {
    Ok(())
}

#[tenure::within(number())]
fn not_async() -> Result<(), Error> {
    Ok(())
}

#[tenure::within(number())]
async fn no_return_type() {}

#[tenure::within(number())]
async fn not_a_result() -> u8 {
    5
}

#[tenure::within(crate = "::tenure", recovering,)]
async fn options_alone() -> Result<(), Error> {
    Ok(())
}

#[tenure::within(5)]
async fn not_a_context() -> Result<(), Error> {
    Ok(())
}

#[tenure::within(number())]
#[tenure::within]
async fn no_context_below() -> Result<(), Error> {
    Ok(())
}

trait Declares {
    #[tenure::within(number())]
    async fn no_body() -> Result<u8, Error>;
}

fn main() {}
