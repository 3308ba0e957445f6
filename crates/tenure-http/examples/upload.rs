//! An upload that leaves nothing half-way: the part file becomes the file when the request has completed, and is removed
//! when it has failed, panicked or been cancelled.
//!
//! ```console
//! cargo run --example upload --features axum,serve
//! curl -T Cargo.toml http://127.0.0.1:3000/files/manifest
//! ```

use std::io;
use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::put;
use http_body_util::BodyExt as _;
use tenure::{AsyncExit, Ending, Outcome, shield};
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

/// A file that is being written.
struct Part {
    file: File,
    part: PathBuf,
    whole: PathBuf,
}

async fn create(whole: PathBuf) -> io::Result<Part> {
    let part = whole.with_extension("part");
    let file = File::create_new(&part).await?;
    Ok(Part { file, part, whole })
}

impl AsyncExit for Part {
    type Error = io::Error;

    async fn exit(self, outcome: Outcome<'_>) -> io::Result<()> {
        let kept = match outcome {
            Outcome::Completed => self.file.sync_all().await,
            _ => Err(io::Error::other("not completed")),
        };
        drop(self.file);
        match (outcome, kept) {
            (Outcome::Completed, Ok(())) => fs::rename(&self.part, &self.whole).await,
            (Outcome::Completed, failed) => fs::remove_file(&self.part).await.and(failed),
            _ => fs::remove_file(&self.part).await,
        }
    }
}

async fn upload(
    State(folder): State<PathBuf>,
    Path(name): Path<String>,
    scope: RequestScope,
    mut body: Body,
) -> Result<StatusCode, (StatusCode, String)> {
    let refused = |error: &dyn std::fmt::Display| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    if !name.chars().all(char::is_alphanumeric) {
        return Err(refused(&"a name has letters and digits"));
    }
    // Shielded: a client that goes away while the file is being made leaves none.
    let mut part = scope.enter(shield(create(folder.join(name)))).await.map_err(|error| refused(&error))?;
    while let Some(frame) = body.frame().await {
        // From here on an error, a panic or the client's end removes the part file.
        let frame = frame.map_err(|error| refused(&error))?;
        if let Some(data) = frame.data_ref() {
            part.file.write_all(data).await.map_err(|error| refused(&error))?;
        }
    }
    // The answer depends on it, so it exits here.
    part.exit(Ending::Completed).await.map_err(|error| refused(&error))?;
    Ok(StatusCode::CREATED)
}

/// The service.
pub(crate) fn router(folder: PathBuf) -> Router {
    Router::new().route("/files/{name}", put(upload)).layer(RequestScopeLayer::new()).with_state(folder)
}

/// Serves it until Ctrl-C.
#[tokio::main]
async fn main() -> std::process::ExitCode {
    tenure::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await.map_err(ServeError::Listener)?;
        tenure::with(serve(listener, router(std::env::temp_dir())), async |server| server.forever().await).await
    })
    .await
}
