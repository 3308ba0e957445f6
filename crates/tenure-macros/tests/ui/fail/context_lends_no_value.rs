//! What stands in the parentheses of `lend!`.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn nothing() -> Result<u8, Error> {
    lend!();
    Ok(())
}

#[tenure::context]
async fn two_values() -> Result<(u8, u8), Error> {
    lend!(1, 2);
    Ok(())
}

#[tenure::context]
async fn no_expression() -> Result<u8, Error> {
    lend!(let x = 5);
    Ok(())
}

#[tenure::context]
async fn two_expressions() -> Result<u8, Error> {
    lend!(1 2);
    Ok(())
}

#[tenure::context]
async fn wrong_type() -> Result<u8, Error> {
    lend!("one");
    Ok(())
}

fn main() {}
