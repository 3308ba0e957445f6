//! A `lend!` that a loop could reach again.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn endless() -> Result<u8, Error> {
    loop {
        lend!(1);
    }
}

#[tenure::context]
async fn counted() -> Result<u8, Error> {
    for n in 0..3 {
        lend!(n);
    }
    Ok(())
}

#[tenure::context]
async fn in_the_condition() -> Result<u8, Error> {
    while lend!(1).ended.is_completed() {}
    Ok(())
}

#[tenure::context]
async fn continued(again: bool) -> Result<u8, Error> {
    'outer: loop {
        loop {
            let back = lend!(1);
            if again {
                continue 'outer;
            }
            drop(back);
            return Ok(());
        }
    }
}

#[tenure::context]
async fn in_a_nested_body() -> Result<u8, Error> {
    for _ in 0..3 {
        tenure::with(endless(), async |_| {
            lend!(1);
            Ok::<_, Error>(())
        })
        .await?;
    }
    Ok(())
}

// Which the compiler alone can tell.
#[tenure::context]
async fn in_a_body_that_is_called_again() -> Result<u8, Error> {
    async fn twice(body: impl AsyncFn()) {
        body().await;
        body().await;
    }
    twice(async || {
        lend!(1);
    })
    .await;
    Ok(())
}

fn main() {}
