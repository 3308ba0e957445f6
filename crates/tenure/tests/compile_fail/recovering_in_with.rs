//! Law 8: a context that can suppress says so in its type.
use tenure::{Outcome, RecoverExit, Verdict, with};

struct Forgiving;

impl RecoverExit for Forgiving {
    type Error = std::io::Error;

    async fn exit(self, _: Outcome<'_>) -> std::io::Result<Verdict> {
        Ok(Verdict::Recover)
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    with(async { Ok::<_, std::io::Error>(Forgiving) }, async |_| Ok::<_, std::io::Error>(())).await
}
