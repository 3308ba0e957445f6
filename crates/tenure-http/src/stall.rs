//! Waiting for a peer, but not for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Longer than anything runs.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment when a limit has passed, whatever the limit is.
pub(crate) fn after(moment: Instant, limit: Duration) -> Instant {
    moment + limit.min(NEVER)
}

/// How much longer to wait for the next part of what a peer sends. Nothing is timed before the first wait.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, waiting: false }
    }

    /// Something came.
    pub(crate) fn renew(&mut self) {
        self.waiting = false;
    }

    /// Nothing came yet: ready, with the limit, when nothing has for so long.
    pub(crate) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !std::mem::replace(&mut self.waiting, true) {
            timer.as_mut().reset(after(Instant::now(), limit));
        }
        timer.as_mut().poll(context).map(|()| limit)
    }
}
