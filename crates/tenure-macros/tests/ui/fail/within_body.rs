//! Mistakes in a wrapped body are the user's own.

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

#[tenure::within(number())]
async fn wrong_value() -> Result<u8, Error> {
    Ok("five")
}

#[tenure::within(number())]
async fn no_value() -> Result<u8, Error> {
    drop(5);
}

#[tenure::within(n = number())]
async fn escapes() -> Result<&'static mut u8, Error> {
    Ok(n)
}

fn main() {}
