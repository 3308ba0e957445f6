//! A client: makes one transfer after the other, each as the seed decides, and sees how it ends.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use futures_util::FutureExt as _;
use indicatif::ProgressBar;
use tokio::time::timeout;

use crate::connections::Connections;
use crate::order::{Fate, order};
use crate::panics::Injected;
use crate::problem::Problem;
use crate::tally::{Ended, Tally};
use crate::transfer::{Refused, transfer};

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) seed: u64,
    pub(crate) transfers: u64,
    pub(crate) connections: Connections,
    pub(crate) tally: Arc<Tally>,
    pub(crate) progress: ProgressBar,
    /// The number of the next order that nobody has taken.
    pub(crate) next: AtomicU64,
}

/// Takes orders until none is left. Only a database that fails stops it before.
pub(crate) async fn client(work: Arc<Work>) -> Result<(), Problem> {
    loop {
        // Relaxed: each number is taken once, and that is all.
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        if number >= work.transfers {
            return Ok(());
        }
        let mut underway = Underway { work: &work, began: Instant::now(), ended: Ended::Cancelled };
        let attempted = attempt(&work, number).await;
        underway.ended = *attempted.as_ref().unwrap_or(&Ended::RolledBack);
        drop(underway);
        attempted?;
    }
}

/// A transfer that is under way: cancelled, unless its end is known before this is dropped.
struct Underway<'w> {
    work: &'w Work,
    began: Instant,
    ended: Ended,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.work.tally.transfer_ended(self.ended, self.began.elapsed());
        self.work.progress.inc(1);
    }
}

/// Lets one transfer meet its fate.
async fn attempt(work: &Work, number: u64) -> Result<Ended, Problem> {
    let (order, fate) = order(work.seed, number);
    let transfer = AssertUnwindSafe(transfer(&work.connections, &order, fate)).catch_unwind();
    let ended = match fate {
        Fate::Plain | Fate::Panics => Some(transfer.await),
        Fate::Dropped { suspension } => drop_at(suspension, transfer).await,
        Fate::TimedOut { after } => timeout(after, transfer).await.ok(),
    };
    match ended {
        None => Ok(Ended::Cancelled),
        Some(Ok(Ok(()))) => Ok(Ended::Committed),
        Some(Ok(Err(Refused::InsufficientFunds { .. }))) => Ok(Ended::RolledBack),
        Some(Ok(Err(Refused::Failed(problem)))) => Err(problem),
        Some(Err(panic)) if panic.is::<Injected>() => Ok(Ended::Panicked),
        Some(Err(panic)) => resume_unwind(panic),
    }
}

/// Drops a future when it is suspended for the n-th time, counted from zero. `None` if it came to that.
async fn drop_at<F: Future>(suspension: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut suspended = 0;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if suspended == suspension => Poll::Ready(None),
        Poll::Pending => {
            suspended += 1;
            Poll::Pending
        }
    })
    .await
}
