//! The check of a resource on checkout, within the time of the get.
//!
//! # Invariants
//! 1. A check that outlasts its get is not cut off: it is finished in the background, within its own limit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use crate::clock::NEVER;
use crate::guarded::Timer;
use crate::manager::{Manager, Why};
use crate::raw::renew;
use crate::shared::{Checkout, Claimed};
use crate::tend::{Task, tend};
use crate::work::{Kind, Work, give_back};

/// How a check on checkout ended.
pub(crate) enum Checked<M: Manager> {
    Good(Work<M>),
    /// The resource is being closed.
    Bad,
    /// The get has run out of time. The check has not ended, and may be polled on.
    Late,
}

/// Until when the get may wait.
pub(crate) enum Limit {
    Never,
    At(Instant),
    /// For so many nanoseconds from the first suspension on; no clock is read before.
    From(u64),
}

pin_project! {
    struct Checking<F> {
        #[pin]
        tend: F,
        limit: Limit,
        timer: Option<Timer>,
    }
}

impl<M: Manager, F: Future<Output = Option<Work<M>>>> Future for Checking<F> {
    type Output = Checked<M>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Checked<M>> {
        let this = self.project();
        if let Poll::Ready(tended) = this.tend.poll(cx) {
            return Poll::Ready(tended.map_or(Checked::Bad, Checked::Good));
        }
        ready!(poll_limit(this.limit, this.timer, cx));
        (*this.limit, *this.timer) = (Limit::Never, None);
        Poll::Ready(Checked::Late)
    }
}

#[cold]
fn poll_limit(limit: &mut Limit, timer: &mut Option<Timer>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(timer) = timer {
        return timer.as_mut().poll(cx);
    }
    let now = Instant::now();
    let at = match *limit {
        Limit::Never | Limit::From(NEVER) => None,
        Limit::At(at) => Some(at),
        Limit::From(nanos) => now.checked_add(Duration::from_nanos(nanos)),
    };
    // Off the runtime there is no timer.
    let Some(at) = at else { return Poll::Pending };
    if at <= now {
        return Poll::Ready(());
    }
    if Handle::try_current().is_err() {
        return Poll::Pending;
    }
    let timer = timer.insert(Box::pin(unconstrained(sleep_until(at))));
    timer.as_mut().poll(cx)
}

/// Begins to check the resource of a claim, in the memory of its last check.
pub(crate) fn begin<M: Manager>(claim: Claimed<M>, limit: Limit) -> Checkout<M> {
    // Nobody counts on it, so it cannot be stuck.
    claim.meta().began.store(NEVER, std::sync::atomic::Ordering::Relaxed);
    let mut work = Work::new(claim, Kind::Checkout);
    let cargo = work.claim_mut().resource_mut();
    let scratch = cargo.and_then(|cargo| cargo.scratch.get_mut().take());
    renew(scratch, Checking { tend: tend(work, Task::Check, Why::Checkout), limit, timer: None })
}

/// Finishes a check whose get is gone; the resource is for the next one.
pub(crate) async fn finish<M: Manager>(mut checkout: Checkout<M>) {
    loop {
        match checkout.as_mut().await {
            Checked::Good(work) => {
                give_back(work.finish());
                return;
            }
            Checked::Bad => return,
            Checked::Late => {}
        }
    }
}
