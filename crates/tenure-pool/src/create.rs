//! Creating: for the demand, never for a single waiter.
//!
//! A get that finds nothing idle waits; what it waits for is any resource of its runtime. How many creates run is
//! decided here from how many wait, how many resources are on their way, the room left, and whether creating works.
//!
//! # Invariants
//! 1. A create belongs to the pool. Nothing that happens to a get stops it. When the pool closes, one that can still be
//!    counted on is awaited, and one that is stuck is dropped.
//! 2. Before each attempt the need is looked at again: if returned resources have served the demand, the
//!    attempt is not made.
//! 3. From a failure until the next success at most one create that was not under way is tried at a time, after a
//!    pause. During the pause nothing is held: no slot, no unit, no task; a keeper wakes at its end.
//! 4. What is [stuck](flag::STUCK) is no supply: another create is started beside it, if there is room.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::sleep_until;

use crate::budget;
use crate::clock::{NEVER, between, nanos};
use crate::event::Event;
use crate::guarded::{Failed, discard, guarded};
use crate::home::{HomeId, NOWHERE, fits, waiting_homes};
use crate::manager::{CreateContext, Manager, Why};
use crate::place::{Placed, place};
use crate::raw::{Exclusive, Meta, Slow};
use crate::settings::load;
use crate::shared::{Cargo, Claimed, Locked, Shared, flag, phase};
use crate::status::count;
use crate::wait::{FAILED_CREATE, wake_all};
use crate::work::{Kind, Work};

/// After how long a create, check or reset is no supply any more; a create that takes long by nature, three times as
/// long as the last one took.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How many resources are wanted for those who wait on a home and, if asked, for the minimum, and how many are on
/// their way there.
fn need<M: Manager>(locked: &Locked<'_, M>, home: HomeId, with_minimum: bool) -> (usize, usize) {
    if locked.state.closed {
        return (0, 0);
    }
    let is_only = !locked.is_slow(Slow::RUNTIMES);
    let waiting = if locked.state.paused {
        0
    } else if is_only {
        locked.queue.len()
    } else {
        let all = waiting_homes(locked).into_iter();
        all.filter(|(other, _)| fits(*other, home)).map(|(_, count)| count).sum()
    };
    let supply = if is_only {
        locked.state.supply()
    } else {
        let is_coming = |meta: &&Meta| {
            matches!(meta.phase.load(Ordering::Relaxed), phase::CREATING | phase::RESETTING)
                && meta.flags.load(Ordering::Relaxed) & flag::STUCK == 0
                && meta.home.load(Ordering::Relaxed) == home
        };
        locked.metas().filter(is_coming).count()
    };
    let missing = if with_minimum || is_only { missing_idle(locked) } else { 0 };
    (waiting + missing, supply)
}

/// How many resources are missing to the minimum.
pub(crate) fn missing_idle<M: Manager>(locked: &Locked<'_, M>) -> usize {
    let min_idle = locked.core().ext.config.min_idle;
    if min_idle == 0 {
        return 0;
    }
    let is_idle = |meta: &&Meta| meta.phase.load(Ordering::Relaxed) == phase::READY && meta.holder().is_none();
    min_idle.saturating_sub(locked.metas().filter(is_idle).count())
}

/// Claims a slot for each create that should be started now; they are to be given to [`start`] without the
/// lock. `here` is the home that the caller runs on, if it is known: the minimum is made up there.
pub(crate) fn demand<M: Manager>(locked: &mut Locked<'_, M>, here: HomeId) -> Vec<Claimed<M>> {
    let mut claims = Vec::new();
    let state = &locked.state;
    if state.closed || state.total >= state.max_size || state.homes.len() == 0 {
        return claims;
    }
    if state.failures > 0 && state.is_pausing(locked.core().ext.clock.now()) {
        return claims;
    }
    if !locked.is_slow(Slow::RUNTIMES) {
        let home = locked.state.homes.first();
        demand_at(locked, home, true, &mut claims);
        return claims;
    }
    let mut homes: Vec<_> = waiting_homes(locked).into_iter().map(|(home, _)| home).collect();
    if here != NOWHERE && !homes.contains(&here) {
        homes.push(here);
    }
    for home in homes {
        let home = if home == NOWHERE { locked.state.homes.first() } else { home };
        demand_at(locked, home, home == here, &mut claims);
    }
    claims
}

fn demand_at<M: Manager>(
    locked: &mut Locked<'_, M>,
    home: HomeId,
    with_minimum: bool,
    claims: &mut Vec<Claimed<M>>,
) {
    let (wanted, supply) = need(locked, home, with_minimum);
    let is_doubtful = locked.state.failures > 0 || locked.state.stuck > 0;
    let parallel = if is_doubtful { 1 } else { locked.core().ext.config.parallel_creates };
    for _ in supply..wanted {
        let state = &locked.state;
        // A stuck one may be a reset; then it is not a create that is spared.
        let young = state.creating.saturating_sub(state.stuck);
        if state.total >= state.max_size || young >= parallel {
            return;
        }
        let Some(claim) = reserve(locked, home) else { return };
        claims.push(claim);
    }
}

/// Claims a slot for one create or for a resource from outside.
pub(crate) fn reserve<M: Manager>(locked: &mut Locked<'_, M>, home: HomeId) -> Option<Claimed<M>> {
    if !budget::take_unit(locked) {
        return None;
    }
    let Some(claim) = locked.reserve() else {
        budget::give_unit_back(locked);
        return None;
    };
    let meta = claim.meta();
    meta.home.store(home, Ordering::Relaxed);
    meta.began.store(locked.core().ext.clock.now(), Ordering::Relaxed);
    meta.phase.store(phase::CREATING, Ordering::Relaxed);
    locked.state.total += 1;
    locked.state.creating += 1;
    Some(claim)
}

/// Starts a create in each of the slots, on its home.
pub(crate) fn start<M: Manager>(shared: &Arc<Shared<M>>, claims: Vec<Claimed<M>>) {
    if let Some(membership) = shared.ext.membership.get() {
        membership.budget.make_room();
    }
    if claims.is_empty() {
        return;
    }
    let works: Vec<_> = claims.into_iter().map(|claim| Work::new(claim, Kind::Creating)).collect();
    for work in works {
        shared.spawn_at(work.claim().home(), create(work));
    }
}

/// What an attempt begins with, unless it is not needed any more.
fn begin_attempt<M: Manager>(shared: &Arc<Shared<M>>, meta: &Meta) -> Option<(CreateContext, u64)> {
    let now = shared.ext.clock.now();
    let mut locked = shared.lock();
    let (wanted, supply) = need(&locked, meta.home.load(Ordering::Relaxed), true);
    let is_counted = meta.flags.load(Ordering::Relaxed) & flag::STUCK == 0;
    let others = supply.saturating_sub(usize::from(is_counted));
    if wanted <= others || locked.state.total > locked.state.max_size || locked.state.is_pausing(now) {
        return None;
    }
    meta.began.store(now, Ordering::Relaxed);
    let context = CreateContext::new(locked.state.next_id(), locked.state.failures);
    Some((context, locked.state.generation))
}

async fn create<M: Manager>(work: Work<M>) {
    let shared = work.shared();
    let ext = &shared.ext;
    let Some((context, generation)) = begin_attempt(&shared, work.claim().meta()) else {
        return work.vacate(false);
    };
    count(&ext.counts.create_attempts);
    let began = ext.clock.now();
    let created = {
        let permanent = |error: &M::Error| ext.manager.is_permanent(error);
        let call = pin!(Some(async { ext.manager.create(context).await }));
        while_wanted(&shared, began, guarded(&ext.tuning.create, permanent, call)).await
    };
    match created {
        // The pool closes, and nobody wants it any more.
        None => work.vacate(false),
        Some(Ok(resource)) => succeed(work, resource, context.id, generation, began),
        Some(Err(failed)) => fail(work, *failed, context.failures),
    }
}

/// Awaits an attempt; when the pool closes, for no longer than it could be counted on.
async fn while_wanted<M: Manager, F: Future>(
    shared: &Arc<Shared<M>>,
    began: u64,
    attempt: F,
) -> Option<F::Output> {
    let mut attempt = pin!(attempt);
    let mut unwanted = pin!(unconstrained(async {
        shared.ext.closing.wait().await;
        let patience = patience(shared.lock().state.create_took);
        let end = pin!(sleep_until(shared.ext.clock.instant(began.saturating_add(patience))));
        let revoked = pin!(shared.ext.revoked.wait());
        first(end, revoked).await;
    }));
    poll_fn(|cx| match attempt.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => unwanted.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Awaits one of the two.
async fn first<T>(mut one: Pin<&mut impl Future>, mut other: Pin<&mut impl Future<Output = T>>) {
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => other.as_mut().poll(cx).map(|_| ()),
    })
    .await;
}

/// For how long a create is counted on, by how long the last one took that succeeded (nanoseconds).
pub(crate) fn patience(last_took: u64) -> u64 {
    nanos(STUCK_AFTER).max(last_took.saturating_mul(3))
}

/// Puts a new resource into its slot and gives it to whoever needs it.
fn succeed<M: Manager>(mut work: Work<M>, resource: M::Resource, id: u64, generation: u64, began: u64) {
    let shared = work.shared();
    let now = shared.ext.clock.now();
    shared.ext.record_create(between(began, now));
    shared.ext.emit(&Event::Created { id, took: between(began, now) });
    furnish(&mut work, resource, id, generation, now);
    let mut locked = shared.lock();
    locked.state.failures = 0;
    locked.state.fails_for_good = false;
    locked.state.create_took = now.saturating_sub(began);
    let old_error = locked.state.last_error.take();
    let claim = work.finish_locked(&mut locked);
    let placed = if generation < locked.state.generation {
        Placed::retire(claim, Why::Invalidated)
    } else {
        place(&mut locked, claim)
    };
    let creators = demand(&mut locked, NOWHERE);
    drop(locked);
    discard(old_error);
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
    work.claim_mut().fill(Cargo { resource, scratch: Exclusive::new(None) });
    let meta = work.claim().meta();
    // What concerns the slot stays: that it is stuck, that its runtime is gone.
    meta.flags.fetch_and(flag::STUCK | flag::ORPHAN, Ordering::Relaxed);
    meta.flags.fetch_or(shared.ext.standing_flags(), Ordering::Relaxed);
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

/// Notes a failed create, and gives its slot on.
fn fail<M: Manager>(work: Work<M>, failed: Failed, failures_before: u32) {
    let shared = work.shared();
    let ext = &shared.ext;
    count(&ext.counts.create_failures);
    let now = ext.clock.now();
    let error = Arc::new(failed.error);
    let mut locked = shared.lock();
    let state = &mut locked.state;
    // Attempts that ran side by side and failed together are one failure.
    if state.failures == failures_before {
        let (first, most) = ext.config.backoff;
        // Nobody has asked since long ago: this is the first failure of another series.
        let is_old = now.saturating_sub(state.failed_at) > nanos(most.saturating_mul(4));
        state.failures = if is_old { 1 } else { state.failures.saturating_add(1) };
        let doubled = first.saturating_mul(1_u32.checked_shl(state.failures - 1).unwrap_or(u32::MAX));
        let pause = state.random.vary(doubled.min(most), 0.2);
        state.retry_at = now.saturating_add(nanos(pause));
    }
    state.failed_at = now;
    state.fails_for_good = failed.is_permanent || ext.config.fail_fast;
    let old_error = state.last_error.replace(Arc::clone(&error));
    let (failures, retry_after) = (state.failures, between(now, state.retry_at));
    // By the choice to fail fast, others that are under way are waited for; a permanent error is theirs, too.
    let is_last = failed.is_permanent || state.creating.saturating_sub(state.stuck) <= 1;
    let is_hopeless = state.fails_for_good && is_last && state.total == state.creating + state.closing;
    let wakers = if is_hopeless {
        let wakers = locked.queue.fail_where(|_| Some(FAILED_CREATE));
        locked.settle();
        budget::note_waiters(&locked);
        wakers
    } else {
        Vec::new()
    };
    drop(locked);
    discard(old_error);
    wake_all(wakers);
    ext.emit(&Event::CreateFailed { error: &error, failures, retry_after });
    discard(error);
    // The room is given on: who waits meanwhile may be another key's, or a resource from outside.
    work.vacate(false);
    ext.changed.notify_waiters();
    // A keeper is to wake when the pause is over.
    ext.signal.notify_waiters();
}
