use std::{io::Result, path::PathBuf};
use tenure::{AsyncExit, Outcome, run_to_completion, shield, with};
use tokio::fs;

/// A file that appears whole or not at all.
struct Draft(PathBuf);

/// Enter: any future that yields a resource.
async fn create(draft: PathBuf) -> Result<Draft> {
    fs::write(&draft, "").await.map(|()| Draft(draft))
}

/// Exit: the one trait to implement. It is told how the body ended.
impl AsyncExit for Draft {
    type Error = std::io::Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<()> {
        match outcome {
            Outcome::Completed => fs::rename(&self.0, self.0.with_extension("txt")).await,
            Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Cancelled => fs::remove_file(&self.0).await,
        }
    }
}

/// A write that is dropped goes on in its thread. So both are finished, before the exit undoes them.
/// The body borrows what is around it and takes `?`. The whole can be spawned, timed out, dropped.
async fn answer(path: PathBuf) -> Result<()> {
    with(shield(create(path)), async |draft| {
        run_to_completion(fs::write(draft.0.clone(), "42")).await
    })
    .await
}

#[tokio::main]
async fn main() -> Result<()> {
    answer(std::env::temp_dir().join("answer.draft")).await
}
