//! What all handles of a pool share, and the names of its parts.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, SetOnce};

use crate::budget::Membership;
use crate::builder::{Config, Tuning};
use crate::clock::{Clock, between};
use crate::error::{GetError, GetErrorKind};
use crate::event::Event;
use crate::ledger::Ledger;
use crate::manager::{Context, Manager, Why};
use crate::raw::{Boxed, Claim, Core, CoreGuard, Exclusive, Meta};
use crate::status::{Counters, Counts, Holder, Status, Timings, count};
use crate::upkeep;
use crate::work::Work;

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
}

/// What lies in a slot.
pub(crate) struct Cargo<M: Manager> {
    pub(crate) resource: M::Resource,
    /// The future of its last check on checkout, for its memory: a checked get allocates nothing but once.
    pub(crate) scratch: Exclusive<Option<Checkout<M>>>,
}

/// A check on checkout.
pub(crate) type Checkout<M> = Boxed<Option<Work<M>>>;
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
    /// Wakes upkeep; apart, because upkeep must not keep the pool alive.
    pub(crate) signal: Arc<Notify>,
    /// Whether upkeep sleeps past the next tick, because nothing is lent or fresh.
    pub(crate) asleep: AtomicBool,
    /// Told when a slot of a closed pool has become vacant.
    pub(crate) drained: Notify,
    /// Told when a create has ended.
    pub(crate) changed: Notify,
    /// Set when a closing pool waits no longer: bodies are cancelled, creates dropped.
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
            drained: Notify::new(),
            changed: Notify::new(),
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

/// Finds the runtime for the tasks of a pool: the one it has, or the current one.
pub(crate) fn adopt_runtime<M: Manager>(locked: &mut Locked<'_, M>) -> bool {
    if locked.state.runtime.is_none() {
        locked.state.runtime = Handle::try_current().ok();
    }
    locked.state.runtime.is_some()
}

impl<M: Manager> Shared<M> {
    /// Starts a task of the pool. The lock must not be held: without a running runtime the future is
    /// dropped here, and the guards in it settle the accounts.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = {
            let mut locked = self.lock();
            adopt_runtime::<M>(&mut locked);
            locked.state.runtime.clone()
        };
        match runtime {
            Some(runtime) => drop(runtime.spawn(task)),
            None => drop(task),
        }
    }

    /// The pool, if it has no handle any more.
    pub(crate) fn orphaned(self: Arc<Self>) -> Option<Arc<Self>> {
        // Relaxed: the callers have had the lock, which orders this.
        (self.ext.handles.load(Ordering::Relaxed) == 0).then_some(self)
    }

    /// Starts upkeep, if it does not run.
    pub(crate) fn ensure_upkeep(self: &Arc<Self>) {
        let runtime = {
            let mut locked = self.lock();
            if locked.state.upkeep || !adopt_runtime::<M>(&mut locked) {
                return;
            }
            locked.state.upkeep = true;
            locked.state.runtime.clone()
        };
        if let Some(runtime) = runtime {
            drop(runtime.spawn(upkeep::run(upkeep::Keeper::new(self))));
        }
    }

    /// Has upkeep tick again, if it sleeps.
    pub(crate) fn rouse(&self) {
        if self.ext.asleep.load(Ordering::Relaxed) && self.ext.asleep.swap(false, Ordering::Relaxed) {
            self.ext.signal.notify_one();
        }
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

    /// An error of a get, counted and told.
    #[cold]
    pub(crate) fn get_error(self: &Arc<Self>, kind: GetErrorKind, waited: Duration) -> GetError {
        let (status, cause) = {
            let locked = self.lock();
            (status_of(&locked), locked.state.last_error.clone())
        };
        let kind = match kind {
            GetErrorKind::Exhausted if cause.is_some() => GetErrorKind::CreateFailing,
            kind => kind,
        };
        match kind {
            GetErrorKind::Exhausted | GetErrorKind::CreateFailing => {
                count(&self.ext.counts.timed_out);
            }
            GetErrorKind::Saturated | GetErrorKind::Shed => count(&self.ext.counts.shed),
            _ => {}
        }
        self.ext.emit(&Event::GetFailed { kind });
        let cause = if kind == GetErrorKind::CreateFailing { cause } else { None };
        GetError::new(kind, status, waited, cause)
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
    for meta in locked.metas() {
        match meta.phase.load(Ordering::Relaxed) {
            phase::CREATING => status.creating += 1,
            phase::CHECKING => status.checking += 1,
            phase::RESETTING => status.resetting += 1,
            phase::CLOSING => status.closing += 1,
            phase::READY if meta.holder().is_some() => status.in_use += 1,
            phase::READY => status.idle += 1,
            _ => {}
        }
    }
    status
}
