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

use crate::budget;
use crate::checkout::{self, Checked};
use crate::clock::{NEVER, TICK, between, nanos};
use crate::create;
use crate::error::{GetError, GetErrorKind};
use crate::home::{self, NOWHERE};
use crate::join::join;
use crate::lease::Lease;
use crate::manager::{Manager, Why};
use crate::pool::Pool;
use crate::raw::{Class, Entry, Served, Waiter};
use crate::settings::load;
use crate::shared::{Checkout, Claimed, Shared, flag, phase};
use crate::status::count;
use crate::wait::{FAILED_RUNTIME, kind_of};
use crate::work::{doom, give_back, retire};

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
                Stage::Checking(checkout) => shared.spawn(NOWHERE, checkout::finish(checkout)),
            }
        }
    }
}

/// Leaves the queue. What was handed over meanwhile is for the next one.
fn cancel<M: Manager>(shared: &Arc<Shared<M>>, waiter: Pin<&Waiter>) {
    let (served, waker) = {
        let mut locked = shared.lock();
        let cancelled = locked.cancel(waiter);
        budget::note_waiters(&locked);
        cancelled
    };
    drop(waker);
    count(&shared.ext.counts.cancelled);
    if let Served::Slot(claim) = served {
        claim.meta().phase.store(phase::READY, Ordering::Relaxed);
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
            let shared = &(*this.pool).borrow().shared;
            if shared.ext.pass.is_held(cx.waker()) {
                claim = shared.try_pop();
            }
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
            return Poll::Ready(Ok(self.lend(claim)));
        }
        self.poll_slow(cx)
    }

    fn lend(self: Pin<&mut Self>, claim: Claimed<M>) -> Lease<M> {
        let this = self.project();
        *this.stage = Stage::Done;
        Lease::lend(claim, this.location)
    }

    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Lease<M>, GetError>> {
        loop {
            let claim = match &mut self.as_mut().project().stage {
                Stage::Start { .. } => ready!(self.as_mut().ask(cx)),
                Stage::Waiting => match ready!(self.as_mut().poll_waiting(cx)) {
                    Some(claim) => claim,
                    None => continue,
                },
                Stage::Checking(_) => match ready!(self.as_mut().poll_checking(cx)) {
                    Ok(Some(claim)) => return Poll::Ready(Ok(self.lend(claim))),
                    // A failed check costs the resource, not the place in the queue.
                    Ok(None) => continue,
                    Err(error) => Err(error),
                },
                Stage::Done => panic!("a get was polled after it had ended"),
            };
            let claim = match claim {
                Ok(claim) => claim,
                Err(error) => {
                    *self.as_mut().project().stage = Stage::Done;
                    return Poll::Ready(Err(error));
                }
            };
            if let Some(claim) = self.as_mut().accept(claim) {
                return Poll::Ready(Ok(self.lend(claim)));
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
        if !needs_check(&claim, flags) {
            return Some(claim);
        }
        let shared = &(*this.pool).borrow().shared;
        if flags & flag::STALE != 0 {
            // The keepers may sleep, and the coarse clock with them.
            shared.rouse();
        }
        let limit = if *this.since == 0 {
            checkout::Limit::From(limit_of(shared, *this.deadline))
        } else if *this.deadline == NEVER {
            checkout::Limit::Never
        } else {
            checkout::Limit::At(shared.ext.clock.instant(*this.deadline))
        };
        *this.stage = Stage::Checking(checkout::begin(claim, limit));
        None
    }

    /// Looks at the check: a claim if it was passed, none if the next resource is to be tried.
    fn poll_checking(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Option<Claimed<M>>, GetError>> {
        let this = self.project();
        let shared = &(*this.pool).borrow().shared;
        let Stage::Checking(checkout) = this.stage else {
            return Poll::Pending;
        };
        let Poll::Ready(checked) = checkout.as_mut().poll(cx) else {
            if *this.since == 0 {
                // What the check takes counts, should it fail and another resource be waited for.
                let limit = limit_of(shared, *this.deadline);
                *this.since = (shared.ext.clock.now() & !MEASURED).max(2);
                *this.deadline = if limit == NEVER { NEVER } else { this.since.saturating_add(limit) };
            }
            return Poll::Pending;
        };
        let ended = mem::replace(this.stage, Stage::Start { again: true });
        let Stage::Checking(scratch) = ended else {
            return Poll::Pending;
        };
        match checked {
            Checked::Late => {
                shared.spawn(NOWHERE, checkout::finish(scratch));
                Poll::Ready(Err(shared.get_error(GetErrorKind::CheckPending, *this.since)))
            }
            Checked::Bad => Poll::Ready(Ok(None)),
            Checked::Good(work) => {
                let mut claim = work.finish();
                if let Some(cargo) = claim.resource_mut() {
                    *cargo.scratch.get_mut() = Some(scratch);
                }
                Poll::Ready(Ok(Some(claim)))
            }
        }
    }

    /// Looks at the wait; nothing if it is to ask again.
    fn poll_waiting(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Claimed<M>, GetError>>> {
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
                claim.meta().phase.store(phase::READY, Ordering::Relaxed);
                *this.stage = Stage::Start { again: true };
                note_wait(shared, *this.since);
                Poll::Ready(Some(Ok(claim)))
            }
            Served::Failed(failure) => {
                *this.stage = Stage::Start { again: true };
                if failure == FAILED_RUNTIME {
                    return Poll::Ready(None);
                }
                count(&shared.ext.counts.failed_waits);
                Poll::Ready(Some(Err(shared.get_error(kind_of(failure), *this.since))))
            }
        }
    }

    /// Takes an idle resource, or joins the queue.
    fn ask(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Claimed<M>, GetError>> {
        let this = self.project();
        let shared = &(*this.pool).borrow().shared;
        let Stage::Start { again } = *this.stage else {
            return Poll::Pending;
        };
        let mut entered = None;
        if !shared.ext.pass.is_held(cx.waker()) {
            entered = Some(shared.enter(Some(cx.waker())));
            // It may be the first here: then the fast path is open from now on.
            if !again
                && shared.ext.pass.is_held(cx.waker())
                && let Some(claim) = shared.try_pop()
            {
                return Poll::Ready(Ok(claim));
            }
        }
        if *this.since == 0 {
            (*this.since, *this.deadline) = begin_wait(shared, limit_of(shared, *this.deadline));
        }
        let waker = cx.waker().clone();
        let mut locked = shared.lock();
        let home = entered.unwrap_or_else(|| locked.state.homes.first());
        let entry = Entry { class: *this.priority, since: *this.since, deadline: *this.deadline, home };
        match join(&mut locked, entry, again) {
            Ok(None) => {}
            Ok(Some(claim)) => return Poll::Ready(Ok(claim)),
            Err(kind) => {
                drop(locked);
                return Poll::Ready(Err(shared.get_error(kind, *this.since)));
            }
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
        let creators = create::demand(&mut locked, home);
        let evicted = home::make_room(&mut locked);
        drop(locked);
        if is_first_deadline {
            shared.ext.signal.notify_waiters();
        }
        create::start(shared, creators);
        for claim in evicted {
            retire(claim, Why::OtherRuntime);
        }
        Poll::Pending
    }
}

/// Whether the resource of a claim with these flags is to be checked before it is lent.
fn needs_check<M: Manager>(claim: &Claimed<M>, flags: u32) -> bool {
    // One that was never lent was made just now, unless its runtime has gone since.
    flags & (flag::ORPHAN | flag::ON_GET) != 0
        || (flags & (flag::STALE | flag::ALWAYS) != 0 && claim.meta().uses.load(Ordering::Relaxed) != 0)
}

/// The limit of a get that has not begun to wait.
fn limit_of<M: Manager>(shared: &Shared<M>, limit: u64) -> u64 {
    if limit == OF_POOL { load(&shared.ext.tuning.get) } else { limit }
}

/// One in so many waits is measured, for the histogram: evenly, whatever its limit, so that the sample is fair.
const MEASURED_EVERY: u64 = 16;
/// From this limit on the coarse clock will do.
const COARSE_FROM: u64 = 16 * nanos(TICK);
/// The last bit of the beginning of a wait says that it is measured.
const MEASURED: u64 = 1;

/// The beginning of a wait with this limit, and its deadline.
///
/// Two reads of the clock are a quarter of what a contended get costs, so long waits begin at the coarse time.
/// They end too late by up to two ticks then, and not too early: upkeep makes up for a clock that stood still.
fn begin_wait<M: Manager>(shared: &Arc<Shared<M>>, limit: u64) -> (u64, u64) {
    let ext = &shared.ext;
    // Not a read-modify-write: a number that is lost now and then is no loss.
    let number = ext.waits.load(Ordering::Relaxed);
    ext.waits.store(number.wrapping_add(1), Ordering::Relaxed);
    let is_measured = ext.config.measures_all || number.is_multiple_of(MEASURED_EVERY);
    let is_coarse = !is_measured
        && limit >= COARSE_FROM
        && ext.config.codel.is_none()
        && !ext.asleep.load(Ordering::Relaxed);
    let now = if is_coarse { ext.clock.coarse() } else { ext.clock.now() };
    let since = if is_measured { now | MEASURED } else { (now & !MEASURED).max(2) };
    let slack = if is_coarse { nanos(TICK) } else { 0 };
    let deadline = if limit == NEVER { NEVER } else { since.saturating_add(limit).saturating_add(slack) };
    (since, deadline)
}

/// Notes in the histogram how long a wait took, if it is measured.
fn note_wait<M: Manager>(shared: &Arc<Shared<M>>, since: u64) {
    if since & MEASURED != 0 {
        shared.ext.record_wait(between(since, shared.ext.clock.now()));
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
