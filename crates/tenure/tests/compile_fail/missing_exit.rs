//! B012, B091: what has no exit is no resource.
use tenure::with;

struct Connection;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    with(async { Ok::<_, std::io::Error>(Connection) }, async |_| Ok::<_, std::io::Error>(())).await
}
