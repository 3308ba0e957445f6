//! The future of a get: at once if something is idle, else first come, first served.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::builder::load;
use crate::clock::{NEVER, TICK, between, nanos};
use crate::create;
use crate::error::{GetError, GetErrorKind};
use crate::lease::Lease;
use crate::manager::{Manager, Why};
use crate::pool::Pool;
use crate::raw::{Class, Entry, Served, Slow, Waiter, renew};
use crate::scope;
use crate::shared::{Checkout, Claimed, Locked, Shared, adopt_runtime, flag};
use crate::status::count;
use crate::work::{Kind, Task, Work, doom, give_back, retire, tend};

/// How a wait can be failed from outside; see [`kind_of`].
pub(crate) const FAILED_TIMEOUT: u8 = 0;
pub(crate) const FAILED_CLOSED: u8 = 1;
pub(crate) const FAILED_CREATE: u8 = 2;
pub(crate) const FAILED_SHED: u8 = 3;
pub(crate) const FAILED_RUNTIME: u8 = 4;

fn kind_of(failure: u8) -> GetErrorKind {
    match failure {
        FAILED_TIMEOUT => GetErrorKind::Exhausted,
        FAILED_CLOSED => GetErrorKind::Closed,
        FAILED_CREATE => GetErrorKind::CreateFailing,
        FAILED_SHED => GetErrorKind::Shed,
        _ => GetErrorKind::NoRuntime,
    }
}

/// The time limit that means "that of the pool".
const OF_POOL: u64 = NEVER - 1;

/// Who is served first among those who wait. Within a class it is first come, first served; a class waits
/// for as long as somebody of a higher one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// Before all others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After all others.
    Low,
}

enum Stage<M: Manager> {
    /// Has not asked, or asks again in front of all others.
    Start {
        again: bool,
    },
    /// Is in the queue.
    Waiting,
    /// Has a resource, which is checked.
    Checking(Checkout<M>),
    Done,
}

pin_project! {
    /// A get under way: a future, and a context for [`with`](tenure::with). Made by
    /// [`Pool::get`](crate::Pool::get), which says all about it.
    #[must_use = "a get does nothing until it is awaited"]
    pub struct Get<P, M>
    where
        P: Borrow<Pool<M>>,
        M: Manager,
    {
        pool: P,
        location: &'static Location<'static>,
        // Nanoseconds: before the first wait the limit, after it the moment.
        deadline: u64,
        since: u64,
        priority: Class,
        stage: Stage<M>,
        #[pin]
        waiter: Waiter,
    }

    impl<P, M> PinnedDrop for Get<P, M>
    where
        P: Borrow<Pool<M>>,
        M: Manager,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let shared = &(*this.pool).borrow().shared;
            match mem::replace(this.stage, Stage::Done) {
                Stage::Start { .. } | Stage::Done => {}
                Stage::Waiting => cancel(shared, this.waiter.as_ref()),
                // The check goes on without us, and the resource is for the next one.
                Stage::Checking(checkout) => shared.spawn(finish_checkout(checkout)),
            }
        }
    }
}

async fn finish_checkout<M: Manager>(checkout: Checkout<M>) {
    if let Some(work) = checkout.await {
        give_back(work.finish());
    }
}

/// Leaves the queue. What was handed over meanwhile is for the next one.
fn cancel<M: Manager>(shared: &Arc<Shared<M>>, waiter: Pin<&Waiter>) {
    let (served, waker) = shared.lock().cancel(waiter);
    drop(waker);
    count(&shared.ext.counts.cancelled);
    if let Served::Slot(claim) = served {
        give_back(claim);
    }
}

impl<P, M> Get<P, M>
where
    P: Borrow<Pool<M>>,
    M: Manager,
{
    pub(crate) fn new(pool: P, location: &'static Location<'static>) -> Self {
        Self {
            pool,
            location,
            deadline: OF_POOL,
            since: 0,
            priority: Class::Normal,
            stage: Stage::Start { again: false },
            waiter: Waiter::new(),
        }
    }

    /// Waits for at most this long, or without a limit, instead of the pool's
    /// [`get_timeout`](crate::Builder::get_timeout). Zero does not wait at all.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.deadline = limit.into().map_or(NEVER, |limit| nanos(limit).min(OF_POOL - 1));
        self
    }

    /// Waits in this class.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = match priority {
            Priority::High => Class::High,
            Priority::Normal => Class::Normal,
            Priority::Low => Class::Low,
        };
        self
    }
}

impl<P, M> Future for Get<P, M>
where
    P: Borrow<Pool<M>>,
    M: Manager,
{
    type Output = Result<Lease<M>, GetError>;

    // Not a hint, for that was not taken: 18 ns a get and return against 28 (2026-11-22).
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let mut claim = None;
        if let Stage::Start { again: false } = this.stage {
            claim = (*this.pool).borrow().shared.try_pop();
        }
        // One way out for all that is not quick keeps this small enough to be inlined.
        match claim {
            Some(claim) if claim.meta().flags.load(Ordering::Relaxed) == 0 => {
                *this.stage = Stage::Done;
                Poll::Ready(Ok(Lease::lend(claim, this.location)))
            }
            claim => self.poll_rest(claim, cx),
        }
    }
}

impl<P, M> Get<P, M>
where
    P: Borrow<Pool<M>>,
    M: Manager,
{
    /// Goes on, with a claim that is not known to be good, or without.
    #[cold]
    #[inline(never)]
    fn poll_rest(
        mut self: Pin<&mut Self>,
        claim: Option<Claimed<M>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Lease<M>, GetError>> {
        if let Some(claim) = claim
            && let Some(claim) = self.as_mut().accept(claim)
        {
            let this = self.project();
            *this.stage = Stage::Done;
            return Poll::Ready(Ok(Lease::lend(claim, this.location)));
        }
        self.poll_slow(cx)
    }

    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Lease<M>, GetError>> {
        loop {
            let claim = match &mut self.as_mut().project().stage {
                Stage::Start { .. } => ready!(self.as_mut().ask(cx)),
                Stage::Waiting => ready!(self.as_mut().poll_waiting(cx)),
                Stage::Checking(checkout) => {
                    let checked = ready!(checkout.as_mut().poll(cx));
                    // A failed check costs the resource, not the place in the queue.
                    let stage = self.as_mut().project().stage;
                    let ended = mem::replace(stage, Stage::Start { again: true });
                    let Some(work) = checked else { continue };
                    let mut claim = work.finish();
                    if let (Stage::Checking(scratch), Some(cargo)) = (ended, claim.resource_mut()) {
                        *cargo.scratch.get_mut() = Some(scratch);
                    }
                    self.as_mut().project().stage.end();
                    return Poll::Ready(Ok(Lease::lend(claim, self.location)));
                }
                Stage::Done => panic!("a get was polled after it had ended"),
            };
            let claim = match claim {
                Ok(claim) => claim,
                Err(error) => {
                    self.as_mut().project().stage.end();
                    return Poll::Ready(Err(error));
                }
            };
            if let Some(claim) = self.as_mut().accept(claim) {
                self.as_mut().project().stage.end();
                return Poll::Ready(Ok(Lease::lend(claim, self.location)));
            }
        }
    }

    /// Looks whether the resource of a claim may be lent as it is; if not, it is checked or closed.
    fn accept(self: Pin<&mut Self>, claim: Claimed<M>) -> Option<Claimed<M>> {
        let this = self.project();
        let flags = claim.meta().flags.load(Ordering::Relaxed);
        if let Some(why) = doom(flags) {
            *this.stage = Stage::Start { again: true };
            retire(claim, why);
            return None;
        }
        if flags & (flag::STALE | flag::ALWAYS) == 0 || claim.meta().uses.load(Ordering::Relaxed) == 0 {
            return Some(claim);
        }
        if flags & flag::STALE != 0 {
            // Upkeep may sleep, and the coarse clock with it.
            let shared = &(*this.pool).borrow().shared;
            shared.ext.clock.now();
            shared.rouse();
        }
        let mut work = Work::new(claim, Kind::Checkout);
        let cargo = work.claim_mut().resource_mut();
        let scratch = cargo.and_then(|cargo| cargo.scratch.get_mut().take());
        *this.stage = Stage::Checking(renew(scratch, tend(work, Task::Check, Why::Checkout)));
        None
    }

    /// Looks at the wait.
    fn poll_waiting(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Claimed<M>, GetError>> {
        let this = self.project();
        let shared = &(*this.pool).borrow().shared;
        let waiter = this.waiter.as_ref();
        let mut served = waiter.look(shared);
        if let Served::Waiting = served {
            let waker = cx.waker().clone();
            let mut locked = shared.lock();
            let left_over = locked.renew_waker(waiter, waker);
            drop(locked);
            drop(left_over);
            served = waiter.look(shared);
        }
        match served {
            Served::Waiting => Poll::Pending,
            Served::Slot(claim) => {
                *this.stage = Stage::Start { again: true };
                note_wait(shared, *this.since);
                Poll::Ready(Ok(claim))
            }
            Served::Failed(failure) => {
                *this.stage = Stage::Start { again: true };
                let waited = between(*this.since, shared.ext.clock.now());
                Poll::Ready(Err(shared.get_error(kind_of(failure), waited)))
            }
        }
    }

    /// Takes an idle resource under the lock, or joins the queue.
    fn ask(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Claimed<M>, GetError>> {
        let this = self.project();
        let shared = &(*this.pool).borrow().shared;
        let Stage::Start { again } = *this.stage else {
            return Poll::Pending;
        };
        if *this.since == 0 {
            let limit = match *this.deadline {
                OF_POOL => load(&shared.ext.tuning.get),
                limit => limit,
            };
            (*this.since, *this.deadline) = begin_wait(shared, limit);
        }
        let waker = cx.waker().clone();
        let entry = Entry { class: *this.priority, since: *this.since, deadline: *this.deadline, home: 0 };
        let mut locked = shared.lock();
        let joined = match join(&mut locked, entry, again) {
            Ok(joined) => joined,
            Err(kind) => {
                drop(locked);
                let waited = between(*this.since, shared.ext.clock.now());
                return Poll::Ready(Err(shared.get_error(kind, waited)));
            }
        };
        if let Some(claim) = joined {
            return Poll::Ready(Ok(claim));
        }
        locked.enqueue(this.waiter.as_ref(), waker, entry, again);
        *this.stage = Stage::Waiting;
        if !again {
            locked.state.waits += 1;
        }
        let is_first_deadline = entry.deadline < locked.state.next_expiry;
        if is_first_deadline {
            locked.state.next_expiry = entry.deadline;
        }
        let (runs, creators) = (locked.state.upkeep, create::demand(&mut locked));
        drop(locked);
        if !runs {
            shared.ensure_upkeep();
        } else if is_first_deadline {
            shared.ext.signal.notify_one();
        }
        create::start(shared, creators);
        Poll::Pending
    }
}

/// One in so many waits is timed precisely, for the histogram.
const MEASURED_EVERY: u64 = 16;
/// From this limit on the coarse clock will do.
const COARSE_FROM: u64 = 16 * nanos(TICK);
/// The last bit of the beginning of a wait says that it is precise.
const PRECISE: u64 = 1;

/// The beginning of a wait with this limit, and its deadline.
///
/// Two reads of the clock are a quarter of what a contended get costs, so long waits begin at the coarse time.
/// They end too late by up to two ticks then, and not too early: upkeep makes up for a clock that stood still.
fn begin_wait<M: Manager>(shared: &Arc<Shared<M>>, limit: u64) -> (u64, u64) {
    let ext = &shared.ext;
    let is_coarse = limit >= COARSE_FROM
        && ext.config.codel.is_none()
        && !ext.asleep.load(Ordering::Relaxed)
        // Not a read-modify-write: a number that is lost now and then is no loss.
        && !ext.waits.load(Ordering::Relaxed).is_multiple_of(MEASURED_EVERY);
    ext.waits.store(ext.waits.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    let since = if is_coarse { ext.clock.coarse() & !PRECISE } else { ext.clock.now() | PRECISE };
    let slack = if is_coarse { nanos(TICK) } else { 0 };
    let deadline = if limit == NEVER { NEVER } else { since.saturating_add(limit).saturating_add(slack) };
    (since.max(1), deadline)
}

/// Notes in the histogram how long a wait took, if it was timed precisely.
fn note_wait<M: Manager>(shared: &Arc<Shared<M>>, since: u64) {
    if since & PRECISE != 0 {
        shared.ext.timings.wait.record(between(since, shared.ext.clock.now()));
    }
}

/// Takes an idle resource, or sees to it that a waiter may be enqueued.
fn join<M: Manager>(
    locked: &mut Locked<'_, M>,
    entry: Entry,
    again: bool,
) -> Result<Option<Claimed<M>>, GetErrorKind> {
    if locked.state.closed {
        return Err(GetErrorKind::Closed);
    }
    if scope::holds_all(locked) {
        return Err(GetErrorKind::SelfDeadlock);
    }
    loop {
        if !locked.state.paused
            && locked.queue.is_empty()
            && let Some(claim) = locked.pop_idle()
        {
            return Ok(Some(claim));
        }
        if entry.deadline <= entry.since || (again && entry.deadline <= locked.core().ext.clock.now()) {
            return Err(GetErrorKind::Exhausted);
        }
        if !again && locked.queue.len() >= locked.core().ext.config.max_waiting {
            return Err(GetErrorKind::Saturated);
        }
        if !adopt_runtime::<M>(locked) {
            return Err(GetErrorKind::NoRuntime);
        }
        if locked.is_slow(Slow::WAITERS) {
            return Ok(None);
        }
        if locked.state.paused {
            locked.set_slow(Slow::WAITERS);
            return Ok(None);
        }
        if locked.set_waiters_if_empty() {
            return Ok(None);
        }
    }
}

impl<M: Manager> Stage<M> {
    fn end(&mut self) {
        *self = Self::Done;
    }
}

impl<P, M> fmt::Debug for Get<P, M>
where
    P: Borrow<Pool<M>>,
    M: Manager,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("location", &self.location).finish_non_exhaustive()
    }
}
