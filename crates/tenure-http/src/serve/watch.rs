//! What ends a connection, or an HTTP/2 stream, whose client makes no progress.
//!
//! A connection has a watch, told by its stream when a write has to wait: that serves both versions, and the connection's
//! timer looks at it. Each stream of HTTP/2 has one besides, told by the response when a frame has to wait for the client's
//! leave to be sent. Bodies of requests tell the innermost of the two.
//!
//! # Invariants
//! 1. `stalled` is polled after what tells the watch, in the same task: so it needs no waker for waits that begin.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::control::{Control, CountPanic};
use crate::stall::after;
use crate::tasks::Tasks;

#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    /// Since when the client is waited for, in nanoseconds from `began`; [`NOT`] if it is not. Relaxed: invariant 1.
    since: AtomicU64,
    lost: Notify,
}

/// The client is not waited for.
const NOT: u64 = u64::MAX;

impl Watch {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), since: AtomicU64::new(NOT), lost: Notify::new() }
    }

    /// From now on the client is waited for, if it was not yet.
    pub(super) fn wait(&self) {
        if self.since.load(Ordering::Relaxed) == NOT {
            let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(NOT - 1);
            self.since.store(nanos, Ordering::Relaxed);
        }
    }

    /// The client did what it was waited for.
    pub(super) fn go_on(&self) {
        self.since.store(NOT, Ordering::Relaxed);
    }

    /// Since when the client is waited for.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match self.since.load(Ordering::Relaxed) {
            NOT => None,
            nanos => Some(self.began + Duration::from_nanos(nanos)),
        }
    }

    /// Waits until somebody finds that the client does nothing.
    pub(super) async fn given_up(&self) {
        self.lost.notified().await;
    }

    /// Somebody else found that the client does nothing.
    pub(super) fn give_up(&self) {
        self.lost.notify_one();
    }

    /// Ready when the client was waited for, for so long.
    pub(super) async fn stalled(&self, limit: Duration) {
        tokio::select! {
            biased;
            () = self.given_up() => {}
            () = self.wait_is_over(limit) => {}
        }
    }

    async fn wait_is_over(&self, limit: Duration) {
        loop {
            let since = poll_fn(|_| self.waiting_since().map_or(Poll::Pending, Poll::Ready));
            let end = after(since.await, limit);
            if Instant::now() >= end {
                return;
            }
            sleep_until(end).await;
        }
    }
}

tokio::task_local! {
    static STREAM: Arc<Watch>;
}

/// The watch of the HTTP/2 stream whose task this is.
pub(super) fn of_stream() -> Option<Arc<Watch>> {
    STREAM.try_with(Arc::clone).ok()
}

/// Spawns the streams of HTTP/2, each with its watch.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) tasks: Tasks,
    pub(super) control: Arc<Control>,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let control = Arc::clone(&self.control);
        self.tasks.execute(async move {
            let _panics = CountPanic(Arc::clone(&control));
            let watch = Arc::new(Watch::new());
            tokio::select! {
                biased;
                _ = STREAM.scope(Arc::clone(&watch), stream) => {}
                () = watch.stalled(control.limits.write_timeout) => control.stats.count_stalled(),
            }
        });
    }
}
