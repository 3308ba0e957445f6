//! The handed-over tenures of one parent, and the order in which they may exit.
//!
//! # Invariants
//! 1. A tenure is in the scope from its hand-over until its exit has ended or is known to be lost.
//! 2. Its latch is set after it has left the scope, never before.
//! 3. A tenure waits only for siblings that were entered after it, so no two wait for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::SetOnce;

use crate::frame::Id;

/// Set once, when an exit has ended: tokio's, since it is one atomic and a wait list, and is cancel-safe.
pub(crate) type Latch = Arc<SetOnce<()>>;

#[derive(Debug, Default)]
pub(crate) struct Scope {
    pending: Mutex<BTreeMap<Id, Latch>>,
}

impl Scope {
    pub(crate) fn add(&self, id: Id, latch: Latch) {
        self.lock().insert(id, latch);
    }

    /// The last of those that were entered after this one.
    pub(crate) fn last_after(&self, id: Id) -> Option<Id> {
        self.lock().last_key_value().map(|(last, _)| *last).filter(|last| *last > id)
    }

    /// The latch of the first that was entered after this one, and not after `last`.
    pub(crate) fn next_between(&self, id: Id, last: Id) -> Option<Latch> {
        self.lock().range(id + 1..=last).next().map(|(_, latch)| Arc::clone(latch))
    }

    /// Removes a tenure, unless it goes on under another latch: a shielded enter whose exit was handed over.
    pub(crate) fn remove(&self, id: Id, latch: &Latch) {
        let mut pending = self.lock();
        if pending.get(&id).is_some_and(|current| Arc::ptr_eq(current, latch)) {
            pending.remove(&id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits until nothing is pending, what comes meanwhile included.
    pub(crate) async fn until_empty(&self) {
        while let Some(latch) = self.last() {
            latch.wait().await;
        }
    }

    fn last(&self) -> Option<Latch> {
        self.lock().last_key_value().map(|(_, latch)| Arc::clone(latch))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Id, Latch>> {
        // No code of others runs under the lock, so a poisoned map is a whole map.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tenures of one scope that exit in the background and have to end before another may exit.
///
/// They are known by the range of their ids, so that to wait for a thousand takes no list of a thousand.
pub(crate) struct Younger {
    pub(crate) scope: Arc<Scope>,
    pub(crate) after: Id,
    pub(crate) last: Id,
}

impl Younger {
    pub(crate) async fn until_gone(self) {
        while let Some(latch) = self.scope.next_between(self.after, self.last) {
            latch.wait().await;
        }
    }
}

/// Awaits `exit` when those that have to end before it have.
pub(crate) async fn behind<F: Future>(younger: Option<Younger>, exit: F) -> F::Output {
    if let Some(younger) = younger {
        younger.until_gone().await;
    }
    exit.await
}
