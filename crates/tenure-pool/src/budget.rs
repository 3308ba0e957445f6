//! A cap over several pools: how many resources they may have open together.
//!
//! # Invariants
//! 1. Each slot of a member that is not vacant owns one unit.
//! 2. The lock of the budget is the innermost: it may be taken while a pool's lock is held, never the other way
//!    round.
//! 3. A member whose waiters want a unit and got none is in `hungry`, with the moment since which its first waiter
//!    waits. Whenever a unit comes back, the first of the hungry is fed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::clock::NEVER;
use crate::create;
use crate::home::NOWHERE;
use crate::manager::{Manager, Why};
use crate::raw::Meta;
use crate::shared::{Locked, Shared, phase};
use crate::work::retire;

/// A pool, as its budget sees it.
pub(crate) trait Member: Send + Sync {
    /// Looks at its demand again, now that there may be a unit for it.
    fn feed(self: Arc<Self>);
    /// Since when its idle resource that was used longest ago is idle.
    fn oldest_idle(self: Arc<Self>) -> Option<u64>;
    /// Closes that resource; tells whether there was one.
    fn evict(self: Arc<Self>) -> bool;
}

/// What a pool knows of its budget.
pub(crate) struct Membership {
    pub(crate) budget: Arc<Budget>,
    /// The pool itself.
    pub(crate) member: Weak<dyn Member>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.budget.fmt(f)
    }
}

/// The cap.
pub(crate) struct Budget {
    state: Mutex<State>,
    /// Since when the first of the hungry waits, or never.
    hungry_since: AtomicU64,
}

struct State {
    left: usize,
    members: Vec<Weak<dyn Member>>,
    hungry: VecDeque<(u64, Weak<dyn Member>)>,
    /// Units that are on their way back, because something was evicted for somebody.
    coming: usize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Self {
        let state = State { left: total, members: Vec::new(), hungry: VecDeque::new(), coming: 0 };
        Self { state: Mutex::new(state), hungry_since: AtomicU64::new(NEVER) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_hunger(&self, state: &State) {
        let since = state.hungry.front().map_or(NEVER, |(since, _)| *since);
        // Relaxed: a hint; whoever acts on it takes the lock.
        self.hungry_since.store(since, Ordering::Relaxed);
    }

    /// Since when the first of the hungry waits, or never.
    pub(crate) fn hungry_since(&self) -> u64 {
        self.hungry_since.load(Ordering::Relaxed)
    }

    pub(crate) fn join(&self, member: Weak<dyn Member>) {
        let mut state = self.lock();
        state.members.retain(|member| member.strong_count() > 0);
        state.members.push(member);
    }

    /// Takes a unit for a member; if there is none and somebody waits there, notes that it is hungry.
    fn take(&self, member: &Weak<dyn Member>, waits_since: Option<u64>) -> bool {
        let mut state = self.lock();
        if state.left > 0 {
            state.left -= 1;
            return true;
        }
        let is_known = state.hungry.iter().any(|(_, other)| other.ptr_eq(member));
        if let (Some(since), false) = (waits_since, is_known) {
            state.hungry.push_back((since, Weak::clone(member)));
            self.note_hunger(&state);
        }
        false
    }

    /// Gives a unit back, and feeds the hungry, until one has taken it. No lock of a pool may be held.
    pub(crate) fn give(&self) {
        {
            let mut state = self.lock();
            state.left += 1;
            state.coming = state.coming.saturating_sub(1);
        }
        // Each turn takes one off the list, and none is put on it while a unit is left: so it ends.
        loop {
            let next = {
                let mut state = self.lock();
                if state.left == 0 {
                    break;
                }
                let Some((_, next)) = state.hungry.pop_front() else { break };
                self.note_hunger(&state);
                next
            };
            if let Some(member) = next.upgrade() {
                member.feed();
            }
        }
        self.make_room();
    }

    /// Gives back a unit that was taken just now under the lock of a pool, for nothing.
    fn undo(&self) {
        self.lock().left += 1;
    }

    /// Notes since when the first waiter of a member waits, or that nobody waits there.
    fn note_waiters(&self, member: &Weak<dyn Member>, since: Option<u64>) {
        if self.hungry_since() == NEVER {
            return;
        }
        let mut state = self.lock();
        let Some(place) = state.hungry.iter().position(|(_, other)| other.ptr_eq(member)) else {
            return;
        };
        match since {
            Some(since) => state.hungry[place].0 = since,
            None => drop(state.hungry.remove(place)),
        }
        self.note_hunger(&state);
    }

    /// Closes idle resources, those used longest ago first, while more members are hungry than units are on their
    /// way back. No lock of a pool may be held.
    pub(crate) fn make_room(&self) {
        while self.hungry_since() != NEVER {
            let members: Vec<_> = {
                let mut state = self.lock();
                if state.hungry.len() <= state.coming {
                    return;
                }
                state.coming += 1;
                state.members.iter().filter_map(Weak::upgrade).collect()
            };
            let idle =
                members.into_iter().filter_map(|member| Some((Arc::clone(&member).oldest_idle()?, member)));
            let oldest = idle.min_by_key(|(since, _)| *since);
            if !oldest.is_some_and(|(_, member)| member.evict()) {
                // Nothing is idle: they are fed when something comes back.
                let mut state = self.lock();
                state.coming = state.coming.saturating_sub(1);
                return;
            }
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.lock().left).finish_non_exhaustive()
    }
}

/// Takes a unit for one slot of a pool whose lock is held; always possible without a budget.
pub(crate) fn take_unit<M: Manager>(locked: &Locked<'_, M>) -> bool {
    let Some(membership) = locked.core().ext.membership.get() else { return true };
    let waits_since = locked.queue.first().map(|entry| entry.since);
    membership.budget.take(&membership.member, waits_since)
}

/// Gives a unit back that [`take_unit`] took under this same lock.
pub(crate) fn give_unit_back<M: Manager>(locked: &Locked<'_, M>) {
    if let Some(membership) = locked.core().ext.membership.get() {
        membership.budget.undo();
    }
}

/// To be called when waiters have left a queue unserved: what they were hungry for is somebody else's.
pub(crate) fn note_waiters<M: Manager>(locked: &Locked<'_, M>) {
    if let Some(membership) = locked.core().ext.membership.get() {
        membership.budget.note_waiters(&membership.member, locked.queue.first().map(|entry| entry.since));
    }
}

/// Whether a resource that comes back should make room for another pool: somebody waits there, for longer than anybody
/// here.
pub(crate) fn is_wanted_elsewhere<M: Manager>(locked: &Locked<'_, M>) -> bool {
    let Some(membership) = locked.core().ext.membership.get() else { return false };
    let elsewhere = membership.budget.hungry_since();
    let here = locked.queue.first().map_or(NEVER, |entry| entry.since);
    elsewhere < here
}

impl<M: Manager> Member for Shared<M> {
    fn feed(self: Arc<Self>) {
        let creators = create::demand(&mut self.lock(), NOWHERE);
        create::start(&self, creators);
    }

    fn oldest_idle(self: Arc<Self>) -> Option<u64> {
        let is_idle =
            |meta: &&Meta| meta.phase.load(Ordering::Relaxed) == phase::READY && meta.holder().is_none();
        let metas = self.lock().metas();
        metas.filter(is_idle).map(|meta| meta.stamp.load(Ordering::Relaxed)).min()
    }

    fn evict(self: Arc<Self>) -> bool {
        let evicted = {
            let mut locked = self.lock();
            let mut idle = locked.pop_all_idle();
            let stamp = |place: &usize| idle[*place].meta().stamp.load(Ordering::Relaxed);
            let oldest = (0..idle.len()).min_by_key(stamp);
            let evicted = oldest.map(|place| idle.remove(place));
            locked.restore(idle);
            evicted
        };
        let found = evicted.is_some();
        if let Some(claim) = evicted {
            retire(claim, Why::Evicted);
        }
        found
    }
}
