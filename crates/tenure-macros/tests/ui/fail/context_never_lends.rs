//! A context whose body has no `lend!`.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn forgotten() -> Result<u8, Error> {
    Ok(5)
}

#[tenure::context]
async fn of_another_context() -> Result<u8, Error> {
    #[tenure::context]
    async fn inner() -> Result<u8, Error> {
        tenure::lend!(5);
        Ok(())
    }
    tenure::with(inner(), async |_| Ok::<_, Error>(())).await
}

// The callers of a context with a mistake in it are not reported.
async fn caller() -> Result<u8, Error> {
    tenure::with(forgotten(), async |n| Ok::<u8, Error>(**n)).await
}

fn main() {}
