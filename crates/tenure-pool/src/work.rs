//! What the pool does with a slot that nobody holds: give it back, tend it, close it.
//!
//! # Invariants
//! 1. A claim that is not a lease is in a [`Work`] while anything may suspend or panic. A work that is
//!    dropped unfinished, because its task was dropped with the runtime, settles the accounts: no permit is
//!    lost, what could not be closed is counted and told, and those who wait on other runtimes get the room.
//! 2. Each resource that was opened is counted as closed exactly once, where its slot is vacated. It is gone by then:
//!    dropped, or moved into a call that has been dropped.
//! 3. Whether the pool is [`Orphaned`] is looked at after the slot has been seen under the lock as no longer lent.
//!    Whoever drops the last handle looks at the slots after that, under the lock: one of the two sees the other.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::between;
use crate::create;
use crate::event::Event;
use crate::guarded::{discard, guarded};
use crate::home::NOWHERE;
use crate::manager::{Manager, Why};
use crate::place::{place, settle_excess};
use crate::raw::Meta;
use crate::shared::{Claimed, Locked, Shared, flag, phase};
use crate::status::count;
use crate::tend::{Task, tend_later};

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
    /// Work on a claim that is counted in the ledger as `kind` already, or is not counted.
    #[inline]
    pub(crate) fn new(claim: Claimed<M>, kind: Kind) -> Self {
        Self { claim: Some(claim), kind }
    }

    /// Work on a claim that is not yet counted; the lock must not be held.
    pub(crate) fn begin(claim: Claimed<M>, kind: Kind) -> Self {
        let work = Self::new(claim, kind);
        let shared = work.shared();
        work.claim().meta().began.store(shared.ext.clock.now(), Ordering::Relaxed);
        tally(&mut shared.lock(), work.kind, work.claim().meta(), 1);
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

    /// Ends the work; the claim goes on.
    pub(crate) fn finish(mut self) -> Claimed<M> {
        if self.kind != Kind::Checkout {
            let shared = self.shared();
            tally(&mut shared.lock(), self.kind, self.claim().meta(), -1);
        }
        self.claim.take().expect("a work has its claim until it is finished")
    }

    /// Ends the work under a lock that is held already.
    pub(crate) fn finish_locked(mut self, locked: &mut Locked<'_, M>) -> Claimed<M> {
        tally(locked, self.kind, self.claim().meta(), -1);
        self.claim.take().expect("a work has its claim until it is finished")
    }

    /// Ends the work and the slot's use: it is vacant now, and whoever needs the room gets it. The resource must be
    /// gone; `was_open` tells whether there was one.
    pub(crate) fn vacate(mut self, was_open: bool) {
        let claim = self.claim.take().expect("a work has its claim until it is finished");
        vacate(claim, self.kind, was_open);
    }
}

/// Counts a work in the ledger, or counts it no longer.
fn tally<M: Manager>(locked: &mut Locked<'_, M>, kind: Kind, meta: &Meta, by: isize) {
    let state = &mut locked.state;
    let number = match kind {
        Kind::Creating => &mut state.creating,
        Kind::Busy => &mut state.busy,
        Kind::Closing => &mut state.closing,
        Kind::Checkout => return,
    };
    *number = number.checked_add_signed(by).expect("what is finished was begun");
    if by < 0 && meta.flags.fetch_and(!flag::STUCK, Ordering::Relaxed) & flag::STUCK != 0 {
        state.stuck -= 1;
    }
}

impl<M: Manager> Drop for Work<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            abandon(claim, self.kind);
        }
    }
}

/// The task of a work was dropped unfinished: its runtime is gone.
#[cold]
fn abandon<M: Manager>(mut claim: Claimed<M>, kind: Kind) {
    let shared = claim.arc();
    let id = claim.meta().id.load(Ordering::Relaxed);
    let was_open = kind != Kind::Creating;
    discard(claim.take());
    if was_open {
        count(&shared.ext.counts.dropped);
        shared.ext.emit(&Event::Dropped { id });
    } else {
        // Before the room is given on, so that it does not go to the same runtime again.
        shared.leave(claim.meta().home.load(Ordering::Relaxed));
    }
    vacate(claim, kind, was_open);
}

/// Makes a slot vacant.
fn vacate<M: Manager>(claim: Claimed<M>, kind: Kind, was_open: bool) {
    let shared = claim.arc();
    let meta = claim.meta();
    if was_open {
        count(&shared.ext.counts.closed);
    }
    let uses = meta.uses.swap(0, Ordering::Relaxed);
    shared.ext.counts.lent.fetch_add(uses, Ordering::Relaxed);
    let mut locked = shared.lock();
    tally(&mut locked, kind, meta, -1);
    meta.phase.store(phase::VACANT, Ordering::Relaxed);
    meta.flags.store(0, Ordering::Relaxed);
    meta.set_holder(None);
    locked.vacate(claim);
    locked.state.total -= 1;
    let creators = create::demand(&mut locked, NOWHERE);
    // After the tally, for the excess is what is alive and not being closed.
    settle_excess(&mut locked);
    let is_closed = locked.state.closed;
    drop(locked);
    if is_closed {
        shared.ext.drained.notify_waiters();
    }
    if is_closed || shared.ext.config.min_idle > 0 {
        shared.ext.signal.notify_waiters();
    }
    if let Some(membership) = shared.ext.membership.get() {
        membership.budget.give();
    }
    create::start(&shared, creators);
}

/// Puts a resource that is clean back after its use: to the first waiter, or among the idle ones.
#[inline]
pub(crate) fn give_back_used<M: Manager>(claim: Claimed<M>) -> Orphaned<M> {
    give_back_after(claim, true)
}

/// As [`give_back_used`], for one that the pool has tended itself.
#[inline]
pub(crate) fn give_back<M: Manager>(claim: Claimed<M>) -> Orphaned<M> {
    give_back_after(claim, false)
}

#[inline]
fn give_back_after<M: Manager>(claim: Claimed<M>, was_used: bool) -> Orphaned<M> {
    let (meta, ext) = (claim.meta(), &claim.core().ext);
    if meta.flags.load(Ordering::Relaxed) & !flag::ALWAYS != 0 {
        return give_back_flagged(claim, was_used);
    }
    meta.stamp.store(ext.clock.coarse(), Ordering::Relaxed);
    meta.set_holder(None);
    claim.try_put_back().err().and_then(give_back_slow)
}

#[cold]
fn give_back_flagged<M: Manager>(claim: Claimed<M>, was_used: bool) -> Orphaned<M> {
    let (meta, ext) = (claim.meta(), &claim.core().ext);
    let flags = meta.flags.load(Ordering::Relaxed);
    if flags & flag::MEASURED != 0 {
        ext.record_use(between(meta.measured.load(Ordering::Relaxed), ext.clock.now()));
    }
    if flags & flag::OVERDUE != 0
        && let Some(holder) = ext.holder(meta)
    {
        ext.emit(&Event::ReturnedLate { holder });
    }
    // It was used just now, so it is not stale.
    meta.flags.fetch_and(flag::STANDING, Ordering::Relaxed);
    meta.stamp.store(ext.clock.coarse(), Ordering::Relaxed);
    if let Some(why) = doom(flags) {
        return retire(claim, why);
    }
    if was_used && flags & flag::ON_RETURN != 0 {
        return tend_later(claim, Task::Return, Why::Returned);
    }
    meta.set_holder(None);
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

/// Closes the resource of a claim in the background.
pub(crate) fn retire<M: Manager>(mut claim: Claimed<M>, why: Why) -> Orphaned<M> {
    let cargo = claim.take();
    claim.meta().phase.store(phase::CLOSING, Ordering::Relaxed);
    claim.meta().set_holder(None);
    let home = claim.home();
    let work = Work::begin(claim, Kind::Closing);
    let shared = work.shared();
    match cargo {
        Some(cargo) => {
            discard(cargo.scratch);
            shared.spawn(home, close(cargo.resource, work, why));
        }
        None => work.vacate(false),
    }
    shared.orphaned()
}

/// The resource comes first: if the task is dropped before it began, it goes before its slot is given on.
async fn close<M: Manager>(resource: M::Resource, work: Work<M>, why: Why) {
    let shared = work.shared();
    let ext = &shared.ext;
    let context = ext.context(work.claim().meta(), why);
    let closed = {
        let call = pin!(Some(async { ext.manager.close(resource, context).await }));
        guarded(&ext.tuning.close, |_| false, call).await
    };
    if let Err(failed) = closed {
        count(&ext.counts.close_failures);
        ext.emit(&Event::CloseFailed { id: context.id, error: &failed.error });
        discard(failed);
    }
    count(&ext.counts.closed_for[why as usize]);
    ext.emit(&Event::Closed { id: context.id, why });
    work.vacate(true);
}
