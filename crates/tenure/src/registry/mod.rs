//! What is held now, what was handed over, and what came of it: one registry for each runtime.
//!
//! A tenure that has never suspended is in no registry: it can neither be dropped from outside nor be seen by
//! another task of its thread. It registers at its first suspension, which is when it begins to matter.
//!
//! # Invariants
//! 1. A handed-over tenure stays listed until its exit has ended or is known to be lost, and what came of it is
//!    recorded before it leaves the list: a drain that finds the list empty has the whole story.
//! 2. The lists are locked for moves of plain data alone, and no user code runs under them. One lock is taken under
//!    another in one place: a scope's under that of the root scopes.
//! 3. The runtime's handle lives in the entries of held tenures only, so a registry never keeps a runtime's
//!    sockets open.

mod changes;
mod counters;
mod current;
mod deadline;
mod drains;
mod entry;
mod incident;
mod log;
mod shelf;
mod snapshot;
mod stop;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use tokio::sync::watch;
use tokio::task;
use tokio::time::Instant;

use crate::label::{Id, Label};
use crate::scope::{Latch, Scope};

pub use counters::Counters;
pub use deadline::{exit_deadline, wait_for_exit_deadline};
pub use incident::{Incident, IncidentKind, report, set_default_report_sink, set_report_sink};
pub use log::DrainReport;
pub use snapshot::{OpenTenure, OpenTenures, Phase, open};

pub(crate) use counters::Count;
pub(crate) use current::{Place, Whereabouts, count_at, current, place_in, place_now, whereabouts};
#[cfg(feature = "signal")]
pub(crate) use deadline::SetDeadline;
pub(crate) use entry::{Care, Entry, Extra, HandedOver, Item, Items, Span};
pub(crate) use shelf::Key;

/// Incidents kept for the next drain's report. Later ones are counted, and all reach the report sink.
pub const KEPT_INCIDENTS_MAX: usize = 1_024;

/// Returns the counters of this runtime, since it began.
///
/// Outside of a runtime: those of all tenures entered outside of any.
#[must_use]
pub fn counters() -> Counters {
    current().counters.sum()
}

#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) counters: counters::Tallies,
    held: shelf::Shelf,
    log: Mutex<log::Log>,
    roots: Mutex<HashMap<RootKey, Arc<Scope>>>,
    sink: RwLock<Option<incident::Sink>>,
    /// Told of each hand-over and each end, if somebody listens.
    changes: changes::Changes,
    /// The drains that run inside of tenures, each with the handed-over exits that it is part of.
    drains: Mutex<Vec<(Id, Vec<Id>)>>,
    /// The task groups whose exits wait for their children, each with the tenure that exits.
    groups: Mutex<HashMap<Id, Id>>,
    /// Whether what is held was asked to stop.
    stopping: AtomicBool,
    /// When all must have exited, once the process stops.
    deadline: watch::Sender<Option<Instant>>,
}

/// What tenures without an enclosing one have in common: the task that drops them, or outside of tasks the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RootKey {
    Task(task::Id),
    Thread(ThreadId),
}

/// How many root scopes there are, on all runtimes.
static ROOT_SCOPES: AtomicUsize = AtomicUsize::new(0);

/// Returns `true` if there is a root scope on any runtime. What this task has handed over itself is seen for certain.
pub(crate) fn has_root_scopes() -> bool {
    // Relaxed: what a task has stored it sees later, since one poll of it happens before the next. Nobody looks at the root
    // scopes of another task.
    ROOT_SCOPES.load(Ordering::Relaxed) != 0
}

impl RootKey {
    pub(crate) fn here() -> Self {
        task::try_id().map_or_else(|| Self::Thread(thread::current().id()), Self::Task)
    }
}

impl Registry {
    pub(crate) fn hold(&self, entry: Entry) -> Key {
        let key = self.held.insert(entry);
        // It may be the missing link between a drain and who waits for it.
        self.changes.tell();
        key
    }

    pub(crate) fn change<T>(&self, key: Key, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.held.change(key, change)
    }

    pub(crate) fn release(&self, key: Key) -> Option<Entry> {
        let entry = self.held.remove(key);
        self.changes.tell();
        entry
    }

    #[inline]
    pub(crate) fn count(&self, count: Count) {
        self.count_all(count, None);
    }

    /// Counts the one, and the other if there is one.
    #[inline]
    pub(crate) fn count_all(&self, count: Count, fault: Option<Count>) {
        current::count(self, count, fault);
    }

    pub(crate) fn changes(&self) -> &changes::Changes {
        &self.changes
    }

    /// Adds to the scope of all that is handed over on this task without an enclosing tenure.
    pub(crate) fn add_to_root(&self, key: RootKey, id: Id, label: Label, latch: Latch) -> Arc<Scope> {
        let mut roots = self.roots();
        let before = roots.len();
        let scope = Arc::clone(roots.entry(key).or_default());
        ROOT_SCOPES.fetch_add(roots.len() - before, Ordering::Relaxed);
        // Under the lock, lest the scope is forgotten as empty before.
        scope.add(id, label, latch);
        scope
    }

    /// The scope of all that was handed over on this task without an enclosing tenure, and still exits.
    pub(crate) fn root_scope(&self, key: RootKey) -> Option<Arc<Scope>> {
        self.roots().get(&key).map(Arc::clone)
    }

    /// Forgets a root scope that nobody waits in any more.
    pub(crate) fn forget_root(&self, key: RootKey) {
        let mut roots = self.roots();
        if roots.get(&key).is_some_and(|scope| scope.is_empty()) {
            roots.remove(&key);
            ROOT_SCOPES.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn roots(&self) -> MutexGuard<'_, HashMap<RootKey, Arc<Scope>>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is held here and nobody but the list of registries knows of it.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.held.is_empty()
    }

    /// Whether it is idle and has nothing to lose.
    fn is_blank(self: &Arc<Self>) -> bool {
        let has_sink = self.sink.read().unwrap_or_else(PoisonError::into_inner).is_some();
        self.is_idle() && !has_sink && self.counters.is_blank() && self.has_no_log()
    }
}
