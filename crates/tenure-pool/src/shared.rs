//! What all handles of a pool share, and the names of its parts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, SetOnce};

use crate::budget::Membership;
use crate::checkout::Checked;
use crate::clock::{Clock, between};
use crate::error::{GetError, GetErrorKind};
use crate::event::Event;
use crate::home::Pass;
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
    pub(crate) fn new(manager: M, config: Config, tuning: Tuning) -> Self {
        Self {
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
        if load(&self.tuning.check_after) == 0 { flag::ALWAYS } else { 0 }
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
        let mut counters = self.ext.counts.snapshot();
        let locked = self.lock();
        counters.waited = locked.state.waits;
        let metas = locked.metas();
        drop(locked);
        counters.lent += metas.map(|meta| meta.uses.load(Ordering::Relaxed)).sum::<u64>();
        counters
    }

    /// The leases that are out.
    pub(crate) fn holders(self: &Arc<Self>) -> Vec<Holder> {
        self.ext.clock.now();
        let metas = self.lock().metas();
        metas.filter_map(|meta| self.ext.holder(meta)).collect()
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
