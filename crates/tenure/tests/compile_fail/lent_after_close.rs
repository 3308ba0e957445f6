//! B170: what a stack has lent is gone with it.
use tenure::{ExitStack, Released};

#[tokio::main]
async fn main() {
    let stack = ExitStack::<std::io::Error>::new();
    let number = stack.push(Released::<_, std::io::Error>::of(1));
    stack.close().await.unwrap();
    **number += 1;
}
