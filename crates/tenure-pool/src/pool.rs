//! The pool: its handle, and what can be asked of it while it runs.

use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::builder::Builder;
use crate::clock::nanos;
use crate::close::close_orphan;
use crate::create;
use crate::error::{AddError, AddErrorKind, BuildError};
use crate::get::Get;
use crate::home::NOWHERE;
use crate::join::pop_for;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::manager::{Manager, Next, Why};
use crate::place::{place, serve};
use crate::raw::{Core, Slow};
use crate::settings::{Order, Settings, Tuning, check_max_size, load, store};
use crate::shared::{Ext, Shared, flag, phase};
use crate::status::{Counters, Histograms, Holder, Status};
use crate::tend::{Task, tend_later};
use crate::wait::wake_all;
use crate::work::{Kind, Work, doom, retire};

/// A pool of resources, as many as needed and no more than allowed, each lent to one at a time.
///
/// It is a handle; clones are of the same pool. It is also a context: [`with`](tenure::with) opens the
/// minimum, runs the body, and closes everything:
///
/// ```
/// # use tenure_pool::{Context, CreateContext, Manager};
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Resource = u64;
/// #     type Error = std::io::Error;
/// #     async fn create(&self, context: CreateContext) -> Result<u64, Self::Error> { Ok(context.id) }
/// #     async fn reset(&self, _: &mut u64, _: Context) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// use tenure::with;
/// use tenure_pool::Pool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers).max_size(4).min_idle(2).build()?;
/// let sum = with(pool, async |pool| {
///     let first = with(pool.get(), async |number| Ok::<_, Oops>(**number)).await?;
///     let second = with(pool.get(), async |number| Ok::<_, Oops>(**number)).await?;
///     Ok::<_, Oops>(first + second)
/// })
/// .await?;
/// assert!(sum > 0);
/// # Ok(())
/// # }
/// # type Oops = tenure_pool::PoolError;
/// ```
///
/// When the last handle is dropped without [`close`](Self::close), the pool closes in the background: what is idle at
/// once, what is lent when it comes back. [`drain`](tenure::drain) and the exit of the enclosing tenure wait for these
/// closes. Neither waits for a lease, for its holder may be waiting for them; to wait for leases, and to hear who does
/// not give his back, close the pool or leave it by `with`.
pub struct Pool<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M: Manager> Pool<M> {
    /// Sets up a pool.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    pub(crate) fn from_builder(builder: Builder<M>) -> Self {
        let Builder { manager, config, tuning } = builder;
        let is_ordered = config.order == Order::Fifo || !config.pooling;
        let ledger = Ledger::new(config.max_size);
        let hooks = manager.hooks();
        #[cfg(feature = "metrics")]
        if let Some(names) = config.metrics {
            crate::metrics::describe(names);
        }
        let shared = Arc::new(Core::new(ledger, Ext::new(manager, hooks, config, tuning)));
        if is_ordered {
            shared.lock().set_slow(Slow::ORDERED);
        }
        Self { shared }
    }

    pub(crate) fn tuning(&self) -> &Tuning {
        &self.shared.ext.tuning
    }

    /// Takes a resource: an idle one at once, else the first that is returned or created, in the order of
    /// asking. The result is a future, and a context for [`with`](tenure::with).
    ///
    /// Inside a spawned or [shielded](tenure::shield) tenure use [`get_owned`](Self::get_owned), which
    /// borrows nothing; to hold a lease with protection from the pool's closing, and from waiting for
    /// oneself, use [`scope`](Self::scope); not to wait, [`try_get`](Self::try_get).
    ///
    /// # Errors
    /// After the [time limit](crate::Builder::get_timeout), at once if too many wait or the pool is closed;
    /// see [`GetErrorKind`](crate::GetErrorKind).
    ///
    /// # Cancel safety
    /// A get that is dropped leaves the queue; a resource that was handed to it meanwhile goes to the next.
    /// What is being created or checked for it goes on and is for the next, too. It loses its place.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Get<&Self, M> {
        Get::new(self, Location::caller())
    }

    /// Does the same as [`get`](Self::get), but it owns its handle of the pool.
    ///
    /// # Errors, cancel safety
    /// As `get`.
    #[track_caller]
    pub fn get_owned(&self) -> Get<Self, M> {
        Get::new(self.clone(), Location::caller())
    }

    /// Takes a resource for a caller at this place, which reports and [holders](Self::holders) name: for adapters. Else it
    /// is [`get_owned`](Self::get_owned).
    ///
    /// # Errors, cancel safety
    /// As `get`.
    pub fn get_owned_at(&self, location: &'static Location<'static>) -> Get<Self, M> {
        Get::new(self.clone(), location)
    }

    /// Takes an idle resource, if there is one that needs no check and nobody waits. It never waits.
    ///
    /// Where the manager has a hook [for each get](Manager::on_get), there is none, for the hook would have to be
    /// waited for.
    #[track_caller]
    pub fn try_get(&self) -> Option<Lease<M>> {
        let location = Location::caller();
        if self.shared.ext.hooks.on_get {
            return None;
        }
        let home = self.shared.enter(None);
        loop {
            let claim = pop_for(&mut self.shared.lock(), home)?;
            let flags = claim.meta().flags.load(Ordering::Relaxed);
            if let Some(why) = doom(flags) {
                retire(claim, why);
            } else if flags & (flag::STALE | flag::ALWAYS | flag::ORPHAN) != 0 {
                tend_later(claim, Task::Check, Why::Checkout);
            } else {
                return Some(Lease::lend(claim, location));
            }
        }
    }

    /// Adds a resource that was made outside. If its manager [asks](Manager::assess_completed) for a check or a reset,
    /// that comes first, in the background.
    ///
    /// # Errors
    /// If the resource is broken, or the pool is full or closed, or has no runtime; the resource comes back.
    pub fn add(&self, mut resource: M::Resource) -> Result<(), AddError<M::Resource>> {
        let manager = &self.shared.ext.manager;
        let asked = panic::catch_unwind(AssertUnwindSafe(|| manager.assess_completed(&mut resource)));
        let next = asked.unwrap_or(Next::Close);
        if next == Next::Close {
            return Err(AddError { resource, kind: AddErrorKind::Broken });
        }
        let home = self.shared.enter(None);
        let now = self.shared.ext.clock.now();
        let mut locked = self.shared.lock();
        let kind = if locked.state.closed {
            Some(AddErrorKind::Closed)
        } else if locked.state.total >= locked.state.max_size {
            Some(AddErrorKind::Full)
        } else if locked.state.homes.len() == 0 {
            Some(AddErrorKind::NoRuntime)
        } else {
            None
        };
        if let Some(kind) = kind {
            return Err(AddError { resource, kind });
        }
        let Some(claim) = create::reserve(&mut locked, home) else {
            return Err(AddError { resource, kind: AddErrorKind::Full });
        };
        let (id, generation) = (locked.state.next_id(), locked.state.generation);
        drop(locked);
        let mut work = Work::new(claim, Kind::Creating);
        create::furnish(&mut work, resource, id, generation, now);
        let mut locked = self.shared.lock();
        let claim = work.finish_locked(&mut locked);
        let (placed, claim) = match next {
            Next::Check | Next::Reset => (None, Some(claim)),
            Next::Keep | Next::Close => (Some(place(&mut locked, claim)), None),
        };
        drop(locked);
        if let Some(placed) = placed {
            placed.conclude();
        }
        if let Some(claim) = claim {
            let task = if next == Next::Reset { Task::Reset } else { Task::Check };
            tend_later(claim, task, Why::Returned);
        }
        self.shared.rouse();
        Ok(())
    }

    /// Returns the manager: for what it lets be changed, such as the credentials of the next creates. Resources that
    /// were made with the old ones are replaced by [`invalidate_all`](Self::invalidate_all).
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared.ext.manager
    }

    /// Changes how many resources may be alive. Those beyond are closed: idle ones at once, lent ones when
    /// they come back. A minimum above the new size is brought down to it while it lasts.
    ///
    /// # Errors
    /// If the size is zero or above a million; nothing is changed then.
    pub fn resize(&self, max_size: usize) -> Result<(), BuildError> {
        check_max_size(max_size)?;
        let mut locked = self.shared.lock();
        locked.state.max_size = max_size;
        let mut excess = Vec::new();
        if locked.state.has_excess() {
            locked.set_slow(Slow::EXCESS);
            let count = locked.state.total - locked.state.closing - max_size;
            excess = (0..count).map_while(|_| locked.pop_idle()).collect();
        } else {
            locked.clear_slow(Slow::EXCESS);
        }
        let creators = create::demand(&mut locked, NOWHERE);
        drop(locked);
        for claim in excess {
            retire(claim, Why::Excess);
        }
        create::start(&self.shared, creators);
        self.shared.ext.signal.notify_waiters();
        Ok(())
    }

    /// Lends nothing from now on: gets wait, within their time limits, until [`resume`](Self::resume).
    /// Leases that are out are not touched.
    pub fn pause(&self) {
        let mut locked = self.shared.lock();
        locked.state.paused = true;
        locked.set_slow(Slow::PAUSED);
    }

    /// Lends again, first to those who wait.
    pub fn resume(&self) {
        let (mut wakers, mut unwanted) = (Vec::new(), Vec::new());
        let mut locked = self.shared.lock();
        locked.state.paused = false;
        while !locked.queue.is_empty() {
            let Some(claim) = locked.pop_idle() else {
                break;
            };
            match serve(&mut locked, claim) {
                Ok(waker) => wakers.extend(waker),
                Err(claim) => unwanted.push(claim),
            }
        }
        // In the order they were taken out in.
        locked.restore(unwanted);
        locked.clear_slow(Slow::PAUSED);
        locked.settle();
        let creators = create::demand(&mut locked, NOWHERE);
        drop(locked);
        wake_all(wakers);
        create::start(&self.shared, creators);
    }

    /// Replaces every resource: idle ones are closed at once, lent ones when they come back, and those whose
    /// creation is under way as soon as it has ended.
    pub fn invalidate_all(&self) {
        let mut locked = self.shared.lock();
        locked.state.generation += 1;
        for meta in locked.metas() {
            if meta.phase.load(Ordering::Relaxed) != phase::VACANT {
                meta.flags.fetch_or(flag::INVALID, Ordering::Relaxed);
            }
        }
        let idle = locked.pop_all_idle();
        drop(locked);
        for claim in idle {
            retire(claim, Why::Invalidated);
        }
    }

    /// Does the same as [`invalidate_all`](Self::invalidate_all), spread evenly over an interval, so that the other side does
    /// not have to open all of them at once.
    pub fn invalidate_all_within(&self, interval: Duration) {
        let now = self.shared.ext.clock.now();
        let mut locked = self.shared.lock();
        locked.state.generation += 1;
        let metas: Vec<_> =
            locked.metas().filter(|meta| meta.phase.load(Ordering::Relaxed) != phase::VACANT).collect();
        let step = nanos(interval) / (metas.len() as u64).max(1);
        for (place, meta) in metas.into_iter().enumerate() {
            let due = now.saturating_add(step.saturating_mul(place as u64));
            meta.expires.fetch_min(due, Ordering::Relaxed);
        }
        drop(locked);
        self.shared.ext.signal.notify_waiters();
    }

    /// Changes [`check_after`](crate::Builder::check_after).
    pub fn set_check_after(&self, bound: impl Into<Option<Duration>>) {
        store(&self.tuning().check_after, bound.into());
        let is_always = load(&self.tuning().check_after) == 0;
        for meta in self.shared.lock().metas() {
            if is_always {
                meta.flags.fetch_or(flag::ALWAYS, Ordering::Relaxed);
            } else {
                // The marks of the old bound go, too; upkeep sets those of the new one.
                meta.flags.fetch_and(!(flag::ALWAYS | flag::STALE), Ordering::Relaxed);
            }
        }
        self.shared.ext.signal.notify_waiters();
    }

    /// Returns the state of the pool.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Returns what has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Returns how many resources were closed for this reason.
    #[must_use]
    pub fn closed_for(&self, why: Why) -> u64 {
        self.shared.ext.counts.closed_for[why as usize].load(Ordering::Relaxed)
    }

    /// Returns the present settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let max_size = self.shared.lock().state.max_size;
        Settings::read(&self.shared.ext.config, &self.shared.ext.tuning, max_size)
    }

    /// Returns the leases that are held for longer than the [`leak_threshold`](Builder::leak_threshold) and were not
    /// [marked](Lease::mark_long_running) as long-running. How many there have been is in
    /// [`Counters::overdue`].
    #[must_use]
    pub fn leak_suspects(&self) -> Vec<Holder> {
        let limit = load(&self.shared.ext.tuning.leak);
        let marked = self.shared.marked_long();
        let suspects = self.shared.holders().into_iter();
        suspects.filter(|holder| nanos(holder.held) >= limit && !marked.contains(&holder.id)).collect()
    }

    /// Returns how long things took so far.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        self.shared.ext.timings.snapshot()
    }

    /// Returns the leases that are out: which resource, taken where, for how long.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.shared.holders()
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        // Relaxed: a new handle is made from one that counts already.
        self.shared.ext.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manager> Drop for Pool<M> {
    fn drop(&mut self) {
        // Release and acquire: what was done through other handles is seen by the one that closes.
        if self.shared.ext.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            close_orphan(&self.shared);
        }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.ext.config.name)
            .field("status", &self.status())
            .finish()
    }
}
