//! One tenure: its identity, its place in the registry, and its hand-over.

use std::mem;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::sync::SetOnce;

use crate::frame::{self, Enclosing, Node};
use crate::job::{Begun, Job, Record, Settle};
use crate::label::{Id, Label};
use crate::registry::{
    self, Care, Count, Entry, Extra, HandedOver, Items, Key, Phase, Place, Registry, RootKey, Whereabouts,
};

/// Held by whoever has to see to the exit. Dropped, it leaves the registry; it is never cloned.
///
/// Plain fields instead of an enum: they are stored one by one where the tenure is made, and never copied as a whole.
pub(crate) struct Tenure {
    pub(crate) node: Node,
    /// Where it belongs, if that is not the enclosing tenure; else 0. Once it is listed, the tenure it was entered in.
    home: Id,
    /// The registry it is listed in, under the key.
    listed: Option<Arc<Registry>>,
    key: Key,
    /// The phase that it is listed in.
    phase: Phase,
    /// `true` if its enter has been counted. Where nothing suspends, enter and exit are counted at once.
    counted: bool,
    /// The waker that the registry has, if this is a body that can be asked to stop.
    waker: Option<WakerMark>,
}

/// By what a waker is known again.
#[derive(Clone, Copy, PartialEq, Eq)]
struct WakerMark(NonZeroUsize);

impl WakerMark {
    fn of(context: &Context<'_>) -> Self {
        // Data may well be null. Two that are taken for one are those at the top of memory, where nothing lies.
        let mark = context.waker().data().addr().checked_add(1).and_then(NonZeroUsize::new);
        Self(mark.unwrap_or(NonZeroUsize::MAX))
    }
}

impl Tenure {
    /// A tenure whose resource has just been entered.
    #[inline]
    pub(crate) fn entered(label: Label) -> Self {
        let mut tenure = Self::inside(0, label);
        tenure.counted = false;
        tenure
    }

    /// A tenure of which there is nothing to count: what belongs to it is counted by itself.
    pub(crate) fn new(label: Label) -> Self {
        Self::inside(0, label)
    }

    /// As [`new`](Self::new), with this parent wherever it is polled.
    #[inline]
    pub(crate) fn inside(parent: Id, label: Label) -> Self {
        let (key, phase) = (Key::default(), Phase::Held);
        Self { node: Node::new(label), home: parent, listed: None, key, phase, counted: true, waker: None }
    }

    #[inline]
    pub(crate) fn label(&self) -> Label {
        self.node.label
    }

    /// The registry it is listed in, else the current one.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.listed.as_ref().map_or_else(registry::current, Arc::clone)
    }

    /// The tenure it was entered in; 0 if none.
    pub(crate) fn home(&self) -> Id {
        self.home
    }

    /// Makes the tenure known to the registry, in this phase. To be called at each suspension; it costs a comparison
    /// when nothing has changed.
    #[inline]
    pub(crate) fn list(&mut self, now: Phase, context: &Context<'_>) {
        let is_listed = self.listed.is_some() && self.phase == now;
        if !is_listed || self.waker.is_some_and(|mark| mark != WakerMark::of(context)) {
            self.list_anew(now, Some(context));
        }
    }

    /// As [`list`](Self::list), where the tenure is given out of the task's sight.
    pub(crate) fn list_given_out(&mut self, now: Phase) {
        self.list_first(now, None, None);
    }

    /// As [`list_given_out`](Self::list_given_out), with things that are held one by one inside.
    pub(crate) fn list_with(&mut self, phase: Phase, items: impl FnOnce() -> Arc<dyn Items>) {
        if self.listed.is_none() {
            self.list_first(phase, None, Some(items()));
        }
    }

    #[cold]
    fn list_anew(&mut self, now: Phase, context: Option<&Context<'_>>) {
        let Some(registry) = &self.listed else {
            self.list_first(now, context, None);
            return;
        };
        self.phase = now;
        let mut new = None;
        if let (Some(mark), Some(context)) = (&mut self.waker, context) {
            *mark = WakerMark::of(context);
            new = Some(context.waker().clone());
        }
        // The waker that is replaced is dropped behind the lock.
        let _old = registry.change(self.key, |entry| {
            entry.phase = now;
            entry.replace_waker(new)
        });
    }

    /// Says where it was listed, unless it had been before.
    fn list_first(
        &mut self,
        phase: Phase,
        context: Option<&Context<'_>>,
        items: Option<Arc<dyn Items>>,
    ) -> Option<Place> {
        if self.listed.is_some() {
            return None;
        }
        let Whereabouts { place, runtime, registry } = registry::whereabouts(context);
        if self.home == 0 {
            self.home = frame::enclosing_id_at(place);
        }
        let extra = match (items, context) {
            (Some(items), _) => Extra::Items(items),
            (None, Some(context)) if self.home == 0 && phase == Phase::Held => {
                self.waker = Some(WakerMark::of(context));
                Extra::Waker(context.waker().clone())
            }
            (None, _) => Extra::None,
        };
        if !self.counted {
            self.counted = true;
            registry.count(Count::Entered);
        }
        self.phase = phase;
        self.key = registry.hold(Entry::new(self.node.id(), self.home, self.node.label, phase, runtime, extra));
        self.listed = Some(registry);
        Some(place)
    }

    /// Whether its body was asked to stop since the process ends.
    #[inline]
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.waker.is_some()
            && self.listed.as_ref().is_some_and(|registry| registry.is_stopping())
            && self.was_asked()
    }

    #[cold]
    fn was_asked(&self) -> bool {
        let Some(registry) = &self.listed else { return false };
        registry.change(self.key, |entry| entry.is_asked_to_stop()).unwrap_or(false)
    }

    /// Counts an exit that has ended inline at this place, and its enter if that is not counted.
    #[inline]
    pub(crate) fn count_exit(&self, counts: Option<Option<Count>>, place: Place) {
        let Some(fault) = counts else { return };
        match &self.listed {
            None => {
                let count = if self.counted { Count::Exited } else { Count::Passed };
                registry::count_at(place, count, fault);
            }
            Some(registry) => registry.count_all(Count::Exited, fault),
        }
    }

    /// Takes back the count of a resource that leaves without an exit, by its holder's will.
    pub(crate) fn count_disarmed(&self) {
        if let Some(registry) = &self.listed {
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
        let Some(registry) = self.listed.take() else { return };
        let key = mem::take(&mut self.key);
        (self.home, self.waker) = (0, None);
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
                // The waker is dropped behind the lock.
                Care::Caller { runtime, span } => (runtime, span, entry.items(), entry.replace_waker(None)),
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
        if let Some(registry) = &self.listed {
            leave(registry, self.key);
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
