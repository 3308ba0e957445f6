//! One tenure: its identity, its place in the registry, and its hand-over.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::sync::SetOnce;

use crate::frame::{self, Enclosing, Node};
use crate::job::{Begun, Job, Record, Settle};
use crate::label::{Id, Label};
use crate::registry::{
    self, Asked, Care, Count, Entry, HandedOver, Items, Key, Phase, Registry, RootKey, Whereabouts,
};

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
        /// The tenure it was entered in; 0 if none.
        home: Id,
        /// The waker that the registry has, by its data, if this is a body that can be asked to stop.
        waker: Option<usize>,
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

    #[inline]
    pub(crate) fn label(&self) -> Label {
        self.node.label
    }

    /// The registry it is listed in, else the current one.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        match &self.place {
            Place::Listed { registry, .. } => Arc::clone(registry),
            Place::Unlisted { .. } => registry::current(),
        }
    }

    /// Whether anything that was handed over at the root of a task is left, in the registry of this tenure.
    #[inline]
    pub(crate) fn has_root_scopes(&self) -> bool {
        match &self.place {
            Place::Listed { registry, .. } => registry.has_root_scopes(),
            Place::Unlisted { .. } => registry::current().has_root_scopes(),
        }
    }

    /// The tenure it was entered in; 0 if none.
    pub(crate) fn home(&self) -> Id {
        match self.place {
            Place::Listed { home, .. } => home,
            Place::Unlisted { parent, .. } => parent,
        }
    }

    /// Makes the tenure known to the registry, in this phase. To be called at each suspension; it costs a comparison
    /// when nothing has changed.
    #[inline]
    pub(crate) fn list(&mut self, now: Phase, context: &Context<'_>) {
        match &mut self.place {
            Place::Listed { phase, waker, .. }
                if *phase == now && waker.is_none_or(|data| data == context.waker().data().addr()) => {}
            _ => self.list_anew(now, Some(context)),
        }
    }

    /// As [`list`](Self::list), where the tenure is given out of the task's sight.
    pub(crate) fn list_given_out(&mut self, now: Phase) {
        self.list_anew(now, None);
    }

    /// As [`list_given_out`](Self::list_given_out), with things that are held one by one inside.
    pub(crate) fn list_with(&mut self, phase: Phase, items: impl FnOnce() -> Arc<dyn Items>) {
        if let Place::Unlisted { .. } = self.place {
            self.list_first(phase, None, Some(items()));
        }
    }

    #[cold]
    fn list_anew(&mut self, now: Phase, context: Option<&Context<'_>>) {
        let Place::Listed { registry, key, phase, waker, .. } = &mut self.place else {
            self.list_first(now, context, None);
            return;
        };
        *phase = now;
        let mut new = None;
        if let (Some(data), Some(context)) = (waker.as_mut(), context) {
            *data = context.waker().data().addr();
            new = Some(context.waker().clone());
        }
        // The waker that is replaced is dropped behind the lock.
        let _old = registry.change(*key, |entry| {
            entry.phase = now;
            new.and_then(|new| entry.stop.as_mut()?.waker.replace(new))
        });
    }

    /// Says where it was listed, unless it had been before.
    fn list_first(
        &mut self,
        phase: Phase,
        context: Option<&Context<'_>>,
        items: Option<Arc<dyn Items>>,
    ) -> Option<registry::Place> {
        let Place::Unlisted { parent, counted } = self.place else {
            return None;
        };
        let Whereabouts { place, runtime, registry } = registry::whereabouts(context);
        let parent = if parent == 0 { frame::enclosing_id_at(place) } else { parent };
        let mut entry = Entry::new(self.node.id(), parent, self.node.label, phase, runtime);
        entry.items = items;
        let mut waker = None;
        if let (0, Phase::Held, Some(context)) = (parent, phase, context) {
            waker = Some(context.waker().data().addr());
            entry.stop = Some(Asked { waker: Some(context.waker().clone()), asked: false });
        }
        if !counted {
            registry.count(Count::Entered);
        }
        let key = registry.hold(entry);
        self.place = Place::Listed { registry, key, phase, home: parent, waker };
        Some(place)
    }

    /// Whether its body was asked to stop since the process ends.
    #[inline]
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        matches!(&self.place, Place::Listed { registry, waker: Some(_), .. } if registry.is_stopping())
            && self.was_asked()
    }

    #[cold]
    fn was_asked(&self) -> bool {
        let Place::Listed { registry, key, .. } = &self.place else { return false };
        registry.change(*key, |entry| entry.stop.as_ref().is_some_and(|stop| stop.asked)).unwrap_or(false)
    }

    /// Counts an exit that has ended inline at this place, and its enter if that is not counted.
    #[inline]
    pub(crate) fn count_exit(&self, counts: Option<Option<Count>>, place: registry::Place) {
        let Some(fault) = counts else { return };
        match &self.place {
            Place::Unlisted { counted, .. } => {
                let count = if *counted { Count::Exited } else { Count::Passed };
                registry::count_at(place, count, fault);
            }
            Place::Listed { registry, .. } => registry.count_all(Count::Exited, fault),
        }
    }

    /// Takes back the count of a resource that leaves without an exit, by its holder's will.
    pub(crate) fn count_disarmed(&self) {
        if let Place::Listed { registry, .. } = &self.place {
            registry.count(Count::Disarmed);
        }
    }

    /// Gives `future` to the runtime the tenure was entered on, to be polled to its end.
    ///
    /// Without a runtime, or with a dead one, the future is dropped here, and reported as lost.
    pub(crate) fn hand_over<F>(&mut self, future: Pin<Box<F>>, begun: Begun)
    where
        F: Future<Output: Settle> + Send + ?Sized + 'static,
    {
        let place = self.list_first(begun.phase(), None, None);
        let unlisted = Place::Unlisted { parent: 0, counted: true };
        let Place::Listed { registry, key, .. } = mem::replace(&mut self.place, unlisted) else {
            return;
        };
        registry.count(Count::HandedOver);
        let node = self.node.take();
        let (id, label) = (node.id, node.label);
        let latch = Arc::new(SetOnce::new());
        let (place, parent, scope, root) = match frame::enclosing(place) {
            Some(Enclosing { place, id: parent, scope }) => {
                scope.add(id, label, Arc::clone(&latch));
                (Some(place), parent, scope, None)
            }
            None => {
                // That of the task that drops it, on whichever runtime it was entered.
                let (here, root) = (registry::current(), RootKey::here());
                (None, 0, here.add_to_root(root, id, label, Arc::clone(&latch)), Some((here, root)))
            }
        };
        let taken = registry.change(key, |entry| {
            entry.parent = parent;
            entry.phase = begun.phase();
            let handed_over = HandedOver { latch: Arc::clone(&latch), scope: Arc::clone(&scope) };
            match mem::replace(&mut entry.care, Care::Job(handed_over)) {
                Care::Caller { runtime, span } => (runtime, span, entry.items.clone(), entry.stop.take()),
                Care::Job(_) => unreachable!("a tenure is handed over once"),
            }
        });
        let (runtime, span, items, _) = taken.unwrap_or_default();
        let outer = Node { id: parent, label, children: Some(Arc::clone(&scope)) };
        let record = Record { registry, label, id, key, outer, scope, latch, root, span, items, begun };
        record.registry.changes().tell();
        let job = Job::new(future, node, record);
        match runtime {
            // On a runtime that is shut down, this drops the job, which then reports itself as lost.
            Some(runtime) => frame::after_frame(place, move || drop(runtime.spawn(job))),
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

/// Counts an exit that has ended, whose enter is counted, and what was wrong with it.
pub(crate) fn count_exited(registry: &Registry, output: &impl Settle) {
    if let Some(fault) = output.counts() {
        registry.count_all(Count::Exited, fault);
    }
}
