//! [`Countdown`]: polls a future and drops it at a chosen suspension, in a chosen way.
//!
//! # Invariants
//! 1. After the suspension at which it is to be dropped, the future is never polled again.
//! 2. The line `cancel at …` is in the trace before anything that the drop itself causes.
//! 3. No run suspends more often than the limit, plus once.

use std::backtrace::Backtrace;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use crate::budget::Budget;
use crate::settings::Settings;
use crate::site::{self, Site};
use crate::{EventKind, ProofOutput, Recorder, spy};

/// How long [`CancelBy::Timeout`] lets everything else run before it drops the future, in milliseconds.
const TIMEOUT_MILLISECONDS: u64 = 1;

/// Way of dropping a future at a suspension. They differ in where the drop runs, and in what else has happened
/// by then; code that survives one may fall to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelBy {
    /// At once, by the one who polls it: another branch of a `select!` was ready.
    Drop,
    /// At once, by the runtime: its task was aborted with [`JoinHandle::abort`](tokio::task::JoinHandle::abort).
    Abort,
    /// When it has been woken but not yet polled again: what it waited for has happened, and is not looked at again.
    Wake,
    /// A little later, when a timer fires: what runs in the background has gone on meanwhile.
    Timeout,
}

impl CancelBy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Drop, Self::Abort, Self::Wake, Self::Timeout];
}

impl fmt::Display for CancelBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "dropped",
            Self::Abort => "aborted",
            Self::Wake => "dropped when woken",
            Self::Timeout => "timed out",
        })
    }
}

/// Where, and how, a run is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The suspension: 0 is before the first poll.
    pub(crate) at: u64,
    pub(crate) by: CancelBy,
}

/// What a countdown tells the harness.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) abort: OnceLock<AbortHandle>,
    /// Notified when the future says that it hangs.
    pub(crate) hangs: Notify,
    told: Mutex<Told>,
}

/// How far the future came, and where it stood when it was cut.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) suspensions: u64,
    pub(crate) cut: bool,
    /// Whether it was dropped because it suspended too often.
    pub(crate) endless: bool,
    /// The error that the future returned, as text.
    pub(crate) failure: Option<String>,
    pub(crate) sites: Vec<Site>,
    pub(crate) backtraces: Vec<Backtrace>,
}

impl Control {
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls a future until it ends or is to be dropped.
pub(crate) struct Countdown<F> {
    // Boxed, so that polling needs no unsafe projection, and dropped by taking it.
    future: Option<Pin<Box<F>>>,
    cut: Option<Cut>,
    max_suspensions: u64,
    recorder: Recorder,
    control: Arc<Control>,
    /// Set if each poll is to have a budget of one.
    budget: Option<Budget>,
    /// Set from the last suspension on, for the ways that drop later.
    frozen: Option<Frozen>,
}

enum Frozen {
    UntilWoken,
    UntilAborted,
    Until(Pin<Box<Sleep>>),
}

impl<F: Future<Output: ProofOutput>> Countdown<F> {
    pub(crate) fn new(
        settings: &Settings,
        future: F,
        cut: Option<Cut>,
        recorder: Recorder,
        control: Arc<Control>,
    ) -> Self {
        let budget = settings.suspend_often.then(Budget::default);
        let max_suspensions = settings.max_steps;
        Self { future: Some(Box::pin(future)), cut, max_suspensions, recorder, control, budget, frozen: None }
    }

    fn poll_future(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = self.future.as_mut() else {
            return Poll::Ready(());
        };
        let is_last = self.cut.is_some_and(|cut| cut.at == self.control.told().suspensions + 1);
        // Only where it is to be cut: a backtrace for each poll would be dear.
        let spied = is_last.then(|| spy::spy(cx.waker().clone()));
        let (polled, heard) = site::listen(|| match &spied {
            Some((waker, _)) => future.as_mut().poll(&mut Context::from_waker(waker)),
            None => future.as_mut().poll(cx),
        });
        if let Poll::Ready(output) = polled {
            // The error's `Debug` and the output's drop are the user's code: not under the lock.
            let failure = output.failure();
            drop(output);
            self.control.told().failure = failure;
            return Poll::Ready(());
        }
        let mut told = self.control.told();
        told.suspensions += 1;
        told.sites = heard.suspended;
        told.backtraces = spied.map(|(_, notes)| notes.close()).unwrap_or_default();
        drop(told);
        if heard.hangs {
            self.control.hangs.notify_one();
        }
        Poll::Pending
    }

    /// Begins the end. `Ready`: the future is dropped already.
    fn cut(&mut self, cut: Cut, cx: &mut Context<'_>) -> Poll<()> {
        self.control.told().cut = true;
        self.frozen = Some(match cut.by {
            CancelBy::Drop => return self.drop_future(cut),
            // Nothing will wake what was never polled.
            CancelBy::Wake if cut.at == 0 => return self.drop_future(cut),
            CancelBy::Wake => Frozen::UntilWoken,
            CancelBy::Timeout => {
                let pause = Duration::from_millis(TIMEOUT_MILLISECONDS);
                Frozen::Until(Box::pin(tokio::time::sleep(pause)))
            }
            CancelBy::Abort => {
                self.write(cut);
                if let Some(task) = self.control.abort.get() {
                    task.abort();
                }
                Frozen::UntilAborted
            }
        });
        match cut.by {
            CancelBy::Timeout => self.poll_frozen(cut, cx),
            CancelBy::Drop | CancelBy::Abort | CancelBy::Wake => Poll::Pending,
        }
    }

    /// Goes on after the last suspension, without polling the future.
    fn poll_frozen(&mut self, cut: Cut, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.frozen {
            Some(Frozen::Until(sleep)) => std::task::ready!(sleep.as_mut().poll(cx)),
            Some(Frozen::UntilAborted) => return Poll::Pending,
            Some(Frozen::UntilWoken) | None => {}
        }
        self.drop_future(cut)
    }

    fn drop_future(&mut self, cut: Cut) -> Poll<()> {
        self.write(cut);
        self.future = None;
        Poll::Ready(())
    }

    fn write(&self, cut: Cut) {
        self.recorder.push(EventKind::Cancelled(cut.at), "", 0, Location::caller(), None);
    }
}

impl<F: Future<Output: ProofOutput>> Future for Countdown<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // The task may start before the harness has stored its abort handle.
        if this.control.abort.get().is_none() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let (Some(cut), Some(_)) = (this.cut, &this.frozen) {
            return this.poll_frozen(cut, cx);
        }
        if let Some(cut) = this.cut.filter(|cut| cut.at == 0) {
            return this.cut(cut, cx);
        }
        if let Some(budget) = &mut this.budget {
            budget.leave_one();
        }
        if this.poll_future(cx).is_ready() {
            return Poll::Ready(());
        }
        let count = this.control.told().suspensions;
        match this.cut {
            Some(cut) if cut.at == count => this.cut(cut, cx),
            // A future that always wakes itself would keep a paused clock from ever moving.
            _ if count > this.max_suspensions => {
                this.control.told().endless = true;
                this.future = None;
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}
