//! Functions that cannot be contexts.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
fn not_async() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context]
async fn no_return_type() {
    lend!(1);
}

#[tenure::context]
async fn not_a_result() -> u8 {
    lend!(1);
    5
}

struct Conn;

#[tenure::context]
async fn not_an_alias_of_a_result() -> Conn {
    lend!(Conn);
    Ok(())
}

#[tenure::context]
const async fn constant() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context]
async unsafe fn dangerous() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context]
async extern "C" fn foreign() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context]
struct NoFunction;

trait Declares {
    #[tenure::context]
    async fn no_body() -> Result<u8, Error>;
}

fn main() {}
