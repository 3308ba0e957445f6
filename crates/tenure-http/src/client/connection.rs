//! The connection as a resource, and its orderly end.

use std::error::Error;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tenure::{AsyncExit, Outcome};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::requests::Requests;
use super::{ClientError, Stage};
use crate::tasks::TasksEnd;

/// A connection to a server: the resource that [`connect`](super::connect()) enters. It derefs to [`Requests`].
///
/// Dropped without its exit, or when its exit is cut off, it is closed without ceremony.
#[derive(Debug)]
#[must_use = "dropped, the connection is closed without ceremony"]
pub struct Client {
    requests: Requests,
    end: TasksEnd,
    driven: oneshot::Receiver<Result<(), hyper::Error>>,
    shutdown_limit: Duration,
}

impl Client {
    pub(super) fn new(
        requests: Requests,
        end: TasksEnd,
        driven: oneshot::Receiver<Result<(), hyper::Error>>,
        shutdown_limit: Duration,
    ) -> Self {
        Self { requests, end, driven, shutdown_limit }
    }
}

impl Deref for Client {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.requests
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Requests {
        &mut self.requests
    }
}

impl AsyncExit for Client {
    type Error = ClientError;

    /// Ends the connection; fails if that takes too long, or if the stream fails other than by the server's having been
    /// faster.
    async fn exit(self, _: Outcome<'_>) -> Result<(), ClientError> {
        let Self { requests, mut end, mut driven, shutdown_limit } = self;
        // The driver finishes when nobody can send any more.
        drop(requests);
        if timeout(shutdown_limit, end.wait()).await.is_err() {
            end.stop();
            end.wait().await;
            return Err(ClientError::timed_out(Stage::Shutdown, shutdown_limit));
        }
        match driven.try_recv() {
            Ok(Err(error)) if !is_closed_by_server(&error) => Err(ClientError::new(Stage::Shutdown, error)),
            // Nothing comes from a driver that panicked; the panic hook has told of it.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether the server has closed its side first, or abandoned a request that was dropped: whoever awaited an answer was
/// told, and who did not has lost nothing.
pub(super) fn is_closed_by_server(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        return true;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let kind = error.kind();
            return matches!(
                kind,
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            );
        }
        source = cause.source();
    }
    false
}
