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

/// All that is held, as far as a drain needs to know it.
#[derive(Default)]
struct Held {
    pending: HashMap<Id, Pending>,
    /// What has not been handed over, with the tenure around it: it may be waited for by one that has been.
    inline: HashMap<Id, Id>,
}

impl Registry {
    /// The latches of all handed-over exits.
    pub(crate) fn pending(&self) -> Vec<Latch> {
        self.look_at_held().pending.into_values().map(|pending| pending.latch).collect()
    }

    pub(crate) fn draining(&self) -> Draining<'_> {
        let id = next_id();
        self.drains().push((id, Vec::new()));
        Draining { registry: self, id }
    }

    /// Says whose exit waits for the children of this group, until the link is dropped.
    pub(crate) fn link_group(self: &Arc<Self>, group: Id, owner: Id) -> GroupLink {
        self.groups().insert(group, owner);
        // A drain in a child may have to leave out the owner now.
        self.changes().tell();
        GroupLink { registry: Arc::clone(self), group }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Id, Id>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at_held(&self) -> Held {
        let mut held = Held { inline: self.groups().clone(), ..Held::default() };
        self.held.each(|entry| {
            let Some(HandedOver { latch, scope }) = entry.handed_over() else {
                held.inline.insert(entry.id, entry.parent);
                return;
            };
            let (latch, scope) = (Arc::clone(latch), Arc::clone(scope));
            let waits = entry.phase == Phase::Waiting;
            held.pending.insert(entry.id, Pending { parent: entry.parent, waits, latch, scope });
        });
        held
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
        let held = self.registry.look_at_held();
        let mut left_out = HashSet::new();
        for job in jobs {
            leave_out(&held, *job, &mut left_out);
        }
        // What is polled in place is waited for by no drain.
        let handed_over: Vec<Id> = jobs.iter().copied().filter(|job| held.pending.contains_key(job)).collect();
        for other in others.iter().filter(|_| !handed_over.is_empty()) {
            let mut left_out_there = HashSet::new();
            for job in other {
                leave_out(&held, *job, &mut left_out_there);
            }
            // That one waits for the caller, unless it has left the caller out itself.
            if handed_over.iter().any(|job| !left_out_there.contains(job)) {
                left_out.extend(left_out_there);
            }
        }
        held.pending.keys().all(|id| left_out.contains(id))
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.registry.drains().retain(|(id, _)| *id != self.id);
    }
}

/// The link of a task group to the tenure whose exit waits for its children.
pub(crate) struct GroupLink {
    registry: Arc<Registry>,
    group: Id,
}

impl Drop for GroupLink {
    fn drop(&mut self) {
        self.registry.groups().remove(&self.group);
    }
}

/// Adds this exit and all that wait for it: the guards of its scope that were entered before it and have not begun, its
/// parent, and those that wait for that one.
fn leave_out(held: &Held, job: Id, left_out: &mut HashSet<Id>) {
    let mut id = job;
    while id != 0 {
        let Some(this) = held.pending.get(&id) else {
            // Polled in place: no sibling waits for it, but what is around it does.
            id = held.inline.get(&id).copied().unwrap_or(0);
            continue;
        };
        if !left_out.insert(id) {
            return;
        }
        let waits_for_this = |sibling: Id, other: &Pending| {
            other.waits && sibling < id && Arc::ptr_eq(&other.scope, &this.scope)
        };
        let waiting = held.pending.iter().filter(|(sibling, other)| waits_for_this(**sibling, other));
        left_out.extend(waiting.map(|(id, _)| *id));
        id = this.parent;
    }
}
