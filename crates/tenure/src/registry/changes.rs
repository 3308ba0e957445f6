//! The news that something was handed over or has ended, for the few that wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Costs a load where nobody listens.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    listeners: AtomicUsize,
    news: Notify,
}

/// Somebody who listens, until it is dropped.
pub(crate) struct Listener<'c> {
    changes: &'c Changes,
}

impl Changes {
    /// Tells all who listen.
    pub(crate) fn tell(&self) {
        // Relaxed: what changed lies behind a lock that this has held before, and that a listener takes after it has
        // registered, to look. Either it sees the change there, or this has taken the lock after it and sees the listener.
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.news.notify_waiters();
        }
    }

    pub(crate) fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener { changes: self }
    }
}

impl Listener<'_> {
    /// Polls `look` now, and again after each change, until it is done.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let news = self.changes.news.notified();
            let mut news = std::pin::pin!(news);
            // Registered before the look: what changes after it wakes.
            news.as_mut().enable();
            if let Some(done) = look() {
                return done;
            }
            news.await;
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.changes.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}
