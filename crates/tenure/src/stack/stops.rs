//! Entries of a stack that may stop the body around it: task groups.
//!
//! # Invariants
//! 1. What is asked is polled, and wakers are cloned and dropped, behind the lock.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::exit::StopBody;

/// No entry has stopped the body.
const NONE: usize = usize::MAX;

pub(super) struct Stops {
    /// Whether there is any: what most stacks pay for.
    any: AtomicBool,
    /// The number of the entry that has stopped the body.
    stopped_by: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sources: Vec<(usize, StopBody)>,
    /// Of the body, which polls once before the first source is there.
    waker: Option<Waker>,
    /// Whether the entries have left the stack that the body is around.
    moved: bool,
}

impl Default for Stops {
    fn default() -> Self {
        Self { any: AtomicBool::new(false), stopped_by: AtomicUsize::new(NONE), state: Mutex::default() }
    }
}

impl Stops {
    /// Adds the entry of this number, from below.
    pub(super) fn add(&self, index: usize, source: StopBody) {
        let waker = {
            let mut state = self.state();
            state.sources.push((index, source));
            state.waker.take()
        };
        self.any.store(true, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets none of them stop the body any more: they lie on another stack now.
    pub(super) fn moved(&self) {
        self.state().moved = true;
    }

    pub(super) fn stopped_by(&self) -> Option<usize> {
        Some(self.stopped_by.load(Ordering::Relaxed)).filter(|index| *index != NONE)
    }

    pub(super) fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()> {
        // Pairs with the store in `add`. The body polls this each time it has been polled itself, and it is the body that
        // adds; whoever else does so is not heard before its next poll.
        if !self.any.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let waker = context.waker().clone();
        let (sources, moved, old) = {
            let mut state = self.state();
            (mem::take(&mut state.sources), state.moved, state.waker.replace(waker))
        };
        drop(old);
        if moved {
            return Poll::Pending;
        }
        let ready = sources.iter().find(|(_, source)| source.poll_stop(context).is_ready());
        if let Some((index, _)) = ready {
            self.stopped_by.store(*index, Ordering::Relaxed);
            return Poll::Ready(());
        }
        let mut state = self.state();
        let added = mem::replace(&mut state.sources, sources);
        state.sources.extend(added);
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
