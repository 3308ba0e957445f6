//! Tending: the check, reset and hooks of a resource, and what comes of them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::event::Event;
use crate::guarded::{Failed, discard, guarded};
use crate::manager::{Manager, Why};
use crate::shared::{Claimed, Shared, flag, phase};
use crate::status::count;
use crate::work::{Kind, Orphaned, Work, give_back, retire};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Check,
    Reset,
    /// The hook of a return alone.
    Return,
}

/// The step of a task that is under way, to know what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Check,
    Reset,
    Hook,
}

/// Checks or resets the resource of a claim in the background, then gives it back or closes it.
pub(crate) fn tend_later<M: Manager>(claim: Claimed<M>, task: Task, why: Why) -> Orphaned<M> {
    let home = claim.home();
    let work = begin_tending(claim, task);
    let shared = work.shared();
    shared.spawn(home, tend_and_give_back(work, task, why));
    shared.orphaned()
}

/// The phase is noted at once, so that a slot whose task has not run yet is seen neither as idle nor as lent.
fn begin_tending<M: Manager>(claim: Claimed<M>, task: Task) -> Work<M> {
    claim.meta().phase.store(phase_of(task), Ordering::Relaxed);
    claim.meta().set_holder(None);
    Work::begin(claim, Kind::Busy)
}

async fn tend_and_give_back<M: Manager>(work: Work<M>, task: Task, why: Why) {
    if let Some(work) = tend(work, task, why).await {
        give_back(work.finish());
    }
}

fn phase_of(task: Task) -> u32 {
    if task == Task::Check { phase::CHECKING } else { phase::RESETTING }
}

/// The steps of a task on a resource with these flags.
#[derive(Clone, Copy)]
struct Steps {
    checks: bool,
    resets: bool,
    on_get: bool,
    on_return: bool,
}

impl Steps {
    fn new(task: Task, why: Why, flags: u32, uses: u64) -> Self {
        let is_checkout = why == Why::Checkout;
        // One that was never lent was made just now.
        let is_due = flags & flag::ORPHAN != 0 || (flags & (flag::STALE | flag::ALWAYS) != 0 && uses != 0);
        // One that was added has not been lent.
        let was_lent = uses != 0
            && matches!(why, Why::Returned | Why::Failed | Why::Panicked | Why::Cancelled | Why::Dropped);
        Self {
            checks: task == Task::Check && (!is_checkout || is_due),
            resets: task == Task::Reset,
            on_get: is_checkout && flags & flag::ON_GET != 0,
            on_return: was_lent && flags & flag::ON_RETURN != 0,
        }
    }
}

/// Checks or resets a resource, and calls its hooks. `None` if that failed; it is being closed then.
pub(crate) async fn tend<M: Manager>(mut work: Work<M>, task: Task, why: Why) -> Option<Work<M>> {
    let (core, meta, cargo) = work.claim_mut().parts();
    let ext = &core.ext;
    let began = ext.clock.coarse();
    let Some(cargo) = cargo else {
        return Some(work);
    };
    let resource = &mut cargo.resource;
    meta.phase.store(phase_of(task), Ordering::Relaxed);
    let flags = meta.flags.load(Ordering::Relaxed);
    let steps = Steps::new(task, why, flags, meta.uses.load(Ordering::Relaxed));
    let under_way = AtomicU8::new(if task == Task::Check { Step::Check } else { Step::Reset } as u8);
    let result = {
        let limit = if task == Task::Check { &ext.tuning.check } else { &ext.tuning.reset };
        let call = pin!(Some(async {
            if steps.checks {
                ext.manager.check(resource, ext.context(meta, why)).await?;
            }
            if steps.resets {
                count(&ext.counts.resets);
                ext.manager.reset(resource, ext.context(meta, why)).await?;
            }
            if steps.on_get {
                under_way.store(Step::Hook as u8, Ordering::Relaxed);
                ext.manager.on_get(resource, ext.context(meta, why)).await?;
            }
            if steps.on_return {
                under_way.store(Step::Hook as u8, Ordering::Relaxed);
                ext.manager.on_return(resource, ext.context(meta, why)).await?;
            }
            Ok(())
        }));
        guarded(limit, |_: &M::Error| false, call).await
    };
    match result {
        Ok(()) => {
            let meta = work.claim().meta();
            meta.phase.store(phase::READY, Ordering::Relaxed);
            if steps.checks || steps.resets {
                meta.checked.store(work.claim().core().ext.clock.coarse(), Ordering::Relaxed);
            }
            let flags = meta.flags.load(Ordering::Relaxed);
            if flags & (flag::STALE | flag::ORPHAN) != 0 {
                settle_flags(&work, flags);
            }
            Some(work)
        }
        Err(failed) => {
            let step = match under_way.into_inner() {
                step if step == Step::Check as u8 => Step::Check,
                step if step == Step::Reset as u8 => Step::Reset,
                _ => Step::Hook,
            };
            give_up(work, step, failed, why, began);
            None
        }
    }
}

/// Notes that a resource with these flags has proved good.
fn settle_flags<M: Manager>(work: &Work<M>, flags: u32) {
    let meta = work.claim().meta();
    if flags & flag::ORPHAN != 0 {
        // It is good here, so it belongs here from now on.
        meta.home.store(work.shared().enter(None), Ordering::Relaxed);
    }
    meta.flags.fetch_and(!(flag::STALE | flag::ORPHAN), Ordering::Relaxed);
}

/// Closes a resource that did not come through.
#[cold]
fn give_up<M: Manager>(work: Work<M>, step: Step, failed: Box<Failed>, why: Why, began: u64) {
    let shared = work.shared();
    let ext = &shared.ext;
    let id = work.claim().meta().id.load(Ordering::Relaxed);
    let error = &failed.error;
    match step {
        Step::Check => {
            count(&ext.counts.check_failures);
            ext.emit(&Event::CheckFailed { id, error });
            retire(work.finish(), Why::CheckFailed);
            // What a user has left tells nothing of the others.
            if matches!(why, Why::Checkout | Why::KeepAlive) {
                suspect_others(&shared, began);
            }
        }
        Step::Reset => {
            count(&ext.counts.reset_failures);
            ext.emit(&Event::ResetFailed { id, error });
            retire(work.finish(), Why::ResetFailed);
        }
        Step::Hook => {
            count(&ext.counts.hook_failures);
            ext.emit(&Event::HookFailed { id, error });
            retire(work.finish(), Why::HookFailed);
        }
    }
    discard(failed);
}

/// After a failed check: what was last seen good before it is suspect, and is checked at once, all side by
/// side, so that an outage costs the next gets one check and not one for each resource.
fn suspect_others<M: Manager>(shared: &Arc<Shared<M>>, since: u64) {
    let suspects: Vec<_>;
    {
        let mut locked = shared.lock();
        let all = locked.pop_all_idle();
        let (known, unknown) =
            all.into_iter().partition(|claim| claim.meta().checked.load(Ordering::Relaxed) > since);
        locked.restore(known);
        suspects = unknown;
    }
    for claim in suspects {
        tend_later(claim, Task::Check, Why::Suspect);
    }
}
