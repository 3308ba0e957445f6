//! What a request knows of the server that it came in on: how far its stop has come, and who is at the other end.
//!
//! # Invariants
//! 1. The stages follow each other and are never taken back: closing, stopping, cut.
//! 2. A link keeps neither the connection's socket open nor its end from being awaited, so that handlers may keep it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tenure::CancelToken;
use tokio::sync::mpsc;

/// The stages of a server's stop.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// Not ready any more: answers say that their connection closes.
    pub(crate) closing: CancelToken,
    /// No connection is accepted any more; what is in flight has its grace.
    pub(crate) stopping: CancelToken,
    /// The grace is over: handlers are dropped, and what is held elsewhere is cut off.
    pub(crate) cut: CancelToken,
}

impl Stages {
    /// Returns `true` if the server is being left: it ends by itself what belongs to it.
    #[cfg(feature = "serve")]
    pub(crate) fn are_begun(&self) -> bool {
        self.closing.is_cancelled()
    }
}

/// The connection of a request, as the request may know it.
#[derive(Debug)]
#[cfg_attr(
    not(all(feature = "layer", feature = "serve")),
    expect(dead_code, reason = "the server fills it in, and the layer reads it")
)]
pub(crate) struct Link {
    pub(crate) stages: Arc<Stages>,
    pub(crate) peer: Option<SocketAddr>,
    /// What keeps the connection's exit waiting while it is held.
    pub(crate) alive: mpsc::WeakSender<Infallible>,
    /// How many upgrades are used in contexts. Relaxed: it is looked at now and then.
    pub(crate) upgrades: AtomicUsize,
    /// Whether a client that has closed its side of an upgraded connection has nothing more to do with it.
    pub(crate) ends_with_its_side: AtomicBool,
    /// The client of an upgraded connection is gone.
    pub(crate) gone: CancelToken,
}

/// Put into each request's extensions by [`serve`](crate::serve()), taken out by the request layer. Empty on another
/// server.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "layer"), expect(dead_code, reason = "it is the layer that looks"))]
pub(crate) struct OfServer(pub(crate) Option<Arc<Link>>);

#[cfg(feature = "layer")]
impl OfServer {
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    pub(crate) fn stages(&self) -> Option<&Stages> {
        self.0.as_ref().map(|link| &*link.stages)
    }

    /// Waits until the grace is over; for ever on another server.
    pub(crate) async fn cut(&self) {
        match self.stages() {
            Some(stages) => stages.cut.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the client of an upgraded connection is gone; for ever on another server.
    #[cfg(feature = "serve")]
    pub(crate) async fn gone(&self) {
        match &self.0 {
            Some(link) => link.gone.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the server stops; for ever on another server.
    pub(crate) async fn stopping(&self) {
        match self.stages() {
            Some(stages) => stages.stopping.cancelled().await,
            None => std::future::pending().await,
        }
    }
}
