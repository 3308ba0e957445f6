//! One tenure: its identity, its place in the registry, and its hand-over.

use std::mem;
use std::sync::Arc;

use tokio::sync::SetOnce;

use crate::frame::{self, Id, Label, Node};
use crate::job::{Job, Record, Settle};
use crate::registry::{self, Care, Entry, Items, Key, Phase, Registry, RootKey, here};
use crate::registry::{Count, HandedOver};
use crate::scope::Younger;

/// Held by whoever has to see to the exit. Dropped, it leaves the registry; it is never cloned.
pub(crate) struct Tenure {
    pub(crate) node: Node,
    place: Place,
}

enum Place {
    Unlisted {
        /// Where it belongs, if that is not the enclosing tenure; else 0.
        parent: Id,
        /// Whether its enter has been counted. Where nothing suspends, enter and exit are counted at once.
        counted: bool,
    },
    Listed {
        registry: Arc<Registry>,
        key: Key,
        phase: Phase,
    },
}

impl Tenure {
    /// A tenure whose resource has just been entered.
    #[inline]
    pub(crate) fn entered(label: Label) -> Self {
        Self { node: Node::new(label), place: Place::Unlisted { parent: 0, counted: false } }
    }

    /// A tenure of which there is nothing to count: what belongs to it is counted by itself.
    pub(crate) fn new(label: Label) -> Self {
        Self::inside(0, label)
    }

    /// As [`new`](Self::new), with this parent wherever it is polled.
    pub(crate) fn inside(parent: Id, label: Label) -> Self {
        Self { node: Node::new(label), place: Place::Unlisted { parent, counted: true } }
    }

    /// Whether the enter is counted, or need not be.
    #[inline]
    pub(crate) fn is_counted(&self) -> bool {
        !matches!(self.place, Place::Unlisted { counted: false, .. })
    }

    #[inline]
    pub(crate) fn label(&self) -> Label {
        self.node.label
    }

    /// Makes the tenure known to the registry, in this phase. To be called at each suspension, and where the
    /// tenure is given out of the task's sight; it costs a comparison when nothing has changed.
    #[inline]
    pub(crate) fn list(&mut self, now: Phase) {
        match &mut self.place {
            Place::Listed { phase, .. } if *phase == now => {}
            Place::Listed { registry, key, phase } => {
                *phase = now;
                registry.change(*key, |entry| entry.phase = now);
            }
            Place::Unlisted { .. } => self.list_anew(now, None),
        }
    }

    /// As [`list`](Self::list), with things that are held one by one inside.
    pub(crate) fn list_with(&mut self, phase: Phase, items: impl FnOnce() -> Arc<dyn Items>) {
        if let Place::Unlisted { .. } = self.place {
            self.list_anew(phase, Some(items()));
        }
    }

    #[cold]
    fn list_anew(&mut self, phase: Phase, items: Option<Arc<dyn Items>>) {
        let Place::Unlisted { parent, counted } = self.place else {
            return;
        };
        let parent = if parent == 0 { frame::enclosing_id() } else { parent };
        let mut entry = Entry::new(self.node.id(), parent, self.node.label, phase);
        entry.items = items;
        let registry = here(|here| {
            if !counted {
                here.count(Count::Entered);
            }
            Arc::clone(&here.registry)
        });
        let key = registry.hold(entry);
        self.place = Place::Listed { registry, key, phase };
    }

    /// Those that were entered later, dropped, and still exit in the background: an exit by hand waits for them, as one
    /// that is handed over does (law 13).
    ///
    /// Called inside an exit that runs in the background, it leaves out that one, and those that may wait for it.
    pub(crate) fn younger(&mut self) -> Option<Younger> {
        let scope = match frame::enclosing_children() {
            (Some(scope), _) => scope,
            (None, true) => return None,
            (None, false) => registry::current().root_scope(RootKey::here())?,
        };
        let after = frame::running_jobs().into_iter().fold(self.node.id(), Id::max);
        let last = scope.last_after(after)?;
        Some(Younger { scope, after, last })
    }

    /// Gives `future` to the runtime the tenure was entered on, to be polled to its end behind those that have
    /// to end before it.
    ///
    /// Without a runtime, or with a dead one, the future is dropped here, and reported as lost.
    pub(crate) fn hand_over<F>(&mut self, future: std::pin::Pin<Box<F>>, phase: Phase)
    where
        F: Future<Output: Settle> + Send + ?Sized + 'static,
    {
        self.list(phase);
        let unlisted = Place::Unlisted { parent: 0, counted: true };
        let Place::Listed { registry, key, .. } = mem::replace(&mut self.place, unlisted) else {
            return;
        };
        registry.counters.one(Count::HandedOver);
        let id = self.node.id();
        let latch = Arc::new(SetOnce::new());
        let (parent, scope, root) = match frame::enclosing_scope() {
            Some((parent, scope)) => {
                scope.add(id, Arc::clone(&latch));
                (parent, scope, None)
            }
            None => {
                let root = RootKey::here();
                (0, registry.add_to_root(root, id, Arc::clone(&latch)), Some(root))
            }
        };
        let taken = registry.change(key, |entry| {
            entry.parent = parent;
            entry.phase = Phase::Waiting;
            let handed_over = HandedOver { latch: Arc::clone(&latch), scope: Arc::clone(&scope) };
            match mem::replace(&mut entry.care, Care::Job(handed_over)) {
                Care::Caller { runtime, span } => (runtime, span, entry.items.clone()),
                Care::Job(_) => unreachable!("a tenure is handed over once"),
            }
        });
        let (runtime, span, items) = taken.unwrap_or_default();
        let label = self.node.label;
        let frame = Node { id: parent, label, children: Some(Arc::clone(&scope)) };
        let record = Record { registry, label, id, key, frame, scope, latch, root, span, items, phase };
        let job = Job::new(future, record);
        match runtime {
            // On a runtime that is shut down, this drops the job, which then reports itself as lost.
            Some(runtime) => frame::after_frame(move || drop(runtime.spawn(job))),
            None => drop(job),
        }
    }
}

impl Drop for Tenure {
    #[inline]
    fn drop(&mut self) {
        if let Place::Listed { registry, key, .. } = &self.place {
            leave(registry, *key);
        }
    }
}

#[cold]
fn leave(registry: &Registry, key: Key) {
    registry.release(key);
}

/// Counts an enter that no [`Tenure`] counts.
pub(crate) fn count_entered() {
    here(|here| here.count(Count::Entered));
}

/// Takes back the count of a resource that leaves without an exit, by its holder's will.
pub(crate) fn count_disarmed() {
    here(|here| here.count(Count::Disarmed));
}

/// Counts an exit that has ended, what was wrong with it, and its enter if that was not.
#[inline]
pub(crate) fn count_exited(entered: bool, fault: Option<Count>) {
    here(|here| {
        here.count(if entered { Count::Exited } else { Count::Passed });
        if let Some(fault) = fault {
            here.count(fault);
        }
    });
}
