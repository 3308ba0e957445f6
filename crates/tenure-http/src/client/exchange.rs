//! What is under way on a connection: whether it can take another request, and when it last made progress.
//!
//! # Invariants
//! 1. `open` counts the halves of exchanges that have not ended: from the send of a request until its own body is gone, and
//!    until its response's body was read to its end. What is broken off is never taken off again: over HTTP/1.1 the
//!    connection is of no more use then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, Response, StatusCode, Version};
use tokio::time::{Instant, sleep_until};

use crate::metered::Meter;
use crate::stall::after;

/// What is known of a connection beside what hyper knows.
#[derive(Debug)]
pub(super) struct Exchange {
    began: Instant,
    // Relaxed: a moment and a count, which publish nothing.
    wrote: AtomicU64,
    open: AtomicUsize,
    /// How many reads gave something.
    reads: AtomicU64,
    /// How many heads of responses have come.
    answers: AtomicU64,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            wrote: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            answers: AtomicU64::new(0),
        }
    }

    /// Whether nothing is under way, and nothing was broken off.
    #[cfg(feature = "pool")]
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }

    /// Notes that the head of a response has come.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns `true` if a request was answered before.
    pub(super) fn has_answered(&self) -> bool {
        self.answers.load(Ordering::Relaxed) > 0
    }

    /// How much has come, to compare it with later.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Waits until nothing was written for so long.
    pub(super) async fn silence(&self, limit: Duration) {
        let mut last = Instant::now();
        loop {
            sleep_until(after(last, limit)).await;
            let wrote = self.began + Duration::from_nanos(self.wrote.load(Ordering::Relaxed));
            if wrote <= last {
                return;
            }
            last = wrote;
        }
    }
}

impl Meter for Exchange {
    fn read(&self, bytes: usize) {
        if bytes > 0 {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wrote(&self, taken: bool) {
        if taken {
            let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.wrote.store(nanos, Ordering::Relaxed);
        }
    }
}

/// One half of an exchange.
#[derive(Debug)]
pub(super) struct Half {
    exchange: Arc<Exchange>,
}

impl Half {
    pub(super) fn begin(exchange: &Arc<Exchange>) -> Self {
        exchange.open.fetch_add(1, Ordering::Relaxed);
        Self { exchange: Arc::clone(exchange) }
    }

    /// Notes that it has ended as it should.
    pub(super) fn end(self) {
        self.exchange.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether these headers say that their message is the connection's last.
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    says(headers, "close")
}

/// Whether a connection takes no request after this response.
pub(super) fn is_last<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || says_close(headers)
        || (response.version() == Version::HTTP_10 && !says(headers, "keep-alive"))
}

fn says(headers: &HeaderMap, word: &str) -> bool {
    let lists = headers.get_all(CONNECTION).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}
