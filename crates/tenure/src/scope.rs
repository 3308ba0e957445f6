//! The handed-over tenures of one parent, and who of them waits for whom.
//!
//! The order of exits is decided here and nowhere else. DESIGN.md has the model and the argument; `tests/model` explores
//! it.
//!
//! # Invariants
//! 1. A tenure is in the scope from its hand-over until its exit has ended or is known to be lost.
//! 2. Its latch is set after it has left the scope, never before.
//! 3. Only a guard that has not begun waits for siblings, and only for those that were entered after it. What has begun
//!    waits for none, and a branch never does. So no two siblings wait for each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::SetOnce;

use crate::label::{Id, Label, newest_id};

/// Set once, when an exit has ended: tokio's, since it is one atomic and a wait list, and is cancel-safe.
pub(crate) type Latch = Arc<SetOnce<()>>;

/// How many of those that are waited for a report names.
const NAMED_MAX: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Scope {
    members: Mutex<BTreeMap<Id, Member>>,
}

#[derive(Debug)]
struct Member {
    label: Label,
    latch: Latch,
}

impl Scope {
    pub(crate) fn add(&self, id: Id, label: Label, latch: Latch) {
        self.lock().insert(id, Member { label, latch });
    }

    /// Removes a tenure, unless it goes on under another latch: a shielded enter whose exit was handed over.
    pub(crate) fn remove(&self, id: Id, latch: &Latch) {
        let mut members = self.lock();
        if members.get(&id).is_some_and(|current| Arc::ptr_eq(&current.latch, latch)) {
            members.remove(&id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The latch of the first that was entered after `id`, and not after `bound`.
    fn next_after(&self, id: Id, bound: Id) -> Option<Latch> {
        if id >= bound {
            return None;
        }
        self.lock().range(id + 1..=bound).next().map(|(_, member)| Arc::clone(&member.latch))
    }

    fn last(&self) -> Option<Latch> {
        self.lock().last_key_value().map(|(_, member)| Arc::clone(&member.latch))
    }

    /// Those that are in it, in words.
    pub(crate) fn describe(&self) -> String {
        let members = self.lock();
        let mut words = String::new();
        for (index, member) in members.values().take(NAMED_MAX).enumerate() {
            let Label { name, location } = member.label;
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(words, "{comma}{name}, entered at {location}");
        }
        if members.len() > NAMED_MAX {
            let _ = write!(words, ", and {} more", members.len() - NAMED_MAX);
        }
        words
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Member>> {
        // No code of others runs under the lock, so a poisoned map is a whole map.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one member of a scope after the other, each looked up when the one before has ended.
#[derive(Default)]
pub(crate) struct Wait {
    current: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Wait {
    /// Ready when `next` finds nobody.
    fn poll(&mut self, next: impl Fn() -> Option<Latch>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(current) = &mut self.current {
                ready!(current.as_mut().poll(context));
                self.current = None;
            }
            let Some(latch) = next() else { return Poll::Ready(()) };
            self.current = Some(Box::pin(async move {
                latch.wait().await;
            }));
        }
    }

    /// Ready when nothing is left in the scope, what comes meanwhile included.
    pub(crate) fn poll_empty(&mut self, scope: &Scope, context: &mut Context<'_>) -> Poll<()> {
        self.poll(|| scope.last(), context)
    }
}

/// The wait of a guard, before it begins, for those that were entered after it.
///
/// How far these reach is fixed at the first look, so that a body that goes on entering and dropping cannot hold it up
/// for ever. Who of them is still there is looked up at each step, in the scopes that the guard looks at then.
#[derive(Default)]
pub(crate) struct Gate {
    bound: Option<Id>,
    /// The scopes that are waited in, by their addresses.
    places: Vec<usize>,
    wait: Wait,
}

impl Gate {
    /// Ready when the guard of this id may begin.
    pub(crate) fn poll(&mut self, scopes: &[Arc<Scope>], id: Id, context: &mut Context<'_>) -> Poll<()> {
        let bound = *self.bound.get_or_insert_with(newest_id);
        let places = scopes.iter().map(|scope| Arc::as_ptr(scope).addr());
        if !places.clone().eq(self.places.iter().copied()) {
            self.places = places.collect();
            self.wait = Wait::default();
        }
        self.wait.poll(|| scopes.iter().find_map(|scope| scope.next_after(id, bound)), context)
    }
}
