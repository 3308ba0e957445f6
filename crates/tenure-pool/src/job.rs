//! Background work that another runtime can take over.
//!
//! A runtime of one thread that nobody blocks on is alive and does nothing: neither a reset that was spawned there nor
//! its time limit would end, and the slot would be lost to all others.
//!
//! # Invariants
//! 1. A future is with its runner, with whoever polls it, or with the thief: it is taken out of its place for each poll.
//! 2. It is polled and dropped without any lock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use crate::home::HomeId;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work under way on a home.
pub(crate) struct Job {
    home: HomeId,
    work: Mutex<Option<Work>>,
}

/// The task of a job.
pub(crate) struct Runner(Arc<Job>);

impl Runner {
    pub(crate) fn new(home: HomeId, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Arc::new(Job { home, work: Mutex::new(Some(Box::pin(work))) }))
    }

    pub(crate) fn job(&self) -> Weak<Job> {
        Arc::downgrade(&self.0)
    }
}

impl Future for Runner {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // None: another runtime has taken it over.
        let Some(mut work) = self.0.take() else { return Poll::Ready(()) };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            *self.0.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
        }
        polled
    }
}

impl Job {
    fn take(&self) -> Option<Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes the work off this home, unless it is being polled or has ended.
    pub(crate) fn steal(&self, home: HomeId) -> Option<Work> {
        if self.home == home { self.take() } else { None }
    }
}

/// The jobs of a pool that have not ended, and some that have.
#[derive(Default)]
pub(crate) struct Jobs {
    list: Vec<Weak<Job>>,
    /// From this length on those that have ended are dropped.
    purge_at: usize,
}

impl Jobs {
    pub(crate) fn add(&mut self, job: Weak<Job>) {
        if self.list.len() >= self.purge_at {
            self.list.retain(|job| job.strong_count() > 0);
            self.purge_at = (2 * self.list.len()).max(32);
        }
        self.list.push(job);
    }

    /// All that have not ended.
    pub(crate) fn all(&self) -> Vec<Arc<Job>> {
        self.list.iter().filter_map(Weak::upgrade).collect()
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("len", &self.list.len()).finish()
    }
}
