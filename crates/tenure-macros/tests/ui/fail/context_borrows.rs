//! Arguments and values that do not outlive the caller.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

struct Service;

impl Service {
    #[tenure::context]
    async fn by_reference(&self) -> Result<u8, Error> {
        lend!(1);
        Ok(())
    }

    #[tenure::context]
    async fn by_mutable_reference(&mut self) -> Result<u8, Error> {
        lend!(1);
        Ok(())
    }

    #[tenure::context]
    async fn by_typed_reference(self: &Self) -> Result<u8, Error> {
        lend!(1);
        Ok(())
    }
}

#[tenure::context]
async fn elided(url: &str) -> Result<u8, Error> {
    lend!(url.len() as u8);
    Ok(())
}

#[tenure::context]
async fn named<'a>(url: std::borrow::Cow<'a, str>) -> Result<u8, Error> {
    lend!(url.len() as u8);
    Ok(())
}

#[tenure::context]
async fn lent<'a>(url: &'a str) -> Result<&'a str, Error> {
    lend!(url);
    Ok(())
}

// What a function takes is borrowed only while it is called.
#[tenure::context]
async fn not_borrowed<F>(
    name: &'static str,
    plain: fn(&str) -> &str,
    boxed: Box<dyn Fn(&str) -> usize + Send>,
    bound: Box<dyn for<'a> PartialEq<&'a str> + Send>,
    generic: F,
) -> Result<usize, Error>
where
    F: for<'a> Fn(&'a str) -> &'a str + Send + 'static,
{
    let _ = bound.eq(&name);
    lend!(boxed(plain(generic(name))));
    Ok(())
}

fn main() {}
