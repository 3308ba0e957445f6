//! What only the compiler can tell: it points at the user's words.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

use std::rc::Rc;

#[derive(Debug)]
struct Strange;

#[tenure::context]
async fn error_from_never_lent() -> Result<u8, Strange> {
    lend!(1);
    Ok(())
}

#[tenure::context]
async fn not_send() -> Result<u8, Error> {
    let rc = Rc::new(1);
    lend!(*rc);
    drop(rc);
    Ok(())
}

#[tenure::context]
async fn may_borrow<T: Send>(value: T) -> Result<u8, Error> {
    lend!(1);
    drop(value);
    Ok(())
}

fn main() {}
