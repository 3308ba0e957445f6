//! The word of other languages: the compiler rejects it, and the macro says its own.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn python() -> Result<u8, Error> {
    yield 5;
    Ok(())
}

fn main() {}
