//! The server that is entered: what its tasks share, and its exit.
//!
//! # Invariants
//! 1. Each connection holds one permit from its accept until its last exit: who gets all permits knows that none is left.
//! 2. `stop` comes before `kill`; neither is ever taken back.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use http_body::Body;
use tenure::{AsyncExit, CancelToken, Outcome};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_service::Service;

use super::accept::accept_all;
use super::builder::Limits;
use super::{RequestBody, ServeError};

/// What the server's tasks share.
#[derive(Debug)]
pub(super) struct Control {
    /// Asks to finish.
    pub(super) stop: CancelToken,
    /// Asks to end at once.
    pub(super) kill: CancelToken,
    pub(super) slots: Arc<Semaphore>,
    pub(super) limits: Limits,
    pub(super) stats: ServerStats,
}

/// A server that is running: the resource that [`serve()`](super::serve()) enters.
///
/// Dropped without its exit, or when its exit is cut off at a time limit, it drops all connections at once.
#[must_use = "dropped, the server ends at once"]
pub struct Server {
    control: Arc<Control>,
    /// `None` once it has been awaited.
    accepting: Option<JoinHandle<()>>,
    local_addr: SocketAddr,
}

impl Server {
    pub(super) fn begin<S, B>(listener: TcpListener, service: S, limits: Limits) -> Result<Self, ServeError>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let local_addr = listener.local_addr().map_err(ServeError::Listener)?;
        let control = Arc::new(Control {
            stop: CancelToken::new(),
            kill: CancelToken::new(),
            slots: Arc::new(Semaphore::new(limits.max_connections as usize)),
            limits,
            stats: ServerStats::default(),
        });
        let accepting = tokio::spawn(accept_all(listener, service, Arc::clone(&control)));
        Ok(Self { control, accepting: Some(accepting), local_addr })
    }

    /// Where it listens: the port that was chosen, if it was bound to port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Figures that go on to count, and can be read when the server has ended.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.control.stats.clone()
    }

    /// Waits for as long as it serves, which is until the body is dropped: for a body that has nothing else to do.
    ///
    /// ```
    /// use tenure::with;
    /// use tenure_http::{RequestBody, ServeError, serve};
    ///
    /// # async fn example<S>(listener: tokio::net::TcpListener, router: S) -> Result<(), ServeError>
    /// # where
    /// #     S: tower::Service<http::Request<RequestBody>, Response = http::Response<String>> + Clone + Send + Sync + 'static,
    /// #     S::Future: Send + 'static,
    /// #     S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    /// # {
    /// with(serve(listener, router), async |server| server.forever().await).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the task that accepts connections has panicked.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn forever(&mut self) -> Result<(), ServeError> {
        self.accepted().await?;
        // The runtime is shutting down.
        std::future::pending().await
    }

    /// Waits until no connection is accepted any more.
    async fn accepted(&mut self) -> Result<(), ServeError> {
        let Some(accepting) = &mut self.accepting else { return Ok(()) };
        let accepted = accepting.await;
        self.accepting = None;
        match accepted.map_err(tokio::task::JoinError::try_into_panic) {
            Err(Ok(payload)) => Err(ServeError::Accept(message_of(&*payload))),
            // Cancelled: by the runtime, which is shutting down.
            Ok(()) | Err(Err(_)) => Ok(()),
        }
    }

    async fn all_ended(&self) {
        // The semaphore is never closed.
        drop(self.control.slots.acquire_many(self.control.limits.max_connections).await);
    }
}

impl AsyncExit for Server {
    type Error = ServeError;

    async fn exit(mut self, _: Outcome<'_>) -> Result<(), ServeError> {
        self.control.stop.cancel();
        let accepted = self.accepted().await;
        if timeout(self.control.limits.grace_limit, self.all_ended()).await.is_err() {
            self.control.kill.cancel();
            self.all_ended().await;
        }
        accepted
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<&'static str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("a panic whose payload is not a string").to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an exit there is nobody left to be told.
        self.control.stop.cancel();
        self.control.kill.cancel();
    }
}

impl Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr)
            .field("stats", &self.control.stats)
            .finish()
    }
}

/// Figures of a server. Clones are views of the same. Made by [`Server::stats`].
#[derive(Clone, Debug, Default)]
pub struct ServerStats {
    counts: Arc<Counts>,
}

// Relaxed throughout: a count publishes nothing.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    ended: AtomicU64,
    requests: AtomicU64,
    cut: AtomicU64,
    broken: AtomicU64,
    stalled: AtomicU64,
}

impl ServerStats {
    /// Connections that were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open now: those whose exits still run are.
    #[must_use]
    pub fn open(&self) -> u64 {
        let ended = self.counts.ended.load(Ordering::Relaxed);
        self.accepted().saturating_sub(ended)
    }

    /// Requests whose head was read.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Connections that were still in use at the grace limit, and were dropped.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.counts.cut.load(Ordering::Relaxed)
    }

    /// Connections that ended with an error: clients that went away, that sent no HTTP, or that were too slow.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.counts.broken.load(Ordering::Relaxed)
    }

    /// Connections, and single streams of HTTP/2, that were closed because their client made no progress.
    #[must_use]
    pub fn stalled(&self) -> u64 {
        self.counts.stalled.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_ended(&self) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_request(&self) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_cut(&self) {
        self.counts.cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_broken(&self) {
        self.counts.broken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_stalled(&self) {
        self.counts.stalled.fetch_add(1, Ordering::Relaxed);
    }
}
