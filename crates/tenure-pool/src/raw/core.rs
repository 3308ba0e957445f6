//! The stack of idle slots, the lock beside it, and how they stay one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::claim::Claim;
use super::slots::{Meta, NONE, Slot, Slots};
use super::waiters::Queue;
use crate::loom::{AtomicU64, Guard, Lock, Ordering};

/// The slow bit of the head.
const SLOW: u64 = 1 << 20;
/// One step of the tag, which every change of the index makes, so that a head that was changed and changed
/// back does not compare equal. 43 bits of it last a day at a hundred million changes a second, while
/// somebody would have to be suspended between a load and a compare-and-swap.
const TAG: u64 = 1 << 21;

#[inline]
fn index_of(head: u64) -> u32 {
    (head & u64::from(NONE)) as u32
}

#[inline]
fn with_index(head: u64, index: u32) -> u64 {
    (head.wrapping_add(TAG) & !u64::from(NONE)) | u64::from(index)
}

/// Why the fast path is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slow(u8);

impl Slow {
    /// Somebody waits.
    pub(crate) const WAITERS: Self = Self(1);
    /// The pool is closed.
    pub(crate) const CLOSED: Self = Self(2);
    /// The pool is paused.
    pub(crate) const PAUSED: Self = Self(4);
    /// More resources are alive than may be.
    pub(crate) const EXCESS: Self = Self(8);
    /// Idle resources are a queue and not a stack, or none are kept.
    pub(crate) const ORDERED: Self = Self(16);
    /// Whoever puts a slot back has to look whether another pool needs the room.
    pub(crate) const SHARED: Self = Self(32);
    /// Resources belong to several runtimes, and each is lent on its own.
    pub(crate) const RUNTIMES: Self = Self(64);
}

/// The head of the stack on a cache line of its own: it is the one thing all threads write.
#[repr(align(128))]
struct Head(AtomicU64);

/// The core: slots with resources `R`, the state `S` under the lock, and what the layer above keeps beside
/// it (`X`).
pub(crate) struct Core<R, S, X> {
    head: Head,
    slots: Slots<R>,
    lock: Lock<Locked<S>>,
    pub(crate) ext: X,
}

/// What the lock protects.
pub(crate) struct Locked<S> {
    /// The state of the layer above.
    pub(crate) state: S,
    /// Who waits.
    pub(crate) queue: Queue,
    slow: u8,
    vacant: Vec<u32>,
    /// How many slots have ever been in use.
    len: u32,
    /// The idle slots, if they are a queue (with [`Slow::ORDERED`]).
    ordered: VecDeque<u32>,
}

impl<R, S, X> Core<R, S, X> {
    pub(crate) fn new(state: S, ext: X) -> Self {
        let locked = Locked {
            state,
            queue: Queue::new(),
            slow: 0,
            vacant: Vec::new(),
            len: 0,
            ordered: VecDeque::new(),
        };
        Self { head: Head(AtomicU64::new(u64::from(NONE))), slots: Slots::new(), lock: Lock::new(locked), ext }
    }

    /// Takes the idle slot that was put back last, without the lock. `None` if there is none, or if the
    /// slow way has to be taken.
    #[inline]
    pub(crate) fn try_pop(self: &Arc<Self>) -> Option<Claim<R, S, X>> {
        // Acquire: makes the `next` of the top visible, written before the release in `try_push`.
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            let index = index_of(head);
            if head & SLOW != 0 || index == NONE {
                return None;
            }
            let slot = self.slots.at(index);
            // It may be stale if somebody else takes the slot just now; then the head has another tag.
            let next = slot.next.load(Ordering::Relaxed);
            // Acquire: pairs with the release of the one who put the slot back, whose writes to the
            // resource we are to see.
            match self.head.0.compare_exchange_weak(
                head,
                with_index(head, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                // SAFETY: the slot was on the stack, hence not vacant, and this exchange took it off, so
                // that nobody else has it; `self` is in an `Arc`.
                Ok(_) => return Some(unsafe { Claim::new(self, slot) }),
                Err(now) => head = now,
            }
        }
    }

    /// Puts a slot on the stack without the lock; `false` if the slow way has to be taken.
    ///
    /// With the successful exchange another thread may take the slot, vacate it, and drop the last count of
    /// the core before this function returns. So it takes pointers, and touches nothing afterwards.
    ///
    /// # Safety
    /// The caller has the claim on this slot of this core, and gives it up if the result is `true`.
    #[inline]
    pub(super) unsafe fn try_push(core: *const Self, slot: *const Slot<R>) -> bool {
        // SAFETY: until the exchange succeeds the claim keeps core and slot alive. The reference to the
        // atomic is not used after that.
        unsafe {
            let head = &(*core).head.0;
            let index = (*slot).index;
            let mut now = head.load(Ordering::Relaxed);
            loop {
                if now & SLOW != 0 {
                    return false;
                }
                (*slot).next.store(index_of(now), Ordering::Relaxed);
                // Release: what was written to the resource, to its meta data and to `next` is seen by
                // whoever takes the slot.
                match head.compare_exchange_weak(
                    now,
                    with_index(now, index),
                    Ordering::Release,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return true,
                    Err(seen) => now = seen,
                }
            }
        }
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn lock(self: &Arc<Self>) -> CoreGuard<'_, R, S, X> {
        CoreGuard { locked: self.lock.lock(), core: self }
    }
}

impl<R, S, X> fmt::Debug for Core<R, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

/// The lock, held.
pub(crate) struct CoreGuard<'a, R, S, X> {
    locked: Guard<'a, Locked<S>>,
    core: &'a Arc<Core<R, S, X>>,
}

impl<R, S, X> std::ops::Deref for CoreGuard<'_, R, S, X> {
    type Target = Locked<S>;
    fn deref(&self) -> &Locked<S> {
        &self.locked
    }
}

impl<R, S, X> std::ops::DerefMut for CoreGuard<'_, R, S, X> {
    fn deref_mut(&mut self) -> &mut Locked<S> {
        &mut self.locked
    }
}

impl<'a, R, S, X> CoreGuard<'a, R, S, X> {
    /// The core whose lock this is.
    pub(crate) fn core(&self) -> &'a Arc<Core<R, S, X>> {
        self.core
    }

    /// The meta data of every slot that has ever been in use.
    pub(crate) fn metas(&self) -> impl Iterator<Item = &'a Meta> + use<'a, R, S, X> {
        let core = self.core;
        (0..self.locked.len).map(|index| &core.slots.at(index).meta)
    }

    /// Whether the fast path is closed for this reason.
    pub(crate) fn is_slow(&self, reason: Slow) -> bool {
        self.locked.slow & reason.0 != 0
    }

    /// Closes the fast path.
    pub(crate) fn set_slow(&mut self, reason: Slow) {
        if self.locked.slow == 0 {
            self.core.head.0.fetch_or(SLOW, Ordering::AcqRel);
        }
        self.locked.slow |= reason.0;
    }

    /// Opens the fast path if this was the last reason.
    pub(crate) fn clear_slow(&mut self, reason: Slow) {
        let before = self.locked.slow;
        self.locked.slow &= !reason.0;
        if before != 0 && self.locked.slow == 0 {
            self.core.head.0.fetch_and(!SLOW, Ordering::AcqRel);
        }
    }

    /// Closes the fast path because somebody waits, unless a slot is idle; tells whether it did.
    pub(crate) fn set_waiters_if_empty(&mut self) -> bool {
        if !self.locked.ordered.is_empty() {
            return false;
        }
        let mut head = self.core.head.0.load(Ordering::Acquire);
        while index_of(head) == NONE {
            match self.core.head.0.compare_exchange_weak(head, head | SLOW, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    self.locked.slow |= Slow::WAITERS.0;
                    return true;
                }
                Err(now) => head = now,
            }
        }
        false
    }

    /// Opens the fast path again if nobody waits any more.
    pub(crate) fn settle(&mut self) {
        if self.locked.queue.is_empty() {
            self.clear_slow(Slow::WAITERS);
        }
    }

    /// Takes an idle slot: the one put back last, or first if they are a queue.
    pub(crate) fn pop_idle(&mut self) -> Option<Claim<R, S, X>> {
        if let Some(index) = self.locked.ordered.pop_front() {
            let slot = self.core.slots.at(index);
            // SAFETY: an index in `ordered` is of a slot that is idle, hence not vacant; it was just
            // removed, so nobody else has it; the core is in an `Arc`.
            return Some(unsafe { Claim::new(self.core, slot) });
        }
        self.pop_stack()
    }

    /// Takes every idle slot.
    pub(crate) fn pop_all_idle(&mut self) -> Vec<Claim<R, S, X>> {
        std::iter::from_fn(|| self.pop_idle()).collect()
    }

    /// Puts idle slots back that [`pop_all_idle`](Self::pop_all_idle) took, in the order it gave.
    pub(crate) fn restore(&mut self, mut claims: Vec<Claim<R, S, X>>) {
        if !self.is_slow(Slow::ORDERED) {
            claims.reverse();
        }
        for claim in claims {
            self.push_idle(claim);
        }
    }

    /// Takes the first idle slot, in the order in which they are lent, that is fit.
    pub(crate) fn pop_idle_where(&mut self, fit: impl Fn(&Meta) -> bool) -> Option<Claim<R, S, X>> {
        let mut all = self.pop_all_idle();
        let place = all.iter().position(|claim| fit(claim.meta()));
        let found = place.map(|place| all.remove(place));
        self.restore(all);
        found
    }

    fn pop_stack(&mut self) -> Option<Claim<R, S, X>> {
        let mut head = self.core.head.0.load(Ordering::Acquire);
        loop {
            let index = index_of(head);
            if index == NONE {
                return None;
            }
            let slot = self.core.slots.at(index);
            let next = slot.next.load(Ordering::Relaxed);
            match self.core.head.0.compare_exchange_weak(
                head,
                with_index(head, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                // SAFETY: as in `try_pop`.
                Ok(_) => return Some(unsafe { Claim::new(self.core, slot) }),
                Err(now) => head = now,
            }
        }
    }

    /// Puts a slot among the idle ones.
    pub(crate) fn push_idle(&mut self, claim: Claim<R, S, X>) {
        self.check_home(&claim);
        let slot = claim.slot();
        if self.is_slow(Slow::ORDERED) {
            self.locked.ordered.push_back(slot.index);
            return;
        }
        let mut head = self.core.head.0.load(Ordering::Relaxed);
        loop {
            slot.next.store(index_of(head), Ordering::Relaxed);
            // Release: as in `try_push`.
            match self.core.head.0.compare_exchange_weak(
                head,
                with_index(head, slot.index),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Claims a vacant slot. `None` if there are a million already.
    pub(crate) fn reserve(&mut self) -> Option<Claim<R, S, X>> {
        let index = match self.locked.vacant.pop() {
            Some(index) => index,
            None if self.locked.len < NONE => {
                let index = self.locked.len;
                self.core.slots.ensure(index);
                self.locked.len += 1;
                index
            }
            None => return None,
        };
        // The count which the slot owns until it is vacant again (invariant 2).
        let _owned = Arc::into_raw(Arc::clone(self.core));
        // SAFETY: the slot was vacant, so nobody has it; it owns a count since the line above.
        Some(unsafe { Claim::new(self.core, self.core.slots.at(index)) })
    }

    /// Makes the slot of a claim vacant. It must be empty.
    pub(crate) fn vacate(&mut self, claim: Claim<R, S, X>) {
        self.check_home(&claim);
        debug_assert!(claim.resource().is_none(), "a slot is emptied before it is vacated");
        self.locked.vacant.push(claim.slot().index);
        // SAFETY: the slot owned this count since `reserve` and gives it up now that it is vacant. It is
        // not the last one: `self.core` is a counted reference which somebody holds.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(self.core)) };
    }

    /// A claim of another pool would bring two owners to a slot.
    pub(super) fn check_home(&self, claim: &Claim<R, S, X>) {
        assert!(claim.is_of(self.core), "a claim goes back where it came from");
    }

    /// Claims the slot of an index that was given to a waiter.
    ///
    /// # Safety
    /// The index comes out of a waiter of this core, and no claim has been made from it since.
    pub(super) unsafe fn claim(core: &Arc<Core<R, S, X>>, index: u32) -> Claim<R, S, X> {
        // SAFETY: the slot was claimed when it was given to the waiter, hence not vacant, and the caller
        // promises that this is the only claim.
        unsafe { Claim::new(core, core.slots.at(index)) }
    }

    /// The core's address, by which a waiter knows where it is queued.
    pub(super) fn identity(core: &Arc<Core<R, S, X>>) -> usize {
        Arc::as_ptr(core).addr()
    }

    /// The index of a claim that goes into a waiter.
    pub(super) fn into_index(claim: Claim<R, S, X>) -> u32 {
        claim.slot().index
    }
}
