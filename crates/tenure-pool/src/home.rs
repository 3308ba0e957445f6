//! The runtimes a pool is used from.
//!
//! A resource belongs to the runtime it was made on, its *home*: its sockets and timers are driven there, and end
//! with it. So a resource is lent on its own runtime, and what another runtime needs is made there. A runtime that
//! ends takes neither the waiters nor the room of the others along.
//!
//! # Invariants
//! 1. Whoever waits on a runtime, and whatever is made there, has a home in the list, and each home has a keeper: a
//!    task on that runtime (`upkeep`). It is dropped with the runtime; that is how the pool learns of its end.
//! 2. A resource whose home has left the list bears [`flag::ORPHAN`] until it has passed a check on the runtime that
//!    takes it over.
//! 3. While the pass is not 0 there is one home, its keeper is awake, and who holds the pass runs on that home. Only
//!    these take the fast path. A pass is given under the lock, and a number is given once in a process.
//! 4. The fast path is closed by [`Slow::RUNTIMES`] while there are several homes.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::budget;
use crate::clock::NEVER;
use crate::create;
use crate::guarded::discard;
use crate::job::Runner;
use crate::manager::Manager;
use crate::place::serve;
use crate::raw::{Claim, Meta, Slow};
use crate::settings::load;
use crate::shared::{Claimed, Locked, Shared, flag, phase};
use crate::wait::{FAILED_RUNTIME, wake_all};

/// After how long without a sign of it a runtime is taken to be not driven.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(2);
/// The most that work may take which was taken over.
const TAKEN_OVER_LIMIT: Duration = Duration::from_secs(5);

/// The number of a home in its pool; [`NOWHERE`] is none.
pub(crate) type HomeId = u32;
pub(crate) const NOWHERE: HomeId = 0;

/// One runtime.
#[derive(Clone, Debug)]
struct Home {
    id: HomeId,
    runtime: Handle,
    /// When its keeper last looked.
    seen: u64,
}

/// The runtimes a pool is used from, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    list: Vec<Home>,
    last: HomeId,
}

impl Homes {
    fn of(&self, runtime: &Handle) -> Option<HomeId> {
        self.list.iter().find(|home| home.runtime.id() == runtime.id()).map(|home| home.id)
    }

    pub(crate) fn contains(&self, id: HomeId) -> bool {
        self.list.iter().any(|home| home.id == id)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The oldest home, or [`NOWHERE`].
    pub(crate) fn first(&self) -> HomeId {
        self.list.first().map_or(NOWHERE, |home| home.id)
    }

    /// The runtime of this home, or of the oldest one for [`NOWHERE`]. Not to be dropped under the lock.
    fn runtime(&self, id: HomeId) -> Option<Handle> {
        let home = self.list.iter().find(|home| id == NOWHERE || home.id == id)?;
        Some(home.runtime.clone())
    }

    fn add(&mut self, runtime: Handle, now: u64) -> HomeId {
        self.last = self.last.wrapping_add(1).max(1);
        self.list.push(Home { id: self.last, runtime, seen: now });
        self.last
    }

    /// Notes that the keeper of a home looks; tells whether it is in the list still.
    pub(crate) fn see(&mut self, id: HomeId, now: u64) -> bool {
        match self.list.iter_mut().find(|home| home.id == id) {
            Some(home) => {
                home.seen = now;
                true
            }
            None => false,
        }
    }

    /// The homes whose keepers have not looked for so long.
    pub(crate) fn silent(&self, now: u64, limit: u64) -> Vec<HomeId> {
        let is_silent = |home: &&Home| home.seen.saturating_add(limit) <= now;
        self.list.iter().filter(is_silent).map(|home| home.id).collect()
    }

    fn remove(&mut self, id: HomeId) -> Option<Home> {
        let place = self.list.iter().position(|home| home.id == id)?;
        Some(self.list.remove(place))
    }
}

/// Whether what belongs to one home may be used on another: it is the same, or one of them is not known.
#[inline]
pub(crate) fn fits(one: HomeId, other: HomeId) -> bool {
    one == other || one == NOWHERE || other == NOWHERE
}

/// Whether the resource of a slot may be lent on this home, after a check at least.
pub(crate) fn fits_slot(meta: &Meta, home: HomeId) -> bool {
    is_orphan(meta) || fits(meta.home.load(Ordering::Relaxed), home)
}

/// How many pools a thread remembers to hold the pass of.
const REMEMBERED: usize = 8;

#[derive(Clone, Copy)]
struct Held {
    number: u64,
    /// On a runtime of one thread: the waker of the future that held it. Two such runtimes may take turns on a thread,
    /// but not within a future, and one that has not its turn drives nothing. A runtime of several threads always does.
    waker: usize,
}

/// The waker that stands for all: on a worker of a runtime of several threads.
const ANY: usize = usize::MAX;

thread_local! {
    static HELD: [Cell<Held>; REMEMBERED] =
        const { [const { Cell::new(Held { number: u64::MAX, waker: 0 }) }; REMEMBERED] };
}

/// The permission to take the fast path; see the invariants.
#[derive(Debug)]
pub(crate) struct Pass {
    /// 0 is none.
    number: AtomicU64,
    place: usize,
}

impl Pass {
    pub(crate) fn new() -> Self {
        static POOLS: AtomicUsize = AtomicUsize::new(0);
        Self { number: AtomicU64::new(0), place: POOLS.fetch_add(1, Ordering::Relaxed) % REMEMBERED }
    }

    /// Whether the future with this waker, which is polled on this thread, holds it.
    #[inline]
    pub(crate) fn is_held(&self, waker: &Waker) -> bool {
        // Relaxed: what it permits is ordered by the head of the stack.
        let number = self.number.load(Ordering::Relaxed);
        HELD.with(|held| {
            let held = held[self.place].get();
            held.number == number && (held.waker == ANY || held.waker == waker.data().addr())
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.number.load(Ordering::Relaxed) != 0
    }

    /// Takes it from all who hold it. The lock is held.
    pub(crate) fn close(&self) {
        self.number.store(0, Ordering::Relaxed);
    }

    /// Gives it to the future with this waker, if that can be told from those of other runtimes. The lock is held.
    fn give(&self, waker: &Waker, runtime: &Handle) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let is_alone = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        // A worker is one of its runtime for good; the thread that blocks on one may block on another next.
        if !is_alone && tokio::task::try_id().is_none() {
            return;
        }
        if !self.is_open() {
            self.number.store(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        }
        let waker = if is_alone { waker.data().addr() } else { ANY };
        let number = self.number.load(Ordering::Relaxed);
        HELD.with(|held| held[self.place].set(Held { number, waker }));
    }
}

impl<M: Manager> Shared<M> {
    /// The home of the current runtime, which is made and kept if it is new, or [`NOWHERE`]; wakes the keepers. A future
    /// that names its waker is given the pass, if there is one to give. The lock must not be held.
    pub(crate) fn enter(self: &Arc<Self>, waker: Option<&Waker>) -> HomeId {
        let Ok(runtime) = Handle::try_current() else {
            // Nobody may keep the time here.
            self.ext.clock.now();
            self.rouse();
            return NOWHERE;
        };
        let mut locked = self.lock();
        let known = locked.state.homes.of(&runtime);
        let home = match known {
            Some(home) => home,
            None => {
                let home = locked.state.homes.add(runtime.clone(), self.ext.clock.now());
                self.ext.pass.close();
                if locked.state.homes.len() > 1 {
                    locked.set_slow(Slow::RUNTIMES);
                }
                home
            }
        };
        let slept = locked.rouse();
        if let (Some(waker), 1, false) = (waker, locked.state.homes.len(), locked.state.closed) {
            self.ext.pass.give(waker, &runtime);
        }
        drop(locked);
        if slept {
            self.ext.clock.now();
            self.ext.signal.notify_waiters();
        }
        if known.is_none() {
            crate::upkeep::keep(self, home, &runtime);
        }
        home
    }

    /// Wakes the keepers, if they sleep.
    pub(crate) fn rouse(self: &Arc<Self>) {
        let slept = self.lock().rouse();
        if slept {
            self.ext.clock.now();
            self.ext.signal.notify_waiters();
        }
    }

    /// Starts a task of the pool: on the current runtime, which is known to run; else on that home; else on any. The
    /// lock must not be held: without a runtime the future is dropped here, and the guards in it settle the accounts.
    pub(crate) fn spawn(self: &Arc<Self>, home: HomeId, task: impl Future<Output = ()> + Send + 'static) {
        let here = self.enter(None);
        self.spawn_at(if here == NOWHERE { home } else { here }, task);
    }

    /// As [`spawn`](Self::spawn), but not on the current runtime unless that is the home.
    pub(crate) fn spawn_at(self: &Arc<Self>, home: HomeId, task: impl Future<Output = ()> + Send + 'static) {
        let runner = Runner::new(home, task);
        let runtime = {
            let mut locked = self.lock();
            locked.state.jobs.add(runner.job());
            let homes = &locked.state.homes;
            homes.runtime(home).or_else(|| homes.runtime(NOWHERE))
        };
        match runtime {
            Some(runtime) => drop(runtime.spawn(runner)),
            None => discard(runner),
        }
    }

    /// Takes over, on this home, what others have begun whose runtimes are alive and not driven. The lock must not be
    /// held.
    pub(crate) fn take_over(self: &Arc<Self>, silent: HomeId) {
        let jobs = self.lock().state.jobs.all();
        self.leave(silent);
        // A limit of its own may stand still with its runtime.
        let tuning = &self.ext.tuning;
        let limits = [&tuning.create, &tuning.check, &tuning.reset, &tuning.close].map(load);
        let longest = limits.into_iter().filter(|&limit| limit != NEVER).max();
        let limit = longest.map_or(TAKEN_OVER_LIMIT, |limit| Duration::from_nanos(limit).min(TAKEN_OVER_LIMIT));
        for job in jobs {
            if let Some(work) = job.steal(silent) {
                drop(tokio::spawn(async move { drop(tokio::time::timeout(limit, work).await) }));
            }
        }
    }

    /// A runtime is gone. Who waits there is told to ask again; what belongs there is suspect; the others go on.
    pub(crate) fn leave(self: &Arc<Self>, home: HomeId) {
        let mut locked = self.lock();
        let Some(gone) = locked.state.homes.remove(home) else {
            return;
        };
        self.ext.pass.close();
        for meta in locked.metas() {
            let is_alive = meta.phase.load(Ordering::Relaxed) != phase::VACANT;
            if is_alive && meta.home.load(Ordering::Relaxed) == home {
                meta.flags.fetch_or(flag::ORPHAN, Ordering::Relaxed);
            }
        }
        let is_last = locked.state.homes.len() == 0;
        let mut wakers =
            locked.queue.fail_where(|entry| (entry.home == home || is_last).then_some(FAILED_RUNTIME));
        locked.settle();
        budget::note_waiters(&locked);
        while !locked.queue.is_empty()
            && let Some(claim) = locked.pop_idle_where(is_orphan)
        {
            match serve(&mut locked, claim) {
                Ok(waker) => wakers.extend(waker),
                Err(claim) => locked.push_idle(claim),
            }
        }
        if locked.state.homes.len() <= 1 {
            locked.clear_slow(Slow::RUNTIMES);
        }
        let creators = create::demand(&mut locked, NOWHERE);
        drop(locked);
        // Without the lock: it may be the last one, and free what the runtime left.
        drop(gone);
        wake_all(wakers);
        create::start(self, creators);
        self.ext.changed.notify_waiters();
        self.ext.signal.notify_waiters();
    }
}

fn is_orphan(meta: &Meta) -> bool {
    meta.flags.load(Ordering::Relaxed) & flag::ORPHAN != 0
}

impl<M: Manager> Locked<'_, M> {
    /// Notes that something is lent or made; tells whether the keepers slept.
    pub(crate) fn rouse(&mut self) -> bool {
        let ext = &self.core().ext;
        // Changed under this lock only, so a load will do where nothing is to be changed.
        let slept = ext.asleep.load(Ordering::Relaxed);
        self.state.roused = ext.clock.coarse();
        if slept {
            ext.asleep.store(false, Ordering::Relaxed);
            self.state.awake_since = ext.clock.now();
        }
        slept
    }
}

/// Who waits on one home, while there are several.
struct Waiting {
    home: HomeId,
    since: u64,
    count: usize,
}

fn waiting<M: Manager>(locked: &Locked<'_, M>) -> Vec<Waiting> {
    let mut all: Vec<Waiting> = Vec::new();
    locked.queue.visit(|entry| {
        match all.iter_mut().find(|waiting| waiting.home == entry.home) {
            Some(waiting) => {
                waiting.count += 1;
                waiting.since = waiting.since.min(entry.since);
            }
            None => all.push(Waiting { home: entry.home, since: entry.since, count: 1 }),
        }
        std::ops::ControlFlow::Continue(())
    });
    all.sort_by_key(|waiting| waiting.since);
    all
}

/// The homes on which somebody waits, who has waited for longest first, and how many wait there.
pub(crate) fn waiting_homes<M: Manager>(locked: &Locked<'_, M>) -> Vec<(HomeId, usize)> {
    waiting(locked).into_iter().map(|waiting| (waiting.home, waiting.count)).collect()
}

fn count_slots<M: Manager>(locked: &Locked<'_, M>, fit: impl Fn(HomeId, u32) -> bool) -> usize {
    let phase_of = |meta: &Meta| meta.phase.load(Ordering::Relaxed);
    let all = locked.metas().filter(|meta| phase_of(meta) != phase::VACANT);
    all.filter(|meta| fit(meta.home.load(Ordering::Relaxed), phase_of(meta))).count()
}

/// Whether a resource of this home that is given back should make room for those who wait on another: it serves nobody
/// here, or on the other one nothing is alive and its first waiter has waited for longer.
pub(crate) fn should_yield<M: Manager>(locked: &Locked<'_, M>, home: HomeId) -> bool {
    let state = &locked.state;
    if !locked.is_slow(Slow::RUNTIMES) || state.total < state.max_size || locked.queue.is_empty() {
        return false;
    }
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        waiting(locked).into_iter().partition(|waiting| fits(waiting.home, home));
    let on_the_way = state.closing + state.creating.saturating_sub(state.stuck);
    let Some(first) = here.first() else {
        return elsewhere.iter().map(|waiting| waiting.count).sum::<usize>() > on_the_way;
    };
    let starve = elsewhere.iter().filter(|waiting| {
        waiting.since < first.since
            && count_slots(locked, |of, phase| of == waiting.home && phase != phase::CLOSING) == 0
    });
    starve.count() > state.closing
}

/// Takes out idle resources of homes where nobody waits, for those who wait on others and find no room. They are to be
/// closed without the lock, for [`Why::OtherRuntime`].
pub(crate) fn make_room<M: Manager>(locked: &mut Locked<'_, M>) -> Vec<Claimed<M>> {
    let mut claims = Vec::new();
    if !locked.is_slow(Slow::RUNTIMES) || locked.state.paused || locked.state.closed || locked.queue.is_empty()
    {
        return claims;
    }
    let is_idle = |meta: &Meta| meta.phase.load(Ordering::Relaxed) == phase::READY && meta.holder().is_none();
    if !locked.metas().any(is_idle) {
        return claims;
    }
    for (home, count) in waiting_homes(locked) {
        let making = count_slots(locked, |of, phase| of == home && phase == phase::CREATING);
        let mut missing = count.saturating_sub(making + locked.state.closing + claims.len());
        while missing > 0 && locked.state.total >= locked.state.max_size {
            let Some(claim) = locked.pop_idle_where(|meta| !fits_slot(meta, home)) else { break };
            claims.push(claim);
            missing -= 1;
        }
    }
    claims
}

impl<R, S, X> Claim<R, S, X> {
    /// The home of what is in the slot; [`NOWHERE`] if any will do, after a check.
    pub(crate) fn home(&self) -> HomeId {
        let meta = self.meta();
        if is_orphan(meta) { NOWHERE } else { meta.home.load(Ordering::Relaxed) }
    }
}
