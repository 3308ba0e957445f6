//! The lease: a resource in use.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::atomic::Ordering;
use std::thread;

use tenure::{AsyncExit, Outcome};

use crate::close::{finish_orphan, hand_over_orphan};
use crate::error::GetError;
use crate::event::Event;
use crate::manager::{Context, LeaseEnd, Manager, Next, Why};
use crate::pool::Pool;
use crate::shared::{Claimed, Ext, flag};
use crate::tend::{Task, tend_later};
use crate::work::{self, Orphaned, Work};

/// Of each resource every so manyeth use is measured.
const MEASURED_EVERY: u64 = 64;

/// A resource of a pool, in use. It dereferences to the resource.
///
/// How it goes back depends on how its use ended:
///
/// | end | what the pool does |
/// |---|---|
/// | the body of [`with`](tenure::with) completed, or [`complete`](Self::complete) was called | [`Manager::assess_completed`] decides; by default it is lent again at once, unless [`Manager::is_broken`] |
/// | the body failed, panicked, or was cancelled | [`Manager::assess`] decides; by default it is reset first |
/// | it was dropped | the same with [`LeaseEnd::Dropped`], for nobody can tell whether its holder was cancelled |
///
/// Checks, resets and closes run in the background on the runtime of the pool. Dropping a lease never
/// blocks and never panics, wherever it happens: without a runtime the resource is dropped, which is counted
/// and told as an [event](Event::Dropped).
///
/// A lease may outlive every handle of its pool. Then its resource is closed when it comes back: an exit of the lease
/// ends after that close, and a lease that is merely dropped hands the wait for it over, to
/// [`drain`](tenure::drain) and to the enclosing tenure.
#[must_use = "a lease that is dropped gives its resource back"]
pub struct Lease<M: Manager> {
    /// Taken only when the lease ends.
    claim: Option<Claimed<M>>,
}

impl<M: Manager> Lease<M> {
    /// Lends the resource of a claim.
    #[inline]
    pub(crate) fn lend(claim: Claimed<M>, location: &'static Location<'static>) -> Self {
        let (meta, ext) = (claim.meta(), &claim.core().ext);
        // Only the owner of the claim writes here, so this is no read-modify-write.
        let uses = meta.uses.load(Ordering::Relaxed);
        meta.uses.store(uses + 1, Ordering::Relaxed);
        meta.stamp.store(ext.clock.coarse(), Ordering::Relaxed);
        meta.set_holder(Some(location));
        if uses % MEASURED_EVERY == 0 || ext.config.measures_all {
            measure(ext, meta);
        }
        Self { claim: Some(claim) }
    }

    /// Returns the number of the resource, unique in its pool.
    #[must_use]
    pub fn id(this: &Self) -> u64 {
        this.claim().meta().id.load(Ordering::Relaxed)
    }

    /// Returns the pool of the resource, or nothing if it has no handle any more.
    #[must_use]
    pub fn pool(this: &Self) -> Option<Pool<M>> {
        Pool::from_shared(this.claim().arc())
    }

    /// Returns what the pool knows of the resource: its age, how many times it was lent, and since when it is lent.
    #[must_use]
    pub fn info(this: &Self) -> Context {
        let claim = this.claim();
        claim.core().ext.context(claim.meta(), Why::Checkout)
    }

    /// Marks this lease as one that is meant to be held for long: it is not
    /// [reported as overdue](crate::Builder::leak_threshold). The mark ends with the lease.
    pub fn mark_long_running(this: &Self) {
        this.claim().meta().flags.fetch_or(flag::LONG, Ordering::Relaxed);
    }

    /// Gives the resource back as one whose use completed: it is lent again at once, unless
    /// [`Manager::assess_completed`] asks for a check first.
    pub fn complete(self) {
        hand_over(completed(self.into_claim()));
    }

    /// Gives the resource back to be closed.
    pub fn invalidate(self) {
        hand_over(work::retire(self.into_claim(), Why::Invalidated));
    }

    /// Takes the resource out of the pool for good. The pool may open another one in its place; this one is
    /// the caller's to close.
    #[expect(clippy::missing_panics_doc, reason = "a lease has its resource until it ends")]
    pub fn detach(self) -> M::Resource {
        let mut claim = self.into_claim();
        let resource = claim.take().expect("a lease has its resource").resource;
        crate::status::count(&claim.core().ext.counts.detached);
        Work::new(claim, work::Kind::Checkout).vacate(true);
        resource
    }

    #[inline]
    fn claim(&self) -> &Claimed<M> {
        self.claim.as_ref().expect("a lease has its claim until it ends")
    }

    #[inline]
    fn into_claim(mut self) -> Claimed<M> {
        self.claim.take().expect("a lease has its claim until it ends")
    }
}

impl<M: Manager> Deref for Lease<M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        &self.claim().resource().expect("a lease has its resource").resource
    }
}

impl<M: Manager> DerefMut for Lease<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        let claim = self.claim.as_mut().expect("a lease has its claim until it ends");
        &mut claim.resource_mut().expect("a lease has its resource").resource
    }
}

impl<M: Manager> Drop for Lease<M> {
    #[inline]
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        let end = if thread::panicking() { LeaseEnd::Panicked("") } else { LeaseEnd::Dropped };
        hand_over(settle(claim, end));
    }
}

/// Without a bound on the resource, so that results with a lease can be unwrapped.
impl<M: Manager> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &Self::id(self)).finish_non_exhaustive()
    }
}

/// Leaving the body of a `with` gives the resource back, with the outcome. It never fails; its error is that of `get`,
/// so that one `From` serves both. It suspends only if its pool has no handle any more, until the resource is closed.
impl<M: Manager> AsyncExit for Lease<M> {
    type Error = GetError;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), GetError> {
        let Some(claim) = self.claim.take() else {
            return Ok(());
        };
        let orphaned = match outcome {
            Outcome::Completed => completed(claim),
            Outcome::Failed(failure) => settle(claim, LeaseEnd::Failed(failure)),
            Outcome::Panicked(message) => settle(claim, LeaseEnd::Panicked(message)),
            Outcome::Cancelled => settle(claim, LeaseEnd::Cancelled),
        };
        if let Some(pool) = orphaned {
            // Boxed, to keep the future of an exit small. What hangs is told by events.
            let _ = Box::pin(finish_orphan(&pool)).await;
        }
        Ok(())
    }
}

/// What is left to wait for when a lease has gone back other than by an exit.
#[inline]
fn hand_over<M: Manager>(orphaned: Orphaned<M>) {
    if let Some(pool) = orphaned {
        hand_over_orphan(&pool);
    }
}

/// Gives a resource back whose use completed, as its manager says.
#[inline]
fn completed<M: Manager>(mut claim: Claimed<M>) -> Orphaned<M> {
    let asked = panic::catch_unwind(AssertUnwindSafe(|| {
        let (core, _, cargo) = claim.parts();
        cargo.map_or(Next::Close, |cargo| core.ext.manager.assess_completed(&mut cargo.resource))
    }));
    match asked.unwrap_or(Next::Close) {
        Next::Keep => work::give_back_used(claim),
        Next::Check => tend_later(claim, Task::Check, Why::Returned),
        Next::Reset => tend_later(claim, Task::Reset, Why::Returned),
        Next::Close => work::retire(claim, Why::Broken),
    }
}

/// Gives a resource back whose use did not complete, as its manager says.
#[inline]
fn settle<M: Manager>(mut claim: Claimed<M>, end: LeaseEnd<'_>) -> Orphaned<M> {
    let next = assess(&mut claim, end);
    match next {
        Next::Keep => work::give_back_used(claim),
        Next::Check => tend_later(claim, Task::Check, end.why()),
        Next::Reset => tend_later(claim, Task::Reset, end.why()),
        Next::Close => work::retire(claim, end.why()),
    }
}

/// Asks the manager. A panic must not leave a `Drop`: it means the resource is closed.
#[inline]
fn assess<M: Manager>(claim: &mut Claimed<M>, end: LeaseEnd<'_>) -> Next {
    let asked = panic::catch_unwind(AssertUnwindSafe(|| {
        let (core, _, cargo) = claim.parts();
        cargo.map_or(Next::Close, |cargo| core.ext.manager.assess(&mut cargo.resource, end))
    }));
    asked.unwrap_or_else(|_| {
        let id = claim.meta().id.load(Ordering::Relaxed);
        claim.core().ext.emit(&Event::AssessPanicked { id });
        Next::Close
    })
}

/// Has this use measured, from now to its return.
#[cold]
fn measure<M>(ext: &Ext<M>, meta: &crate::raw::Meta) {
    meta.measured.store(ext.clock.now(), Ordering::Relaxed);
    meta.flags.fetch_or(flag::MEASURED, Ordering::Relaxed);
}
