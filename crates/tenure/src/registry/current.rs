//! Which registry is the current one.
//!
//! To ask tokio for the current runtime means to clone its handle, a count that all workers share. A task belongs
//! to one runtime for life, so each thread remembers the last task it was asked for and that task's registry.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::runtime::{self, Handle};
use tokio::task;

use super::Registry;
use super::counters::{Count, OwnTally};

/// Registries kept for runtimes that hold nothing now. Beyond, the idle ones are forgotten, with their counters.
const IDLE_REGISTRIES_MAX: usize = 64;

/// `None` is the key of what is entered outside of any runtime.
type RuntimeKey = Option<runtime::Id>;

static REGISTRIES: LazyLock<Mutex<HashMap<RuntimeKey, Arc<Registry>>>> = LazyLock::new(Mutex::default);

/// What a thread remembers of the last task it was asked for.
pub(crate) struct Here {
    task: Option<task::Id>,
    runtime: RuntimeKey,
    pub(crate) registry: Arc<Registry>,
    tally: OwnTally,
}

impl Here {
    fn new(task: Option<task::Id>, runtime: RuntimeKey) -> Self {
        let registry = registry_of(runtime);
        let tally = registry.counters.claim();
        Self { task, runtime, registry, tally }
    }

    #[inline]
    pub(crate) fn count(&self, count: Count) {
        self.tally.one(count);
    }
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The registry of the current runtime.
pub(crate) fn current() -> Arc<Registry> {
    here(|here| Arc::clone(&here.registry))
}

/// Looks at the registry of the current runtime, and may count there. The look must not come back here.
#[inline]
pub(crate) fn here<T>(look: impl Fn(&Here) -> T) -> T {
    let task = task::try_id();
    let seen = HERE.try_with(|here| {
        let mut here = here.borrow_mut();
        match &*here {
            Some(known) if task.is_some() && known.task == task => look(known),
            _ => look(refresh(&mut here, task)),
        }
    });
    // A thread that is being torn down has no memory of its last task: so ask.
    seen.unwrap_or_else(|_| look(&Here::new(task, runtime_here())))
}

#[cold]
fn refresh(here: &mut Option<Here>, task: Option<task::Id>) -> &Here {
    let runtime = runtime_here();
    if here.as_ref().is_none_or(|known| known.runtime != runtime) {
        // The old one first: its tally is free then for whoever comes.
        *here = None;
    }
    let here = here.get_or_insert_with(|| Here::new(task, runtime));
    here.task = task;
    here
}

fn runtime_here() -> RuntimeKey {
    Handle::try_current().ok().map(|handle| handle.id())
}

fn registry_of(runtime: RuntimeKey) -> Arc<Registry> {
    let mut registries = REGISTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = registries.get(&runtime) {
        return Arc::clone(known);
    }
    if registries.len() >= IDLE_REGISTRIES_MAX {
        registries.retain(|runtime, registry| runtime.is_none() || !registry.is_idle());
    }
    Arc::clone(registries.entry(runtime).or_default())
}
