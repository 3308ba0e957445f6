//! Ends of another kind of function.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn with_a_literal() -> Result<u8, Error> {
    lend!(1);
    Ok(5)
}

#[tenure::context]
async fn with_the_value(early: bool) -> Result<u8, Error> {
    let back = lend!(1);
    if early {
        return Ok(back.value);
    }
    match back.value {
        0 => Err(Error),
        _ => Ok(back.value),
    }
}

#[tenure::context]
async fn with_a_verdict() -> Result<u8, Error> {
    lend!(1);
    Ok(tenure::Verdict::Recover)
}

#[tenure::context(recovering)]
async fn without_a_verdict() -> Result<u8, Error> {
    lend!(1);
    Ok(())
}

#[tenure::context]
async fn with_nothing() -> Result<u8, Error> {
    lend!(1);
}

#[tenure::context]
async fn with_the_lend() -> Result<u8, Error> {
    lend! { 1 }
}

#[tenure::context(recovering)]
async fn without_an_end() -> Result<u8, Error> {
    let back = lend!(1);
    drop(back);
}

// What only the compiler can tell.
#[tenure::context]
async fn with_a_variable() -> Result<u8, Error> {
    let value = lend!(1).value;
    Ok(value)
}

// A closure's end is its own.
#[tenure::context]
async fn not_its_own() -> Result<u8, Error> {
    let five = || Ok::<u8, Error>(5);
    let six = || return Ok::<u8, Error>(6);
    lend!(five()? + six()?);
    Ok(())
}

// A context may lend `()`.
#[tenure::context]
async fn nothing() -> Result<(), Error> {
    let back = lend!(());
    Ok(back.value)
}

fn main() {}
