//! Upkeep: a keeper for each home, which keeps the time.
//!
//! It advances the coarse clock, ends waits that are over, marks idle resources as stale, closes those that
//! are too old or idle for too long, keeps others alive, makes up the minimum, starts creates after their pause,
//! notes what is stuck, and reports leases that are held for too long. While nothing is lent and nothing is fresh it
//! sleeps until the next of these is due. All keepers of a pool do the same; what one has done, the others find done.
//!
//! # Invariants
//! 1. It keeps the pool alive only while it works, never while it sleeps.
//! 2. If it ends before the pool, with its runtime, the pool [leaves](Shared::leave) that home.
//! 3. It falls asleep only if the pass was closed, and nothing was lent otherwise, for a whole tick: so nothing is
//!    lent while it sleeps but by who wakes it.
//! 4. A signal that comes while it works is not lost: it begins to listen before it looks.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::budget;
use crate::clock::{NEVER, TICK, nanos};
use crate::codel;
use crate::create;
use crate::event::Event;
use crate::home::{self, HomeId};
use crate::manager::{Manager, Why};
use crate::raw::Meta;
use crate::settings::{Order, load};
use crate::shared::{Shared, flag, phase};
use crate::status::count;
use crate::tend::{Task, tend_later};
use crate::wait::{FAILED_TIMEOUT, wake_all};
use crate::work::{doom, retire};

/// What a keeper holds while it sleeps.
struct Keeper<M: Manager> {
    pool: Weak<Shared<M>>,
    signal: Arc<Notify>,
    home: HomeId,
}

impl<M: Manager> Drop for Keeper<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.pool.upgrade() {
            shared.leave(self.home);
        }
    }
}

/// Starts the keeper of a home.
pub(crate) fn keep<M: Manager>(shared: &Arc<Shared<M>>, home: HomeId, runtime: &Handle) {
    let keeper = Keeper { pool: Arc::downgrade(shared), signal: Arc::clone(&shared.ext.signal), home };
    drop(runtime.spawn(run(keeper)));
}

/// The task.
async fn run<M: Manager>(keeper: Keeper<M>) {
    loop {
        let signal = keeper.signal.notified();
        let Some(wake_at) = keeper.pool.upgrade().and_then(|shared| look(&shared, keeper.home)) else {
            return;
        };
        // Either way it is time to look again.
        drop(timeout_at(wake_at, signal).await);
    }
}

/// Does what is due. Returns when to look again, or nothing if the pool is over, or the home.
fn look<M: Manager>(shared: &Arc<Shared<M>>, home: HomeId) -> Option<Instant> {
    #[cfg(feature = "metrics")]
    crate::metrics::publish(shared);
    let ext = &shared.ext;
    let before = ext.clock.coarse();
    let now = ext.clock.now();
    make_up(shared, before, now);
    let expiry = expire(shared, now);
    let mut due = sweep(shared, now);
    let mut locked = shared.lock();
    let is_over = locked.state.closed && locked.state.total == 0;
    if is_over || !locked.state.homes.see(home, now) {
        return None;
    }
    let limit = nanos(home::SILENT_AFTER);
    let is_long_awake =
        !ext.asleep.load(Ordering::Relaxed) && now.saturating_sub(locked.state.awake_since) >= limit;
    let silent = if is_long_awake { locked.state.homes.silent(now, limit) } else { Vec::new() };
    let creators = create::demand(&mut locked, home);
    let evicted = home::make_room(&mut locked);
    let retry = if locked.state.is_pausing(now) { locked.state.retry_at } else { NEVER };
    if !due.is_awake {
        let tick_ago = now.saturating_sub(nanos(TICK));
        if ext.pass.is_open() || locked.state.roused > tick_ago {
            if ext.pass.is_open() {
                ext.pass.close();
                locked.state.roused = now;
            }
            due.is_awake = true;
        }
        ext.asleep.store(!due.is_awake, Ordering::Relaxed);
    }
    drop(locked);
    for silent in silent {
        shared.take_over(silent);
    }
    create::start(shared, creators);
    for claim in evicted {
        retire(claim, Why::OtherRuntime);
    }
    let tick = if due.is_awake { now + nanos(TICK) } else { NEVER };
    Some(ext.clock.instant(due.next.max(now + nanos(TICK)).min(expiry).min(retry).min(tick)))
}

/// Gives those more time whose wait began while the coarse clock stood still, because the runtime was blocked.
fn make_up<M: Manager>(shared: &Arc<Shared<M>>, before: u64, now: u64) {
    let lag = now.saturating_sub(before);
    if lag > 2 * nanos(TICK) {
        shared.lock().queue.amend(|entry| {
            if entry.since == before & !1 {
                entry.deadline = entry.deadline.saturating_add(lag);
            }
        });
    }
}

/// Fails the waits that are over; returns the next deadline.
fn expire<M: Manager>(shared: &Arc<Shared<M>>, now: u64) -> u64 {
    let mut locked = shared.lock();
    let mut wakers = codel::shed(&mut locked);
    if locked.state.next_expiry > now {
        let next = locked.state.next_expiry;
        drop(locked);
        wake_all(wakers);
        return next;
    }
    let mut next = NEVER;
    let expired = locked.queue.fail_where(|entry| {
        if entry.deadline <= now {
            return Some(FAILED_TIMEOUT);
        }
        next = next.min(entry.deadline);
        None
    });
    locked.state.next_expiry = next;
    locked.settle();
    budget::note_waiters(&locked);
    drop(locked);
    wakers.extend(expired);
    wake_all(wakers);
    next
}

/// When upkeep has to look next at the slots.
struct Due {
    /// Something is lent, or idle and fresh: tick.
    is_awake: bool,
    next: u64,
}

/// What is due for one idle resource.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chore {
    Retire(Why),
    KeepAlive,
}

/// The limits of this sweep, and what it has found.
struct Sweep {
    now: u64,
    idle_limit: u64,
    keepalive: u64,
    check_after: u64,
    due: Due,
    idle: usize,
    chores: usize,
}

impl Sweep {
    /// Notes a moment that comes `limit` after `since`; tells whether it has come.
    fn is_due(&mut self, since: u64, limit: u64) -> bool {
        let moment = since.saturating_add(limit);
        if moment > self.now {
            self.due.next = self.due.next.min(moment);
        }
        moment <= self.now
    }

    /// Looks at an idle resource.
    fn idle(&mut self, meta: &Meta) {
        self.idle += 1;
        let stamp = meta.stamp.load(Ordering::Relaxed);
        if self.is_due(stamp, self.check_after) {
            if meta.flags.load(Ordering::Relaxed) & flag::STALE == 0 {
                meta.flags.fetch_or(flag::STALE, Ordering::Relaxed);
            }
        } else if self.check_after != NEVER {
            self.due.is_awake = true;
        }
        if self.chore(meta).is_some() {
            self.chores += 1;
        }
    }

    /// The idle limit of one resource: less by up to a tenth, so that those that fell idle together do not go together.
    fn idle_limit_of(&self, meta: &Meta) -> u64 {
        if self.idle_limit == NEVER {
            return NEVER;
        }
        // The golden ratio spreads consecutive numbers evenly.
        let share = (meta.id.load(Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 54;
        self.idle_limit - self.idle_limit / 10 / 1024 * share
    }

    /// What is due for an idle resource, the minimum aside.
    fn chore(&mut self, meta: &Meta) -> Option<Chore> {
        let stamp = meta.stamp.load(Ordering::Relaxed);
        let checked = meta.checked.load(Ordering::Relaxed);
        if let Some(why) = doom(meta.flags.load(Ordering::Relaxed)) {
            Some(Chore::Retire(why))
        } else if self.is_due(stamp, self.idle_limit_of(meta)) {
            Some(Chore::Retire(Why::Idle))
        } else if self.is_due(stamp.max(checked), self.keepalive) {
            Some(Chore::KeepAlive)
        } else {
            None
        }
    }
}

/// Looks at every slot.
fn sweep<M: Manager>(shared: &Arc<Shared<M>>, now: u64) -> Due {
    let ext = &shared.ext;
    let mut sweep = Sweep {
        now,
        idle_limit: load(&ext.tuning.idle),
        keepalive: load(&ext.tuning.keepalive),
        check_after: load(&ext.tuning.check_after),
        due: Due { is_awake: false, next: NEVER },
        idle: 0,
        chores: 0,
    };
    let metas = shared.lock().metas();
    for meta in metas {
        match meta.phase.load(Ordering::Relaxed) {
            phase::READY => {}
            phase::VACANT => continue,
            phase::CREATING | phase::CHECKING | phase::RESETTING => {
                sweep.due.is_awake = true;
                note_stuck(shared, meta, now);
                continue;
            }
            // It will come back, and nobody tells the keepers when.
            _ => {
                sweep.due.is_awake = true;
                continue;
            }
        }
        if sweep.is_due(meta.expires.load(Ordering::Relaxed), 0) {
            meta.flags.fetch_or(flag::EXPIRED, Ordering::Relaxed);
        }
        if meta.holder().is_some() {
            sweep.due.is_awake = true;
            look_at_holder(shared, meta);
        } else {
            sweep.idle(meta);
        }
    }
    if sweep.chores > 0 {
        sweep.due.is_awake = true;
        do_chores(shared, &mut sweep);
    }
    shrink(shared, &sweep);
    sweep.due
}

/// Notes what has been under way for so long that nobody should count on it.
fn note_stuck<M: Manager>(shared: &Arc<Shared<M>>, meta: &Meta, now: u64) {
    let is_late = |patience: u64| meta.began.load(Ordering::Relaxed).saturating_add(patience) <= now;
    if meta.flags.load(Ordering::Relaxed) & flag::STUCK != 0 || !is_late(nanos(create::STUCK_AFTER)) {
        return;
    }
    let mut locked = shared.lock();
    // Under the lock the phase of what has ended is another one.
    let patience = match meta.phase.load(Ordering::Relaxed) {
        phase::CREATING => create::patience(locked.state.create_took),
        phase::CHECKING | phase::RESETTING => nanos(create::STUCK_AFTER),
        _ => return,
    };
    if is_late(patience) && meta.flags.fetch_or(flag::STUCK, Ordering::Relaxed) & flag::STUCK == 0 {
        locked.state.stuck += 1;
    }
}

/// Closes one idle resource for each interval of the idle timeout in which there was always one too many. Where
/// idle ones are used in turn, none is ever idle for that long, however few would do.
fn shrink<M: Manager>(shared: &Arc<Shared<M>>, sweep: &Sweep) {
    let config = &shared.ext.config;
    if config.order != Order::Fifo || sweep.idle_limit == NEVER {
        return;
    }
    let mut locked = shared.lock();
    let idle = if locked.queue.is_empty() { sweep.idle } else { 0 };
    locked.state.fewest_idle = locked.state.fewest_idle.min(idle);
    if locked.state.shrink_at == NEVER {
        locked.state.shrink_at = sweep.now.saturating_add(sweep.idle_limit);
    }
    if sweep.now < locked.state.shrink_at {
        return;
    }
    let has_surplus = locked.state.fewest_idle > config.min_idle;
    locked.state.fewest_idle = usize::MAX;
    locked.state.shrink_at = sweep.now.saturating_add(sweep.idle_limit);
    let surplus = if has_surplus { locked.pop_idle() } else { None };
    drop(locked);
    if let Some(claim) = surplus {
        retire(claim, Why::Idle);
    }
}

/// Reports a lease that is held for too long.
fn look_at_holder<M: Manager>(shared: &Arc<Shared<M>>, meta: &Meta) {
    let ext = &shared.ext;
    let Some(holder) = ext.holder(meta) else {
        return;
    };
    let is_long = meta.flags.load(Ordering::Relaxed) & flag::LONG != 0;
    if is_long || nanos(holder.held) < load(&ext.tuning.leak) {
        return;
    }
    if meta.flags.fetch_or(flag::OVERDUE, Ordering::Relaxed) & flag::OVERDUE == 0 {
        count(&ext.counts.overdue);
        ext.emit(&Event::Overdue { holder });
    }
}

/// Takes out the idle resources for which something is due, those idle for longest first, and does it.
fn do_chores<M: Manager>(shared: &Arc<Shared<M>>, sweep: &mut Sweep) {
    let mut chores = Vec::new();
    {
        let mut locked = shared.lock();
        let min_idle = shared.ext.config.min_idle;
        let mut kept = locked.pop_all_idle();
        let mut left = kept.len();
        let mut place = kept.len();
        // From the bottom: in the stack those lie there that have not been used for longest.
        while place > 0 {
            place -= 1;
            let chore = sweep.chore(kept[place].meta());
            match chore {
                Some(Chore::Retire(Why::Idle)) if left <= min_idle => {}
                Some(chore) => {
                    left -= 1;
                    chores.push((kept.remove(place), chore));
                }
                None => {}
            }
        }
        locked.restore(mem::take(&mut kept));
    }
    for (claim, chore) in chores {
        match chore {
            Chore::Retire(why) => retire(claim, why),
            Chore::KeepAlive => tend_later(claim, Task::Check, Why::KeepAlive),
        };
    }
}
