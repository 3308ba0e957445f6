//! What stands in the parentheses of the attribute.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context(recoverin)]
async fn unknown() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context(recovering = true)]
async fn with_a_value() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context(crate = tenure)]
async fn path_without_quotes() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context(crate = "not a path")]
async fn no_path() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

fn main() {}
