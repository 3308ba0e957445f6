//! B018: a guard is exited once.
use tenure::{hold, released};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let held = hold(released(async { Ok::<_, std::io::Error>(1) })).await?;
    held.close().await?;
    held.close().await
}
