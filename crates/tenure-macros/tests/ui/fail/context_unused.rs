//! A context that is made and never entered.
#![deny(unused_must_use)]

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

#[tenure::context]
#[must_use = "the user's own words"]
async fn other_number() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

fn main() {
    number();
    other_number();
}
