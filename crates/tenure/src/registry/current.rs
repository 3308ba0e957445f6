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

/// Registries kept for runtimes that hold nothing now. Beyond, the idle ones are forgotten, with their counters.
const IDLE_REGISTRIES_MAX: usize = 64;

/// `None` is the key of what is entered outside of any runtime.
type RuntimeKey = Option<runtime::Id>;

static REGISTRIES: LazyLock<Mutex<HashMap<RuntimeKey, Arc<Registry>>>> = LazyLock::new(Mutex::default);

struct Here {
    task: Option<task::Id>,
    runtime: RuntimeKey,
    registry: Arc<Registry>,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The registry of the current runtime.
pub(crate) fn current() -> Arc<Registry> {
    with_current(Arc::clone)
}

/// Looks at the registry of the current runtime. The look must not come back here.
#[inline]
pub(crate) fn with_current<T>(look: impl FnOnce(&Arc<Registry>) -> T) -> T {
    let task = task::try_id();
    let mut look = Some(look);
    let seen = HERE.try_with(|here| {
        let look = look.take()?;
        let mut here = here.borrow_mut();
        let here = match &mut *here {
            Some(known) if task.is_some() && known.task == task => known,
            stale => refresh(stale, task),
        };
        Some(look(&here.registry))
    });
    match (seen, look) {
        (Ok(Some(seen)), _) => seen,
        // The thread is being torn down: no memory of the last task, so ask.
        (_, Some(look)) => look(&registry_of(runtime_here())),
        (_, None) => unreachable!("the look is taken only where it is used"),
    }
}

#[cold]
fn refresh(here: &mut Option<Here>, task: Option<task::Id>) -> &mut Here {
    let runtime = runtime_here();
    if let Some(known) = here.as_mut().filter(|known| known.runtime == runtime) {
        known.task = task;
    } else {
        *here = Some(Here { task, runtime, registry: registry_of(runtime) });
    }
    here.as_mut().expect("it was just set")
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
