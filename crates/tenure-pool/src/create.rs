//! Creating: for the demand, never for a single waiter.
//!
//! A get that finds nothing idle waits; what it waits for is any resource. How many creates run is decided
//! here from how many wait, how many resources are on their way, the room left, and whether creating works.
//!
//! # Invariants
//! 1. A create belongs to the pool. Nothing that happens to a get stops it.
//! 2. Before each attempt the need is looked at again: if returned resources have served the demand, the
//!    attempt is not made.
//! 3. From a failure until the next success at most one create that was not under way is tried at a time, after a pause.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::sleep_until;

use crate::budget;
use crate::builder::load;
use crate::clock::{NEVER, between, nanos};
use crate::event::Event;
use crate::guarded::{Failed, guarded};
use crate::manager::{CreateContext, Manager, Why};
use crate::raw::Exclusive;
use crate::shared::{Cargo, Claimed, Locked, Shared, flag, phase};
use crate::status::count;
use crate::upkeep::wake_all;
use crate::work::{Kind, Placed, Work, place};

/// How many resources are wanted beyond those there are: one for each waiter, and the minimum.
fn wanted<M: Manager>(locked: &Locked<'_, M>) -> usize {
    if locked.state.closed {
        return 0;
    }
    let waiting = if locked.state.paused { 0 } else { locked.queue.len() };
    let min_idle = locked.core().ext.config.min_idle;
    if min_idle == 0 {
        return waiting;
    }
    let is_idle = |meta: &&crate::raw::Meta| {
        meta.phase.load(Ordering::Relaxed) == phase::READY && meta.holder().is_none()
    };
    waiting + min_idle.saturating_sub(locked.metas().filter(is_idle).count())
}

/// Claims a slot for each create that should be started now; they are to be given to [`start`] without the
/// lock.
pub(crate) fn demand<M: Manager>(locked: &mut Locked<'_, M>) -> Vec<Claimed<M>> {
    let parallel = locked.core().ext.config.parallel_creates;
    let state = &locked.state;
    let parallel = if state.failures > 0 { 1 } else { parallel };
    let room = state.max_size.saturating_sub(state.total);
    let count = room.min(parallel.saturating_sub(state.creating));
    if count == 0 {
        return Vec::new();
    }
    let count = count.min(wanted(locked).saturating_sub(locked.state.creating + locked.state.busy));
    (0..count).map_while(|_| reserve(locked)).collect()
}

/// Claims a slot for one create or for a resource from outside.
pub(crate) fn reserve<M: Manager>(locked: &mut Locked<'_, M>) -> Option<Claimed<M>> {
    if !budget::take_unit(locked) {
        return None;
    }
    let claim = locked.reserve()?;
    claim.meta().phase.store(phase::CREATING, Ordering::Relaxed);
    locked.state.total += 1;
    locked.state.creating += 1;
    Some(claim)
}

/// Starts a create in each of the slots.
pub(crate) fn start<M: Manager>(shared: &Arc<Shared<M>>, claims: Vec<Claimed<M>>) {
    if let Some(membership) = shared.ext.membership.get() {
        membership.budget.make_room();
    }
    if claims.is_empty() {
        return;
    }
    let works: Vec<_> = claims.into_iter().map(|claim| Work::new(claim, Kind::Creating)).collect();
    for work in works {
        shared.spawn(create(work));
    }
}

/// What a creator is to do next.
enum Step {
    Stop,
    Pause(u64),
    Attempt { context: CreateContext, generation: u64 },
}

fn next_step<M: Manager>(shared: &Arc<Shared<M>>) -> Step {
    let now = shared.ext.clock.now();
    let mut locked = shared.lock();
    let others = locked.state.creating - 1 + locked.state.busy;
    if wanted(&locked) <= others || locked.state.total > locked.state.max_size {
        return Step::Stop;
    }
    if locked.state.failures > 0 && locked.state.retry_at > now {
        return Step::Pause(locked.state.retry_at);
    }
    let context = CreateContext::new(locked.state.next_id(), locked.state.failures);
    Step::Attempt { context, generation: locked.state.generation }
}

async fn create<M: Manager>(work: Work<M>) {
    let shared = work.shared();
    let ext = &shared.ext;
    loop {
        let (context, generation) = match next_step(&shared) {
            Step::Stop => return work.vacate(false),
            Step::Pause(until) => {
                let pause = sleep_until(ext.clock.instant(until));
                unless_revoked(&ext.revoked, pause).await;
                continue;
            }
            Step::Attempt { context, generation } => (context, generation),
        };
        count(&ext.counts.create_attempts);
        let began = ext.clock.now();
        let permanent = |error: &M::Error| ext.manager.is_permanent(error);
        let call = pin!(async { ext.manager.create(context).await });
        let attempt = guarded(&ext.tuning.create, permanent, call);
        let Some(created) = unless_revoked(&ext.revoked, attempt).await else {
            return work.vacate(false);
        };
        match created {
            Ok(resource) => return succeed(work, resource, context.id, generation, began),
            Err(failed) => {
                if !fail(&shared, *failed, context.failures) {
                    return work.vacate(false);
                }
            }
        }
    }
}

/// Awaits the future, unless a closing pool has run out of patience.
async fn unless_revoked<F: Future>(revoked: &SetOnce<()>, future: F) -> Option<F::Output> {
    let (mut future, mut revoked) = (pin!(future), pin!(revoked.wait()));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => revoked.as_mut().poll(cx).map(|_| None),
    })
    .await
}

/// Puts a new resource into its slot and gives it to whoever needs it.
fn succeed<M: Manager>(mut work: Work<M>, resource: M::Resource, id: u64, generation: u64, began: u64) {
    let shared = work.shared();
    let now = shared.ext.clock.now();
    shared.ext.timings.create.record(between(began, now));
    shared.ext.emit(&Event::Created { id, took: between(began, now) });
    furnish(&mut work, resource, id, generation, now);
    let mut locked = shared.lock();
    locked.state.failures = 0;
    locked.state.last_error = None;
    locked.state.fails_for_good = false;
    let claim = work.finish_locked(&mut locked);
    let placed = if generation < locked.state.generation {
        Placed::retire(claim, Why::Invalidated)
    } else {
        place(&mut locked, claim)
    };
    let creators = demand(&mut locked);
    drop(locked);
    placed.conclude();
    start(&shared, creators);
    shared.ext.changed.notify_waiters();
    shared.rouse();
}

/// Puts a resource into a slot and writes down what is known of it.
pub(crate) fn furnish<M: Manager>(
    work: &mut Work<M>,
    resource: M::Resource,
    id: u64,
    generation: u64,
    now: u64,
) {
    let shared = work.shared();
    let lifetime = load(&shared.ext.tuning.lifetime);
    let expires = if lifetime == NEVER {
        NEVER
    } else {
        let lifetime = Duration::from_nanos(lifetime);
        now.saturating_add(nanos(shared.lock().state.random.shorten(lifetime, 0.1)))
    };
    let always = if load(&shared.ext.tuning.check_after) == 0 { flag::ALWAYS } else { 0 };
    work.claim_mut().fill(Cargo { resource, scratch: Exclusive::new(None) });
    let meta = work.claim().meta();
    meta.flags.store(always, Ordering::Relaxed);
    meta.stamp.store(now, Ordering::Relaxed);
    meta.uses.store(0, Ordering::Relaxed);
    meta.created.store(now, Ordering::Relaxed);
    meta.expires.store(expires, Ordering::Relaxed);
    meta.checked.store(now, Ordering::Relaxed);
    meta.generation.store(generation, Ordering::Relaxed);
    meta.id.store(id, Ordering::Relaxed);
    meta.set_holder(None);
    meta.phase.store(phase::READY, Ordering::Relaxed);
    count(&shared.ext.counts.opened);
}

/// Notes a failed create; tells whether this creator is the one to try again.
fn fail<M: Manager>(shared: &Arc<Shared<M>>, failed: Failed, failures_before: u32) -> bool {
    let ext = &shared.ext;
    count(&ext.counts.create_failures);
    let now = ext.clock.now();
    let error = Arc::new(failed.error);
    let mut locked = shared.lock();
    let state = &mut locked.state;
    // Attempts that ran side by side and failed together are one failure.
    if state.failures == failures_before {
        state.failures = state.failures.saturating_add(1);
        let (first, most) = ext.config.backoff;
        let doubled = first.saturating_mul(1_u32.checked_shl(state.failures - 1).unwrap_or(u32::MAX));
        let pause = state.random.vary(doubled.min(most), 0.2);
        state.retry_at = now.saturating_add(nanos(pause));
    }
    state.last_error = Some(Arc::clone(&error));
    state.fails_for_good = failed.is_permanent;
    let (failures, retry_after) = (state.failures, between(now, state.retry_at));
    let goes_on = state.creating == 1;
    let is_hopeless = failed.is_permanent && state.total == state.creating + state.closing;
    let wakers = if is_hopeless {
        let wakers = locked.queue.fail_where(|_| Some(crate::get::FAILED_CREATE));
        locked.settle();
        wakers
    } else {
        Vec::new()
    };
    drop(locked);
    wake_all(wakers);
    ext.changed.notify_waiters();
    ext.emit(&Event::CreateFailed { error: &error, failures, retry_after });
    goes_on
}
