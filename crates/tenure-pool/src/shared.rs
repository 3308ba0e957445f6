//! What all handles of a pool share, and the names of its parts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, SetOnce};

use crate::budget::Membership;
use crate::checkout::Checked;
use crate::clock::{Clock, between};
use crate::error::{GetError, GetErrorKind};
use crate::event::Event;
use crate::home::Pass;
use crate::hooks::Hooks;
use crate::ledger::Ledger;
use crate::manager::{Context, Manager, Why};
use crate::raw::{Boxed, Claim, Core, CoreGuard, Exclusive, Meta};
use crate::settings::{Config, Tuning, load};
use crate::status::{Counters, Counts, Holder, Status, Timings, count};

/// The flags of a slot that lead off the fast path.
pub(crate) mod flag {
    /// To be checked before it is lent: idle for too long, or suspect.
    pub(crate) const STALE: u32 = 1;
    /// To be checked each time before it is lent.
    pub(crate) const ALWAYS: u32 = 2;
    /// To be closed: it has lived long enough.
    pub(crate) const EXPIRED: u32 = 4;
    /// To be closed: it was invalidated.
    pub(crate) const INVALID: u32 = 8;
    /// The present use is measured.
    pub(crate) const MEASURED: u32 = 16;
    /// The present lease was reported as overdue.
    pub(crate) const OVERDUE: u32 = 32;
    /// To be checked before it is lent: its runtime is gone.
    pub(crate) const ORPHAN: u32 = 64;
    /// What goes on in the slot takes so long that nobody should count on it.
    pub(crate) const STUCK: u32 = 128;
    /// The manager has a hook for each get, or each return.
    pub(crate) const ON_GET: u32 = 256;
    pub(crate) const ON_RETURN: u32 = 512;
    /// The present lease is meant to be long, and is not reported as overdue.
    pub(crate) const LONG: u32 = 1024;
    /// What a resource keeps when it is given back.
    pub(crate) const STANDING: u32 = ALWAYS | DOOMED | ORPHAN | ON_GET | ON_RETURN;
    /// To be closed, for one reason or another.
    pub(crate) const DOOMED: u32 = EXPIRED | INVALID;
}

/// What goes on in a slot.
pub(crate) mod phase {
    pub(crate) const VACANT: u32 = 0;
    pub(crate) const CREATING: u32 = 1;
    /// Idle, or lent if there is a holder.
    pub(crate) const READY: u32 = 2;
    pub(crate) const CHECKING: u32 = 3;
    pub(crate) const RESETTING: u32 = 4;
    pub(crate) const CLOSING: u32 = 5;
    /// Given to a waiter that has not looked yet.
    pub(crate) const HANDED: u32 = 6;
}

/// What lies in a slot.
pub(crate) struct Cargo<M: Manager> {
    pub(crate) resource: M::Resource,
    /// The future of its last check on checkout, for its memory: a checked get allocates nothing but once.
    pub(crate) scratch: Exclusive<Option<Checkout<M>>>,
}

/// A check on checkout.
pub(crate) type Checkout<M> = Boxed<Checked<M>>;
/// What all handles of a pool share.
pub(crate) type Shared<M> = Core<Cargo<M>, Ledger, Ext<M>>;
/// The claim on a slot of a pool.
pub(crate) type Claimed<M> = Claim<Cargo<M>, Ledger, Ext<M>>;
/// The lock of a pool, held.
pub(crate) type Locked<'a, M> = CoreGuard<'a, Cargo<M>, Ledger, Ext<M>>;

/// The part of a pool that needs no lock.
#[derive(Debug)]
pub(crate) struct Ext<M> {
    pub(crate) manager: M,
    pub(crate) hooks: Hooks,
    /// Held by the one get of several that collects at present.
    pub(crate) gathering: Mutex<()>,
    pub(crate) config: Config,
    pub(crate) tuning: Tuning,
    pub(crate) clock: Clock,
    /// How many [`Pool`](crate::Pool) handles there are.
    pub(crate) handles: AtomicUsize,
    /// Wakes the keepers; apart, because they must not keep the pool alive.
    pub(crate) signal: Arc<Notify>,
    /// Whether the keepers sleep past the next tick, because nothing is lent or fresh. Changed under the lock.
    pub(crate) asleep: AtomicBool,
    /// The permission to take the fast path.
    pub(crate) pass: Pass,
    /// Told when a slot of a closed pool has become vacant.
    pub(crate) drained: Notify,
    /// Told when a create has ended.
    pub(crate) changed: Notify,
    /// Set when the pool closes: creates that are stuck are dropped.
    pub(crate) closing: SetOnce<()>,
    /// Set when a closing pool waits no longer: bodies are cancelled.
    pub(crate) revoked: SetOnce<()>,
    pub(crate) counts: Counts,
    pub(crate) timings: Timings,
    /// The cap over several pools that this one is under.
    pub(crate) membership: OnceLock<Membership>,
    /// How many gets began to wait: to choose those that are timed.
    pub(crate) waits: AtomicU64,
}

impl<M> Ext<M> {
    pub(crate) fn new(manager: M, hooks: Hooks, config: Config, tuning: Tuning) -> Self {
        Self {
            hooks,
            gathering: Mutex::const_new(()),
            manager,
            config,
            tuning,
            clock: Clock::new(),
            handles: AtomicUsize::new(1),
            signal: Arc::new(Notify::new()),
            asleep: AtomicBool::new(true),
            pass: Pass::new(),
            drained: Notify::new(),
            changed: Notify::new(),
            closing: SetOnce::new(),
            revoked: SetOnce::new(),
            counts: Counts::default(),
            timings: Timings::new(),
            waits: AtomicU64::new(0),
            membership: OnceLock::new(),
        }
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        self.config.events.emit(&self.config.name, event);
    }

    /// The flags that a resource always has.
    pub(crate) fn standing_flags(&self) -> u32 {
        let always = if load(&self.tuning.check_after) == 0 { flag::ALWAYS } else { 0 };
        let on_get = if self.hooks.on_get { flag::ON_GET } else { 0 };
        let on_return = if self.hooks.on_return { flag::ON_RETURN } else { 0 };
        always | on_get | on_return
    }

    /// Notes how long a wait took.
    pub(crate) fn record_wait(&self, took: Duration) {
        self.timings.wait.record(took);
        #[cfg(feature = "metrics")]
        self.report(crate::metrics::MetricNames::wait_time, took);
    }

    /// Notes how long a lease was held.
    pub(crate) fn record_use(&self, took: Duration) {
        self.timings.usage.record(took);
        #[cfg(feature = "metrics")]
        self.report(crate::metrics::MetricNames::use_time, took);
    }

    /// Notes how long a create took.
    pub(crate) fn record_create(&self, took: Duration) {
        self.timings.create.record(took);
        #[cfg(feature = "metrics")]
        self.report(crate::metrics::MetricNames::create_time, took);
    }

    /// What a manager is told of a resource.
    pub(crate) fn context(&self, meta: &Meta, why: Why) -> Context {
        let now = self.clock.coarse();
        Context {
            id: meta.id.load(Ordering::Relaxed),
            why,
            age: between(meta.created.load(Ordering::Relaxed), now),
            idle: between(meta.stamp.load(Ordering::Relaxed), now),
            uses: meta.uses.load(Ordering::Relaxed),
        }
    }

    /// Who holds the resource of a slot, if anybody does.
    pub(crate) fn holder(&self, meta: &Meta) -> Option<Holder> {
        let location = meta.holder()?;
        Some(Holder {
            id: meta.id.load(Ordering::Relaxed),
            location,
            held: between(meta.stamp.load(Ordering::Relaxed), self.clock.coarse()),
        })
    }
}

impl<M: Manager> Shared<M> {
    /// The pool, if it has no handle any more.
    pub(crate) fn orphaned(self: Arc<Self>) -> Option<Arc<Self>> {
        // Relaxed: the callers have had the lock, which orders this.
        (self.ext.handles.load(Ordering::Relaxed) == 0).then_some(self)
    }

    /// The state of the pool.
    pub(crate) fn status(self: &Arc<Self>) -> Status {
        status_of(&self.lock())
    }

    /// What has happened so far.
    pub(crate) fn counters(self: &Arc<Self>) -> Counters {
        let failed_waits = self.ext.counts.failed_waits.load(Ordering::Relaxed);
        let mut counters = self.ext.counts.snapshot();
        let locked = self.lock();
        counters.waited = locked.state.waits;
        let (waiting, metas) = (locked.queue.len() as u64, locked.metas());
        drop(locked);
        let mut handed = 0;
        for meta in metas {
            counters.lent += meta.uses.load(Ordering::Relaxed);
            handed += u64::from(meta.phase.load(Ordering::Relaxed) == phase::HANDED);
        }
        let unserved = counters.cancelled + failed_waits + waiting + handed;
        counters.waits_served = counters.waited.saturating_sub(unserved);
        counters.gets = counters.lent + counters.get_failures + counters.cancelled + waiting + handed;
        let waits = self.ext.timings.wait.snapshot();
        let (count, sum) = (waits.count().max(1), waits.sum());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = counters.waits_served as f64 / count as f64;
        counters.wait_time = sum.mul_f64(share);
        counters
    }

    /// The leases that are out.
    pub(crate) fn holders(self: &Arc<Self>) -> Vec<Holder> {
        self.ext.clock.now();
        let metas = self.lock().metas();
        metas.filter_map(|meta| self.ext.holder(meta)).collect()
    }

    /// The numbers of the resources whose leases are marked as long-running.
    pub(crate) fn marked_long(self: &Arc<Self>) -> Vec<u64> {
        let is_marked = |meta: &&Meta| meta.flags.load(Ordering::Relaxed) & flag::LONG != 0;
        let metas = self.lock().metas();
        metas.filter(is_marked).map(|meta| meta.id.load(Ordering::Relaxed)).collect()
    }

    /// An error of a get that began at this moment, counted and told.
    #[cold]
    pub(crate) fn get_error(self: &Arc<Self>, kind: GetErrorKind, since: u64) -> GetError {
        let waited = if since == 0 { Duration::ZERO } else { between(since, self.ext.clock.now()) };
        let (status, kind, cause) = {
            let locked = self.lock();
            let status = status_of(&locked);
            let kind =
                if kind == GetErrorKind::Exhausted { late(&locked, since, waited, &status) } else { kind };
            (status, kind, locked.state.last_error.clone())
        };
        match kind {
            GetErrorKind::Exhausted
            | GetErrorKind::CreateFailing
            | GetErrorKind::CreatePending
            | GetErrorKind::CheckPending => count(&self.ext.counts.timed_out),
            GetErrorKind::Saturated | GetErrorKind::Shed => count(&self.ext.counts.shed),
            _ => {}
        }
        count(&self.ext.counts.get_failures);
        self.ext.emit(&Event::GetFailed { kind });
        let cause = if kind == GetErrorKind::CreateFailing { cause } else { None };
        GetError::new(kind, status, waited, cause)
    }
}

/// What a get that began at this moment ran out of time for.
fn late<M: Manager>(locked: &Locked<'_, M>, since: u64, waited: Duration, status: &Status) -> GetErrorKind {
    let state = &locked.state;
    // An error from before counts only if its pause reached into this get.
    let failed_meanwhile = state.failed_at >= since || state.retry_at >= since;
    if state.failures > 0 && state.last_error.is_some() && failed_meanwhile {
        GetErrorKind::CreateFailing
    } else if status.creating > 0 && status.creating_for >= waited / 2 {
        GetErrorKind::CreatePending
    } else {
        GetErrorKind::Exhausted
    }
}

/// The state of a pool whose lock is held.
pub(crate) fn status_of<M: Manager>(locked: &Locked<'_, M>) -> Status {
    let state = &locked.state;
    let mut status = Status {
        max_size: state.max_size,
        size: state.total,
        waiting: locked.queue.len(),
        paused: state.paused,
        closed: state.closed,
        ..Status::default()
    };
    let now = locked.core().ext.clock.now();
    for meta in locked.metas() {
        match meta.phase.load(Ordering::Relaxed) {
            phase::CREATING => {
                status.creating += 1;
                let running = between(meta.began.load(Ordering::Relaxed), now);
                status.creating_for = status.creating_for.max(running);
            }
            phase::CHECKING => status.checking += 1,
            phase::RESETTING => status.resetting += 1,
            phase::CLOSING => status.closing += 1,
            phase::HANDED => status.in_use += 1,
            phase::READY if meta.holder().is_some() => status.in_use += 1,
            phase::READY => status.idle += 1,
            _ => {}
        }
    }
    status
}
