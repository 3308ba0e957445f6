//! The server that is entered, and its exit.
//!
//! # Invariants
//! 1. Each connection is a task of its listener's set until its last exit: a set that is empty says that none is left.
//! 2. The stages of the stop follow each other: closing, stopping, cut.
//! 3. Leaving takes no longer than the lame duck time, the grace, the time after the cut and that of the hand-over together:
//!    what has not ended by then goes on in the background. Where the process stops, its deadline shortens them.

use std::error::Error;
use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tenure::{AsyncExit, Outcome};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower_service::Service;

use super::accept::accept_all;
use super::control::Control;
use super::leaving::Leaving;
use super::limits::Limits;
use super::{Listener, RequestBody, ServeError, ServerStats};

/// How long the tasks of connections that were aborted may take to be dropped. A handler that blocks its thread takes longer.
const HAND_OVER: Duration = Duration::from_millis(100);

/// A server that is running: the resource that [`serve()`](super::serve()) enters.
///
/// Dropped without its exit, or when its exit is cut off at a time limit, it drops all connections at once.
#[must_use = "dropped, the server ends at once"]
pub struct Server {
    control: Arc<Control>,
    /// One for each listener, until it has been awaited.
    accepting: Vec<JoinHandle<JoinSet<()>>>,
    /// The connections that are left when nobody is accepted any more.
    connections: Vec<JoinSet<()>>,
    local_addrs: Vec<SocketAddr>,
}

impl Server {
    pub(super) fn begin<S, B>(listeners: Vec<Listener>, service: S, limits: Limits) -> Result<Self, ServeError>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let mut local_addrs = Vec::new();
        for listener in &listeners {
            local_addrs.extend(listener.local_addr().map_err(ServeError::Listener)?);
        }
        let control = Arc::new(Control::new(limits));
        let mut accepting = Vec::with_capacity(listeners.len());
        let mut listeners = listeners.into_iter().peekable();
        while let Some(listener) = listeners.next() {
            if listeners.peek().is_none() {
                accepting.push(tokio::spawn(accept_all(listener, service, Arc::clone(&control))));
                break;
            }
            accepting.push(tokio::spawn(accept_all(listener, service.clone(), Arc::clone(&control))));
        }
        Ok(Self { control, accepting, connections: Vec::new(), local_addrs })
    }

    /// Returns where the server listens: the port that was chosen, if it was bound to port 0. With several listeners it is
    /// the first that is not a unix socket; with unix sockets alone it is `0.0.0.0:0`.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addrs.first().copied().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Returns where the server listens, in the order of its listeners, without its unix sockets.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Returns live figures. They can still be read when the server has ended.
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
        if !self.accepting.is_empty() {
            self.accepted().await?;
        }
        // The runtime is shutting down.
        std::future::pending().await
    }

    /// Waits until one of the listeners accepts no more. Cancel safe.
    async fn accepted(&mut self) -> Result<(), ServeError> {
        let (index, accepted) = poll_fn(|context| {
            let accepting = self.accepting.iter_mut().enumerate();
            let mut ended = accepting.filter_map(|(index, one)| match Pin::new(one).poll(context) {
                Poll::Ready(accepted) => Some((index, accepted)),
                Poll::Pending => None,
            });
            ended.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        drop(self.accepting.swap_remove(index));
        match accepted.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(connections) => {
                self.connections.push(connections);
                Ok(())
            }
            Err(Ok(payload)) => Err(ServeError::Accept(tenure::panic_message(&*payload))),
            // Cancelled: by the runtime, which is shutting down.
            Err(Err(_)) => Ok(()),
        }
    }

    /// Waits until nothing is left. Cancel safe.
    async fn ended(&mut self, accepted: &mut Result<(), ServeError>) {
        while !self.accepting.is_empty() {
            if let Err(error) = self.accepted().await {
                *accepted = Err(error);
            }
        }
        for connections in &mut self.connections {
            // A connection that panicked has ended, too; its panic was counted.
            while connections.join_next().await.is_some() {}
        }
    }
}

impl AsyncExit for Server {
    type Error = ServeError;

    async fn exit(mut self, _: Outcome<'_>) -> Result<(), ServeError> {
        let mut leaving = Leaving::begin(self.control.limits);
        let stages = Arc::clone(&self.control.stages);
        stages.closing.cancel();
        leaving.lame_duck().await;
        stages.stopping.cancel();
        let mut accepted = Ok(());
        tokio::select! {
            biased;
            () = self.ended(&mut accepted) => return accepted,
            () = leaving.grace() => {}
        }
        stages.cut.cancel();
        if !leaving.cut(self.ended(&mut accepted)).await {
            // Aborted, the tasks of the connections are dropped, which hands over the exits that have not ended.
            self.accepting.iter().for_each(JoinHandle::abort);
            self.connections.iter_mut().for_each(JoinSet::abort_all);
            let _ = timeout(HAND_OVER, self.ended(&mut accepted)).await;
        }
        accepted
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an exit there is nobody left to be told.
        let stages = &self.control.stages;
        stages.closing.cancel();
        stages.stopping.cancel();
        stages.cut.cancel();
    }
}

impl Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addrs", &self.local_addrs)
            .field("stats", &self.control.stats)
            .finish()
    }
}
