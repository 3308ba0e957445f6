//! A `lend!` where the function's own body does not run.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn closure() -> Result<u8, Error> {
    let lend = || lend!(1);
    lend();
    Ok(())
}

#[tenure::context]
async fn async_closure() -> Result<u8, Error> {
    let lend = async || lend!(1);
    lend().await;
    Ok(())
}

#[tenure::context]
async fn async_block() -> Result<u8, Error> {
    async { lend!(1) }.await;
    Ok(())
}

#[tenure::context]
async fn nested_function() -> Result<u8, Error> {
    async fn inner() {
        lend!(1);
    }
    inner().await;
    Ok(())
}

#[tenure::context]
async fn nested_context() -> Result<u8, Error> {
    struct Inner;
    impl Inner {
        #[tenure::context]
        async fn inner(self) -> Result<u8, Error> {
            lend!(1);
            Ok(())
        }
    }
    drop(Inner.inner());
    lend!(1);
    Ok(())
}

#[tenure::context]
async fn another_macro() -> Result<u8, Error> {
    println!("{}", lend!(1).value);
    Ok(())
}

#[tenure::context]
async fn deep_in_another_macro() -> Result<Vec<u8>, Error> {
    assert!(matches!(tenure::lend!(vec![1]).value[..], [1]));
    Ok(())
}

fn main() {}
