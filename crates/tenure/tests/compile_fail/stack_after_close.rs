//! B081, B097: a closed stack is gone.
use tenure::ExitStack;

#[tokio::main]
async fn main() {
    let stack = ExitStack::<std::io::Error>::new();
    stack.close().await.unwrap();
    stack.defer(|| ());
}
