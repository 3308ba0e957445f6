//! The resource stays in the body.
use tenure::{released, with};

#[tokio::main]
async fn main() {
    let _ = with(released(async { Ok::<_, std::io::Error>(1) }), async |number| Ok::<_, std::io::Error>(number)).await;
}
