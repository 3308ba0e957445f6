//! What a server counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Figures of a server. Clones are views of the same. Made by [`Server::stats`](super::Server::stats).
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
    upgraded: AtomicU64,
    cut: AtomicU64,
    broken: AtomicU64,
    stalled: AtomicU64,
    panicked: AtomicU64,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $figure:ident, $count:ident;)*) => {
        impl ServerStats {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $figure(&self) -> u64 {
                    self.counts.$figure.load(Ordering::Relaxed)
                }

                pub(super) fn $count(&self) {
                    self.counts.$figure.fetch_add(1, Ordering::Relaxed);
                }
            )*
        }
    };
}

figures! {
    /// Returns the number of connections that were accepted.
    accepted, count_accepted;
    /// Returns the number of requests whose head was read.
    requests, count_request;
    /// Returns the number of connections that were upgraded, to a web socket for instance. Over HTTP/2 it is a stream that
    /// is upgraded, which is not counted here.
    upgraded, count_upgraded;
    /// Returns the number of connections that were still in use at the grace limit, and were dropped.
    cut, count_cut;
    /// Returns the number of connections that ended with an error: clients that went away, that sent no HTTP, or that were
    /// too slow.
    broken, count_broken;
    /// Returns the number of connections, and of single streams of HTTP/2, that were closed because their client made no
    /// progress.
    stalled, count_stalled;
    /// Returns the number of panics of handlers and response bodies that reached the server. Over HTTP/1.1 each takes its
    /// connection along, over HTTP/2 its stream.
    panicked, count_panicked;
}

impl ServerStats {
    /// Returns the number of connections that are open now. A connection whose exits still run is open.
    #[must_use]
    pub fn open(&self) -> u64 {
        let ended = self.counts.ended.load(Ordering::Relaxed);
        self.accepted().saturating_sub(ended)
    }

    pub(super) fn count_ended(&self) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
    }
}
