//! Where a resource goes that is clean and that nobody holds: to the first who waits, among the idle ones, or away.

use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::budget;
use crate::codel;
use crate::home::{fits, should_yield};
use crate::manager::{Manager, Why};
use crate::raw::Slow;
use crate::shared::{Claimed, Locked, phase};
use crate::work::{Orphaned, retire};

/// Where a claim went, and what is left to do without the lock.
#[must_use]
pub(crate) struct Placed<M: Manager> {
    place: Place<M>,
    /// Those who were dropped from the queue before it.
    shed: Vec<Waker>,
}

enum Place<M: Manager> {
    Idle,
    Handed(Option<Waker>),
    Retire(Claimed<M>, Why),
}

impl<M: Manager> Placed<M> {
    fn new(place: Place<M>) -> Self {
        Self { place, shed: Vec::new() }
    }

    /// To be closed.
    pub(crate) fn retire(claim: Claimed<M>, why: Why) -> Self {
        Self::new(Place::Retire(claim, why))
    }

    /// Does what is left to do; the lock must not be held.
    pub(crate) fn conclude(self) -> Orphaned<M> {
        let orphaned = match self.place {
            Place::Idle | Place::Handed(None) => None,
            Place::Handed(Some(waker)) => {
                waker.wake();
                None
            }
            Place::Retire(claim, why) => retire(claim, why),
        };
        for waker in self.shed {
            waker.wake();
        }
        orphaned
    }
}

/// Finds the place of a claim on a clean resource.
pub(crate) fn place<M: Manager>(locked: &mut Locked<'_, M>, claim: Claimed<M>) -> Placed<M> {
    let ext = &locked.core().ext;
    if locked.state.closed {
        return Placed::retire(claim, Why::PoolClosed);
    }
    if locked.state.has_excess() {
        return Placed::retire(claim, Why::Excess);
    }
    let was_used = claim.meta().uses.load(Ordering::Relaxed) > 0;
    if !ext.config.pooling && was_used {
        return Placed::retire(claim, Why::NotPooled);
    }
    if budget::is_wanted_elsewhere(locked) {
        return Placed::retire(claim, Why::Evicted);
    }
    let home = claim.home();
    if should_yield(locked, home) {
        return Placed::retire(claim, Why::OtherRuntime);
    }
    if locked.state.paused {
        locked.push_idle(claim);
        return Placed::new(Place::Idle);
    }
    let shed = if ext.config.codel.is_some() { codel::shed(locked) } else { Vec::new() };
    let place = match serve(locked, claim) {
        Ok(waker) => Place::Handed(waker),
        Err(claim) => {
            locked.push_idle(claim);
            Place::Idle
        }
    };
    Placed { place, shed }
}

/// Hands the resource of a claim to the first who waits for one of its home.
pub(crate) fn serve<M: Manager>(
    locked: &mut Locked<'_, M>,
    claim: Claimed<M>,
) -> Result<Option<Waker>, Claimed<M>> {
    if locked.queue.is_empty() {
        return Err(claim);
    }
    let home = claim.home();
    claim.meta().phase.store(phase::HANDED, Ordering::Relaxed);
    let served = locked.serve_first(claim, |entry| fits(entry.home, home));
    if let Err(claim) = &served {
        claim.meta().phase.store(phase::READY, Ordering::Relaxed);
    }
    served
}

/// Opens the fast path again once a shrunken pool has come down to its size.
pub(crate) fn settle_excess<M: Manager>(locked: &mut Locked<'_, M>) {
    if locked.is_slow(Slow::EXCESS) && !locked.state.has_excess() {
        locked.clear_slow(Slow::EXCESS);
    }
}
