//! Who a drain may wait for, where it is called inside of exits (law 18).
//!
//! A drain leaves out everything that waits, directly or not, for the code that calls it: the exit around it, the guards
//! that wait for that one, its parent, and so on; and the exits that drain themselves and wait for the caller.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::entry::HandedOver;
use super::{Phase, Registry};
use crate::label::{Id, next_id};
use crate::scope::{Latch, Scope};

/// A drain that runs inside of a tenure.
pub(crate) struct Draining<'r> {
    registry: &'r Registry,
    id: Id,
}

/// A handed-over exit, as far as a drain needs to know it.
struct Pending {
    parent: Id,
    /// Whether it has not begun.
    waits: bool,
    latch: Latch,
    scope: Arc<Scope>,
}

type AllPending = HashMap<Id, Pending>;

impl Registry {
    /// The latches of all handed-over exits.
    pub(crate) fn pending(&self) -> Vec<Latch> {
        self.all_pending().into_values().map(|pending| pending.latch).collect()
    }

    pub(crate) fn draining(&self) -> Draining<'_> {
        let id = next_id();
        self.drains().push((id, Vec::new()));
        Draining { registry: self, id }
    }

    fn all_pending(&self) -> AllPending {
        let mut pending = HashMap::new();
        self.held.each(|entry| {
            if let Some(HandedOver { latch, scope }) = entry.handed_over() {
                let (latch, scope) = (Arc::clone(latch), Arc::clone(scope));
                let waits = entry.phase == Phase::Waiting;
                pending.insert(entry.id, Pending { parent: entry.parent, waits, latch, scope });
            }
        });
        pending
    }

    fn drains(&self) -> MutexGuard<'_, Vec<(Id, Vec<Id>)>> {
        self.drains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draining<'_> {
    /// Notes the handed-over exits that this drain is part of; returns those of the others.
    fn note(&self, jobs: &[Id]) -> Vec<Vec<Id>> {
        let mut others = Vec::new();
        let mut changed = false;
        for (id, known) in &mut *self.registry.drains() {
            if *id != self.id {
                others.push(known.clone());
            } else if *known != jobs {
                known.clear();
                known.extend_from_slice(jobs);
                changed = true;
            }
        }
        if changed {
            // The others may have to leave this one out now.
            self.registry.changes().tell();
        }
        others
    }

    /// Whether nothing is left that may be waited for by the code that is part of these handed-over exits.
    pub(crate) fn is_done(&self, jobs: &[Id]) -> bool {
        let others = self.note(jobs);
        let pending = self.registry.all_pending();
        let mut left_out = HashSet::new();
        for job in jobs {
            leave_out(&pending, *job, &mut left_out);
        }
        for other in others.iter().filter(|_| !jobs.is_empty()) {
            let mut left_out_there = HashSet::new();
            for job in other {
                leave_out(&pending, *job, &mut left_out_there);
            }
            // That one waits for the caller, unless it has left the caller out itself.
            if jobs.iter().any(|job| !left_out_there.contains(job)) {
                left_out.extend(left_out_there);
            }
        }
        pending.keys().all(|id| left_out.contains(id))
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.registry.drains().retain(|(id, _)| *id != self.id);
    }
}

/// Adds this exit and all that wait for it: the guards of its scope that were entered before it and have not begun, its
/// parent, and those that wait for that one.
fn leave_out(pending: &AllPending, job: Id, left_out: &mut HashSet<Id>) {
    let mut next = Some(job);
    while let Some((id, this)) = next.and_then(|id| pending.get_key_value(&id)) {
        if !left_out.insert(*id) {
            return;
        }
        let waits_for_this = |sibling: Id, other: &Pending| {
            other.waits && sibling < *id && Arc::ptr_eq(&other.scope, &this.scope)
        };
        left_out.extend(
            pending.iter().filter(|(sibling, other)| waits_for_this(**sibling, other)).map(|(id, _)| *id),
        );
        next = Some(this.parent);
    }
}
