//! What a get finds under the lock: an idle resource, a place in the queue, or a reason to fail at once.

use std::ops::ControlFlow;

use crate::error::GetErrorKind;
use crate::home::{HomeId, NOWHERE, fits, fits_slot};
use crate::manager::Manager;
use crate::raw::{Entry, Slow};
use crate::scope;
use crate::shared::{Claimed, Locked};

/// Takes an idle resource, or sees to it that a waiter may be enqueued.
pub(crate) fn join<M: Manager>(
    locked: &mut Locked<'_, M>,
    entry: Entry,
    again: bool,
) -> Result<Option<Claimed<M>>, GetErrorKind> {
    if locked.state.closed {
        return Err(GetErrorKind::Closed);
    }
    if scope::holds_all(locked) {
        return Err(GetErrorKind::SelfDeadlock);
    }
    loop {
        if let Some(claim) = pop_for(locked, entry.home) {
            return Ok(Some(claim));
        }
        if entry.deadline <= entry.since || (again && entry.deadline <= locked.core().ext.clock.now()) {
            return Err(GetErrorKind::Exhausted);
        }
        if is_hopeless(locked) {
            return Err(GetErrorKind::CreateFailing);
        }
        if !again && is_saturated(locked) {
            return Err(GetErrorKind::Saturated);
        }
        let homes = &locked.state.homes;
        if homes.len() == 0 || (entry.home != NOWHERE && !homes.contains(entry.home)) {
            return Err(GetErrorKind::NoRuntime);
        }
        if locked.is_slow(Slow::WAITERS) {
            return Ok(None);
        }
        // The stack is not empty, perhaps, but what is there is not to be had.
        if locked.state.paused || locked.is_slow(Slow::RUNTIMES) {
            locked.set_slow(Slow::WAITERS);
            return Ok(None);
        }
        if locked.set_waiters_if_empty() {
            return Ok(None);
        }
    }
}

/// Takes an idle resource that may be lent on this home, unless somebody waits for such a one.
pub(crate) fn pop_for<M: Manager>(locked: &mut Locked<'_, M>, home: HomeId) -> Option<Claimed<M>> {
    if locked.state.paused || locked.state.closed {
        return None;
    }
    if !locked.is_slow(Slow::RUNTIMES) {
        return if locked.queue.is_empty() { locked.pop_idle() } else { None };
    }
    let mut is_waited_for = false;
    locked.queue.visit(|entry| {
        is_waited_for = fits(entry.home, home);
        if is_waited_for { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if is_waited_for { None } else { locked.pop_idle_where(|meta| fits_slot(meta, home)) }
}

/// Whether creating has failed for good, is not tried now, and nothing is alive that could serve anybody.
fn is_hopeless<M: Manager>(locked: &Locked<'_, M>) -> bool {
    let state = &locked.state;
    state.fails_for_good && state.total == state.closing && state.is_pausing(locked.core().ext.clock.now())
}

/// Whether as many wait as may, besides those for whom there is room or something on its way.
fn is_saturated<M: Manager>(locked: &Locked<'_, M>) -> bool {
    let state = &locked.state;
    let max_waiting = locked.core().ext.config.max_waiting;
    let room = state.max_size.saturating_sub(state.total);
    let coming = if state.paused { 0 } else { room + state.creating + state.busy };
    locked.queue.len() >= max_waiting.saturating_add(coming)
}
