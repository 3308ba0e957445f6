//! What the pool does with a slot that nobody holds: give it back, tend it, close it.
//!
//! # Invariants
//! 1. A claim that is not a lease is in a [`Work`] while anything may suspend or panic. A work that is
//!    dropped unfinished, because its task was dropped with the runtime, settles the accounts: no permit is
//!    lost, and what could not be closed is counted and told.
//! 2. Each resource that was opened is counted as closed exactly once, where its slot is vacated.
//! 3. Whether the pool is [`Orphaned`] is looked at after the slot has been seen under the lock as no longer lent.
//!    Whoever drops the last handle looks at the slots after that, under the lock: one of the two sees the other.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::budget;
use crate::clock::between;
use crate::codel;
use crate::create;
use crate::event::Event;
use crate::guarded::{Failed, guarded};
use crate::manager::{Manager, Why};
use crate::raw::Slow;
use crate::shared::{Claimed, Locked, Shared, flag, phase};
use crate::status::count;
use crate::upkeep;

/// The pool of a resource that was given back, if it has no handle any more: whoever gave it back is then the only
/// one there is to wait for what the pool still does with it. Who works for the pool itself need not care.
pub(crate) type Orphaned<M> = Option<Arc<Shared<M>>>;

/// What a piece of work is counted as in the ledger.
///
/// It is a word wide because a [`Work`] is moved about on the way of a checked get: with a byte in it the
/// compiler copies it in overlapping pieces, which costs 15 ns of stalls (2026-11-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Creating,
    /// A check or reset in the background.
    Busy,
    /// A check on checkout, by the one who gets.
    Checkout,
    Closing,
}

/// A claim in the pool's own hands.
pub(crate) struct Work<M: Manager> {
    claim: Option<Claimed<M>>,
    kind: Kind,
}

impl<M: Manager> Work<M> {
    /// Work on a claim that is counted in the ledger as `kind` already.
    pub(crate) fn new(claim: Claimed<M>, kind: Kind) -> Self {
        Self { claim: Some(claim), kind }
    }

    /// Work on a claim that is not yet counted; the lock must not be held.
    fn begin(claim: Claimed<M>, kind: Kind) -> Self {
        let work = Self::new(claim, kind);
        work.tally(&mut work.shared().lock(), 1);
        work
    }

    /// The pool. It counts: to be called only off the fast path.
    pub(crate) fn shared(&self) -> Arc<Shared<M>> {
        self.claim().arc()
    }

    pub(crate) fn claim(&self) -> &Claimed<M> {
        self.claim.as_ref().expect("a work has its claim until it is finished")
    }

    pub(crate) fn claim_mut(&mut self) -> &mut Claimed<M> {
        self.claim.as_mut().expect("a work has its claim until it is finished")
    }

    fn tally(&self, locked: &mut Locked<'_, M>, by: isize) {
        let state = &mut locked.state;
        let number = match self.kind {
            Kind::Creating => &mut state.creating,
            Kind::Busy => &mut state.busy,
            Kind::Closing => &mut state.closing,
            Kind::Checkout => return,
        };
        *number = number.checked_add_signed(by).expect("what is finished was begun");
    }

    /// Ends the work; the claim goes on.
    pub(crate) fn finish(mut self) -> Claimed<M> {
        if self.kind != Kind::Checkout {
            self.tally(&mut self.shared().lock(), -1);
        }
        self.claim.take().expect("a work has its claim until it is finished")
    }

    /// Ends the work under a lock that is held already.
    pub(crate) fn finish_locked(mut self, locked: &mut Locked<'_, M>) -> Claimed<M> {
        self.tally(locked, -1);
        self.claim.take().expect("a work has its claim until it is finished")
    }

    /// Ends the work and the slot's use: it is vacant now, and whoever needs the room gets it.
    pub(crate) fn vacate(mut self, was_open: bool) {
        let claim = self.claim.take().expect("a work has its claim until it is finished");
        let shared = claim.arc();
        let creators = vacate(&shared, claim, was_open, |locked| {
            self.tally(locked, -1);
            create::demand(locked)
        });
        create::start(&shared, creators);
    }
}

impl<M: Manager> Drop for Work<M> {
    fn drop(&mut self) {
        let Some(mut claim) = self.claim.take() else {
            return;
        };
        // The task was dropped unfinished: the runtime is gone.
        let shared = claim.arc();
        let id = claim.meta().id.load(Ordering::Relaxed);
        let was_open = self.kind != Kind::Creating;
        drop(claim.take());
        if was_open {
            count(&shared.ext.counts.dropped);
            shared.ext.emit(&Event::Dropped { id });
        }
        // No create takes the room: it would be dropped just the same.
        vacate(&shared, claim, was_open, |locked| self.tally(locked, -1));
        upkeep::abandon(&shared);
    }
}

/// Makes a slot vacant; `then` runs under the same lock.
fn vacate<M: Manager, T>(
    shared: &Arc<Shared<M>>,
    claim: Claimed<M>,
    was_open: bool,
    then: impl FnOnce(&mut Locked<'_, M>) -> T,
) -> T {
    let meta = claim.meta();
    meta.phase.store(phase::VACANT, Ordering::Relaxed);
    meta.flags.store(0, Ordering::Relaxed);
    meta.set_holder(None);
    if was_open {
        count(&shared.ext.counts.closed);
    }
    let uses = meta.uses.swap(0, Ordering::Relaxed);
    shared.ext.counts.lent.fetch_add(uses, Ordering::Relaxed);
    let mut locked = shared.lock();
    locked.vacate(claim);
    locked.state.total -= 1;
    let is_closed = locked.state.closed;
    let result = then(&mut locked);
    // After the tally, for the excess is what is alive and not being closed.
    settle_excess(&mut locked);
    drop(locked);
    if is_closed {
        shared.ext.drained.notify_waiters();
        shared.ext.signal.notify_one();
    }
    if let Some(membership) = shared.ext.membership.get() {
        membership.budget.give();
    }
    result
}

/// Opens the fast path again once a shrunken pool has come down to its size.
pub(crate) fn settle_excess<M: Manager>(locked: &mut Locked<'_, M>) {
    if locked.is_slow(Slow::EXCESS) && !locked.state.has_excess() {
        locked.clear_slow(Slow::EXCESS);
    }
}

/// Puts a resource that is clean back: to the first waiter, or among the idle ones.
#[inline]
pub(crate) fn give_back<M: Manager>(claim: Claimed<M>) -> Orphaned<M> {
    let (meta, ext) = (claim.meta(), &claim.core().ext);
    if meta.flags.load(Ordering::Relaxed) & !flag::ALWAYS != 0 {
        return give_back_flagged(claim);
    }
    meta.stamp.store(ext.clock.coarse(), Ordering::Relaxed);
    meta.set_holder(None);
    claim.try_put_back().err().and_then(give_back_slow)
}

#[cold]
fn give_back_flagged<M: Manager>(claim: Claimed<M>) -> Orphaned<M> {
    let (meta, ext) = (claim.meta(), &claim.core().ext);
    let flags = meta.flags.load(Ordering::Relaxed);
    if flags & flag::MEASURED != 0 {
        ext.timings.usage.record(between(meta.measured.load(Ordering::Relaxed), ext.clock.now()));
    }
    if flags & flag::OVERDUE != 0
        && let Some(holder) = ext.holder(meta)
    {
        ext.emit(&Event::ReturnedLate { holder });
    }
    // It was used just now, so it is not stale.
    meta.flags.fetch_and(flag::ALWAYS | flag::DOOMED, Ordering::Relaxed);
    meta.stamp.store(ext.clock.coarse(), Ordering::Relaxed);
    meta.set_holder(None);
    if let Some(why) = doom(flags) {
        return retire(claim, why);
    }
    claim.try_put_back().err().and_then(give_back_slow)
}

/// Why a resource with these flags has to go, if it has.
pub(crate) fn doom(flags: u32) -> Option<Why> {
    if flags & flag::INVALID != 0 {
        Some(Why::Invalidated)
    } else if flags & flag::EXPIRED != 0 {
        Some(Why::Lifetime)
    } else {
        None
    }
}

/// The return under the lock.
#[cold]
fn give_back_slow<M: Manager>(claim: Claimed<M>) -> Orphaned<M> {
    let shared = claim.arc();
    let placed = place(&mut shared.lock(), claim);
    placed.conclude()
}

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
    if locked.state.paused {
        locked.push_idle(claim);
        return Placed::new(Place::Idle);
    }
    let shed = if ext.config.codel.is_some() { codel::shed(locked) } else { Vec::new() };
    let place = match locked.serve_first(claim, |_| true) {
        Ok(waker) => Place::Handed(waker),
        Err(claim) => {
            locked.push_idle(claim);
            Place::Idle
        }
    };
    Placed { place, shed }
}

/// Closes the resource of a claim in the background.
pub(crate) fn retire<M: Manager>(mut claim: Claimed<M>, why: Why) -> Orphaned<M> {
    let resource = claim.take().map(|cargo| cargo.resource);
    claim.meta().phase.store(phase::CLOSING, Ordering::Relaxed);
    claim.meta().set_holder(None);
    let work = Work::begin(claim, Kind::Closing);
    let shared = work.shared();
    match resource {
        Some(resource) => shared.spawn(close(work, resource, why)),
        None => work.vacate(false),
    }
    shared.orphaned()
}

async fn close<M: Manager>(work: Work<M>, resource: M::Resource, why: Why) {
    let shared = work.shared();
    let ext = &shared.ext;
    let context = ext.context(work.claim().meta(), why);
    let call = pin!(async { ext.manager.close(resource, context).await });
    let closed = guarded(&ext.tuning.close, |_| false, call).await;
    if let Err(failed) = &closed {
        count(&ext.counts.close_failures);
        ext.emit(&Event::CloseFailed { id: context.id, error: &failed.error });
    }
    ext.emit(&Event::Closed { id: context.id, why });
    work.vacate(true);
}

/// What tending is done in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Check,
    Reset,
}

/// Checks or resets the resource of a claim in the background, then gives it back or closes it.
pub(crate) fn tend_later<M: Manager>(claim: Claimed<M>, task: Task, why: Why) -> Orphaned<M> {
    claim.meta().set_holder(None);
    let work = Work::begin(claim, Kind::Busy);
    let shared = work.shared();
    shared.spawn(async move {
        if let Some(work) = tend(work, task, why).await {
            give_back(work.finish());
        }
    });
    shared.orphaned()
}

/// Checks or resets a resource. `None` if that failed; it is being closed then.
pub(crate) async fn tend<M: Manager>(mut work: Work<M>, task: Task, why: Why) -> Option<Work<M>> {
    let (core, meta, cargo) = work.claim_mut().parts();
    let ext = &core.ext;
    let began = ext.clock.coarse();
    let Some(cargo) = cargo else {
        return Some(work);
    };
    let resource = &mut cargo.resource;
    let result = if task == Task::Check {
        meta.phase.store(phase::CHECKING, Ordering::Relaxed);
        let check = pin!(async { ext.manager.check(resource, ext.context(meta, why)).await });
        guarded(&ext.tuning.check, |_| false, check).await
    } else {
        meta.phase.store(phase::RESETTING, Ordering::Relaxed);
        count(&ext.counts.resets);
        let reset = pin!(async { ext.manager.reset(resource, ext.context(meta, why)).await });
        guarded(&ext.tuning.reset, |_| false, reset).await
    };
    match result {
        Ok(()) => {
            let meta = work.claim().meta();
            meta.phase.store(phase::READY, Ordering::Relaxed);
            meta.checked.store(work.claim().core().ext.clock.coarse(), Ordering::Relaxed);
            if meta.flags.load(Ordering::Relaxed) & flag::STALE != 0 {
                meta.flags.fetch_and(!flag::STALE, Ordering::Relaxed);
            }
            Some(work)
        }
        Err(failed) => {
            give_up(work, task, &failed, why, began);
            None
        }
    }
}

/// Closes a resource whose check or reset failed.
#[cold]
fn give_up<M: Manager>(work: Work<M>, task: Task, failed: &Failed, why: Why, began: u64) {
    let shared = work.shared();
    let ext = &shared.ext;
    let id = work.claim().meta().id.load(Ordering::Relaxed);
    let error = &failed.error;
    if task == Task::Check {
        count(&ext.counts.check_failures);
        ext.emit(&Event::CheckFailed { id, error });
        retire(work.finish(), Why::CheckFailed);
        if why != Why::Suspect {
            suspect_others(&shared, began);
        }
    } else {
        count(&ext.counts.reset_failures);
        ext.emit(&Event::ResetFailed { id, error });
        retire(work.finish(), Why::ResetFailed);
    }
}

/// After a failed check: what was last seen good before it is suspect, and is checked at once, all side by
/// side, so that an outage costs the next gets one check and not one for each resource.
fn suspect_others<M: Manager>(shared: &Arc<Shared<M>>, since: u64) {
    let suspects: Vec<_>;
    {
        let mut locked = shared.lock();
        let all = locked.pop_all_idle();
        let (known, unknown) =
            all.into_iter().partition(|claim| claim.meta().checked.load(Ordering::Relaxed) > since);
        locked.restore(known);
        suspects = unknown;
    }
    for claim in suspects {
        tend_later(claim, Task::Check, Why::Suspect);
    }
}
