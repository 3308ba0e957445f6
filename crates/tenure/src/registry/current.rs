//! Which registry is the current one.
//!
//! To ask tokio for the current runtime means to clone its handle, a count that all workers share. So each thread
//! remembers the last task it was asked for, with that task's registry. A task is known by its id *and* its waker: a
//! runtime that is driven inside a task, by `block_in_place`, has the id of that task and another waker. Where there is no
//! waker to compare, tokio is asked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Context;

use tokio::runtime::{self, Handle};
use tokio::task;

use super::Registry;
use super::counters::{Count, OwnTally};

/// Registries kept for runtimes that hold nothing now and have something to lose: a sink, counts, a report. Beyond,
/// the idle ones are forgotten.
const IDLE_REGISTRIES_MAX: usize = 4_096;

/// `None` is the key of what is entered outside of any runtime.
type RuntimeKey = Option<runtime::Id>;

static REGISTRIES: LazyLock<Mutex<HashMap<RuntimeKey, Arc<Registry>>>> = LazyLock::new(Mutex::default);

/// A task on a runtime. Two places are the same if and only if they are the same task on the same runtime; outside of
/// tasks, the same runtime's `block_on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    task: Option<task::Id>,
    runtime: RuntimeKey,
}

/// What a thread remembers of the last task it was asked for.
struct Here {
    place: Place,
    /// The data of the waker that the task was last polled with.
    waker: *const (),
    registry: Arc<Registry>,
    tally: OwnTally,
}

impl Place {
    /// Outside of any task and any runtime.
    pub(crate) const NOWHERE: Self = Self { task: None, runtime: None };
}

impl Here {
    fn new(place: Place, waker: *const ()) -> Self {
        let registry = registry_of(place.runtime);
        let tally = registry.counters.claim();
        Self { place, waker, registry, tally }
    }
}

/// What a poll compares: plain data, which is read without a check whether the thread is being torn down.
#[derive(Clone, Copy)]
struct Known {
    task: task::Id,
    waker: *const (),
    place: Place,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
    /// That of `HERE`, if it was asked for in a poll of a task.
    static KNOWN: Cell<Option<Known>> = const { Cell::new(None) };
}

/// The place of what is polled with this context.
#[inline]
pub(crate) fn place_in(context: &Context<'_>) -> Place {
    let task = task::try_id();
    let waker = context.waker().data();
    match KNOWN.get() {
        Some(known) if known.waker == waker && Some(known.task) == task => known.place,
        _ => {
            let place = Place { task, runtime: runtime_here() };
            remember(place, Some(waker));
            place
        }
    }
}

/// The place of the code that runs now.
pub(crate) fn place_now() -> Place {
    let place = Place { task: task::try_id(), runtime: runtime_here() };
    remember(place, None);
    place
}

/// Where the code that runs now is: asked of tokio once, for all that a listing or a hand-over wants to know.
pub(crate) struct Whereabouts {
    pub(crate) place: Place,
    pub(crate) runtime: Option<Handle>,
    pub(crate) registry: Arc<Registry>,
}

/// With the context of the poll that asks, if it is one.
pub(crate) fn whereabouts(context: Option<&Context<'_>>) -> Whereabouts {
    let runtime = Handle::try_current().ok();
    let place = Place { task: task::try_id(), runtime: runtime.as_ref().map(Handle::id) };
    remember(place, context.map(|context| context.waker().data()));
    let known = HERE.try_with(|here| here.borrow().as_ref().map(|here| Arc::clone(&here.registry)));
    // A thread that is being torn down has no memory of its last task.
    let registry = known.ok().flatten().unwrap_or_else(|| registry_of(place.runtime));
    Whereabouts { place, runtime, registry }
}

/// The registry of the current runtime.
pub(crate) fn current() -> Arc<Registry> {
    whereabouts(None).registry
}

/// Counts in the runtime of this place, which the code that runs now was found to be in by this poll.
#[inline]
pub(crate) fn count_at(place: Place, count: Count, fault: Option<Count>) {
    if !count_if(|here| here.place.runtime == place.runtime, count, fault) {
        // Another runtime was driven meanwhile, or the thread is being torn down.
        count_for_all(&registry_of(place.runtime), count, fault);
    }
}

/// Counts in this registry: without a locked instruction, if it is that of the task that was last asked for.
#[inline]
pub(super) fn count(registry: &Registry, count: Count, fault: Option<Count>) {
    if !count_if(|here| ptr::eq(Arc::as_ptr(&here.registry), registry), count, fault) {
        count_for_all(registry, count, fault);
    }
}

/// Counts on this thread's own tally, if it is the right one.
#[inline]
fn count_if(is_right: impl FnOnce(&Here) -> bool, count: Count, fault: Option<Count>) -> bool {
    let counted = HERE.try_with(|here| match &*here.borrow() {
        Some(here) if is_right(here) => {
            here.tally.one(count);
            if let Some(fault) = fault {
                here.tally.one(fault);
            }
            true
        }
        _ => false,
    });
    counted == Ok(true)
}

#[cold]
fn count_for_all(registry: &Registry, count: Count, fault: Option<Count>) {
    registry.counters.one(count);
    if let Some(fault) = fault {
        registry.counters.one(fault);
    }
}

/// The waker is that of the poll that asks, if it is one.
#[cold]
fn remember(place: Place, waker: Option<*const ()>) {
    let mut forgotten = None;
    let _ = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        match &mut *here {
            Some(known) if known.place.runtime == place.runtime => {
                if known.place.task != place.task || waker.is_some() {
                    known.place = place;
                    known.waker = waker.unwrap_or(ptr::null());
                }
            }
            _ => forgotten = here.replace(Here::new(place, waker.unwrap_or(ptr::null()))),
        }
        KNOWN.set(here.as_ref().and_then(|here| {
            let task = here.place.task.filter(|_| !here.waker.is_null())?;
            Some(Known { task, waker: here.waker, place: here.place })
        }));
    });
    // Behind the borrow: it may be the last to know a registry, and with it a user's sink.
    drop(forgotten);
}

fn runtime_here() -> RuntimeKey {
    Handle::try_current().ok().map(|handle| handle.id())
}

fn registry_of(runtime: RuntimeKey) -> Arc<Registry> {
    let mut registries = REGISTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = registries.get(&runtime) {
        return Arc::clone(known);
    }
    let forgotten =
        if registries.len() >= IDLE_REGISTRIES_MAX { forget_idle(&mut registries) } else { Vec::new() };
    let registry = Arc::clone(registries.entry(runtime).or_default());
    drop(registries);
    // Behind the lock: with a registry goes a user's sink.
    drop(forgotten);
    registry
}

/// Takes out those that nobody would miss; if there are none, those that are idle.
fn forget_idle(registries: &mut HashMap<RuntimeKey, Arc<Registry>>) -> Vec<Arc<Registry>> {
    let mut taken: Vec<_> =
        registries.extract_if(|runtime, registry| runtime.is_some() && registry.is_blank()).collect();
    if taken.is_empty() {
        taken = registries.extract_if(|runtime, registry| runtime.is_some() && registry.is_idle()).collect();
    }
    taken.into_iter().map(|(_, registry)| registry).collect()
}
