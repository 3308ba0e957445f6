//! Opening and closing: the pool as a context.
//!
//! # How a pool closes
//! From the first moment nothing is lent any more, those who wait are failed, and idle resources are closed,
//! all side by side; creates under way that are stuck are dropped, for nobody wants them. Leases that are out may take until the drain
//! timeout; then the bodies of [`scope`](crate::Pool::scope) are cancelled. Each resource that comes back
//! is closed. What has not come back within another close timeout stays marked: it is closed when it does, and
//! the report names who holds it.
//!
//! # How a pool without handles closes
//! In the same way, but for leases it does not wait. A wait that nobody asked for, handed over as a tenure, is one that
//! the exits around it wait for (law 13), and among these may be the exit that would give the lease back: one of a
//! sibling entered earlier, or of a body in which the last handle is dropped. Instead, each lease that comes back sees
//! to the wait for its own close: its exit awaits it, or where it has none, it is handed over from there.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use tenure::{AsyncExit, Outcome, hold};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::budget;
use crate::clock::NEVER;
use crate::create;
use crate::error::{GetError, GetErrorKind};
use crate::manager::{Manager, Why};
use crate::pool::Pool;
use crate::raw::{Meta, Slow};
use crate::settings::load;
use crate::shared::{Locked, Shared, phase};
use crate::status::{Counters, Holder};
use crate::wait::{FAILED_CLOSED, wake_all};
use crate::work::retire;

/// The limit of one close where the pool sets none: a pool has to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What became of the resources of a closed pool.
#[derive(Clone, Debug)]
#[must_use = "the report tells what is still open"]
#[non_exhaustive]
pub struct CloseReport {
    /// Number of resources that the pool ever opened.
    pub opened: u64,
    /// How many of them are gone.
    pub closed: u64,
    /// Of these: how many had a close that failed, panicked or ran out of time.
    pub close_failures: u64,
    /// Of these: how many were dropped for want of a runtime.
    pub dropped: u64,
    /// The leases that have not come back. They are closed when they do.
    pub held: Vec<Holder>,
}

impl CloseReport {
    /// Returns `true` if everything that was opened is closed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.opened == self.closed && self.held.is_empty()
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} resources closed", self.closed, self.opened)?;
        if self.close_failures > 0 {
            write!(f, ", {} of them not in an orderly way", self.close_failures)?;
        }
        if self.dropped > 0 {
            write!(f, ", {} merely dropped", self.dropped)?;
        }
        for holder in &self.held {
            write!(f, "; {holder}")?;
        }
        Ok(())
    }
}

/// Why a pool could not be entered or left in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// The minimum could not be opened. What had been opened is closed again.
    Open(GetError),
    /// A get failed.
    Get(GetError),
    /// Not everything could be closed in time.
    Close(CloseReport),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_) => f.write_str("the minimum of the pool could not be opened"),
            Self::Get(_) => f.write_str("the pool lent no resource"),
            Self::Close(report) => write!(f, "the pool is not empty after its close: {report}"),
        }
    }
}

impl Error for PoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open(error) | Self::Get(error) => Some(error),
            Self::Close(_) => None,
        }
    }
}

impl From<GetError> for PoolError {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

/// Stops lending, fails those who wait, closes what is idle. The rest is closed as it comes back.
pub(crate) fn begin_close<M: Manager>(shared: &Arc<Shared<M>>) {
    let mut locked = shared.lock();
    if locked.state.closed {
        return;
    }
    locked.state.closed = true;
    locked.set_slow(Slow::CLOSED);
    shared.ext.pass.close();
    let wakers = locked.queue.fail_where(|_| Some(FAILED_CLOSED));
    locked.settle();
    budget::note_waiters(&locked);
    let idle = locked.pop_all_idle();
    drop(locked);
    // Nobody wants what is being created. It is the first close, so nothing was set before.
    let _ = shared.ext.closing.set(());
    wake_all(wakers);
    for claim in idle {
        retire(claim, Why::PoolClosed);
    }
    shared.ext.drained.notify_waiters();
    shared.ext.signal.notify_waiters();
}

impl<M: Manager> Pool<M> {
    /// Opens the minimum: waits until [`min_idle`](crate::Builder::min_idle) resources are alive. Entering the
    /// pool by [`with`](tenure::with) does the same; without either, the first gets open what they need.
    ///
    /// # Errors
    /// If the minimum is not there within the get timeout, or creating fails for good. The pool stays as it
    /// is; entering by `with` closes it in that case.
    ///
    /// # Cancel safety
    /// What was begun goes on.
    pub async fn open(&self) -> Result<(), GetError> {
        let shared = &self.shared;
        let here = shared.enter(None);
        let began = Instant::now();
        let since = shared.ext.clock.now();
        let limit = load(&self.tuning().get);
        let deadline = if limit == NEVER { None } else { began.checked_add(Duration::from_nanos(limit)) };
        loop {
            let changed = shared.ext.changed.notified();
            let (problem, creators) = {
                let mut locked = shared.lock();
                match opening(&locked, since) {
                    Opening::Done => return Ok(()),
                    Opening::Failed(kind) => (Some(kind), Vec::new()),
                    Opening::Waits => (None, create::demand(&mut locked, here)),
                }
            };
            if let Some(kind) = problem {
                return Err(shared.get_error(kind, since));
            }
            create::start(shared, creators);
            let in_time = ends_by(deadline, changed).await;
            if !in_time {
                return Err(shared.get_error(GetErrorKind::Exhausted, since));
            }
        }
    }

    /// Closes the pool, within its [drain timeout](crate::Builder::drain_timeout) and twice the close timeout;
    /// see [`close_within`](Self::close_within).
    ///
    /// # Cancel safety
    /// As `close_within`.
    pub async fn close(&self) -> CloseReport {
        close_inner(&self.shared, drain_limit(&self.shared)).await
    }

    /// Closes the pool: lends nothing any more, waits for the leases that are out for at most `drain`, then
    /// cancels the bodies of [`scope`](Self::scope), and closes every resource, all side by side. It ends at
    /// the latest twice the close timeout after `drain`.
    ///
    /// A second call waits for the same end. There is no way back; a closed pool lends nothing.
    ///
    /// A lease that is held around the call is waited for like any other, though it cannot come back before the call has
    /// ended. So it costs the whole of `drain` and a close timeout, and the report names it, with the place it was taken
    /// at. The same holds for a pool that is entered inside the body of one of its leases, or after a lease that is held
    /// beside it. Enter the pool first.
    ///
    /// # Cancel safety
    /// The closing goes on without the caller, except that nothing is cancelled then.
    pub async fn close_within(&self, drain: Duration) -> CloseReport {
        close_inner(&self.shared, Some(drain)).await
    }
}

/// How the opening of the minimum stands.
enum Opening {
    Done,
    Failed(GetErrorKind),
    Waits,
}

fn opening<M: Manager>(locked: &Locked<'_, M>, since: u64) -> Opening {
    let state = &locked.state;
    let ext = &locked.core().ext;
    let alive = state.total - state.creating - state.closing;
    if state.closed {
        Opening::Failed(GetErrorKind::Closed)
    } else if alive >= ext.config.min_idle.min(state.max_size) {
        Opening::Done
    } else if state.homes.len() == 0 {
        Opening::Failed(GetErrorKind::NoRuntime)
    } else if state.fails_for_good && (state.failed_at >= since || state.is_pausing(ext.clock.now())) {
        Opening::Failed(GetErrorKind::CreateFailing)
    } else {
        Opening::Waits
    }
}

async fn close_inner<M: Manager>(shared: &Arc<Shared<M>>, drain: Option<Duration>) -> CloseReport {
    begin_close(shared);
    if !wait_until(shared, drain, Left::Nothing).await {
        let limit = Some(revoke(shared));
        if !wait_until(shared, limit, Left::Nothing).await {
            // Those that came back last are being closed, each within the limit.
            wait_until(shared, limit, Left::Leases).await;
        }
    }
    shared.lock().state.close_ended = true;
    close_report(shared)
}

fn close_report<M: Manager>(shared: &Arc<Shared<M>>) -> CloseReport {
    let Counters { opened, closed, close_failures, dropped, .. } = shared.counters();
    CloseReport { opened, closed, close_failures, dropped, held: shared.holders() }
}

/// How long a closing pool waits of itself.
fn drain_limit<M: Manager>(shared: &Shared<M>) -> Option<Duration> {
    let limit = load(&shared.ext.tuning.drain);
    (limit != NEVER).then_some(Duration::from_nanos(limit))
}

/// Cancels bodies; returns how long what comes of it may take.
fn revoke<M: Manager>(shared: &Shared<M>) -> Duration {
    // An error says that another close has revoked already.
    let _ = shared.ext.revoked.set(());
    let limit = load(&shared.ext.tuning.close);
    if limit == NEVER { CLOSE_LIMIT } else { Duration::from_nanos(limit) }
}

/// Awaits the future until the deadline, if there is one; tells whether it ended.
async fn ends_by(deadline: Option<Instant>, future: impl Future<Output = ()>) -> bool {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.is_ok(),
        None => {
            future.await;
            true
        }
    }
}

/// What a wait for a closed pool leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Slots that are lent. Whatever else goes on is the pool's own work.
    Leases,
}

/// Whether a closed pool has nothing in its slots but what may be left.
fn has_only<M: Manager>(shared: &Arc<Shared<M>>, left: Left) -> bool {
    let locked = shared.lock();
    let is_lent = |meta: &&Meta| meta.phase.load(Ordering::Relaxed) == phase::READY && meta.holder().is_some();
    match (locked.state.total, left) {
        (0, _) => true,
        (_, Left::Nothing) => false,
        (total, Left::Leases) => locked.metas().filter(is_lent).count() == total,
    }
}

/// Waits until the pool has nothing but that in its slots; tells whether that came about in time.
async fn wait_until<M: Manager>(shared: &Arc<Shared<M>>, limit: Option<Duration>, left: Left) -> bool {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let drained = shared.ext.drained.notified();
        if has_only(shared, left) {
            return true;
        }
        if !ends_by(deadline, drained).await {
            return false;
        }
    }
}

/// Entering a pool opens its minimum. If that fails or is cancelled, what was opened is closed again.
impl<M: Manager> IntoFuture for Pool<M> {
    type Output = Result<Self, PoolError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            // Held, so that a cancelled opening closes as a tenure does, and `drain` knows of it.
            let held = hold(ready(Ok::<_, PoolError>(self))).await?;
            match held.open().await {
                Ok(()) => Ok(held.disarm()),
                Err(error) => {
                    // What is left open then is told by events; the error is that of the opening.
                    let _ = held.disarm().close().await;
                    Err(PoolError::Open(error))
                }
            }
        })
    }
}

/// The work that a pool without handles has still to do, to be waited for.
struct Orphan<M: Manager>(Arc<Shared<M>>);

impl<M: Manager> AsyncExit for Orphan<M> {
    type Error = PoolError;

    async fn exit(self, _: Outcome<'_>) -> Result<(), PoolError> {
        if finish_orphan(&self.0).await { Ok(()) } else { Err(PoolError::Close(close_report(&self.0))) }
    }
}

/// Waits until a pool without handles does nothing any more; tells whether that came about in time.
pub(crate) async fn finish_orphan<M: Manager>(shared: &Arc<Shared<M>>) -> bool {
    wait_until(shared, drain_limit(shared), Left::Leases).await
        || wait_until(shared, Some(revoke(shared)), Left::Leases).await
}

/// Closes a pool whose last handle is gone.
pub(crate) fn close_orphan<M: Manager>(shared: &Arc<Shared<M>>) {
    begin_close(shared);
    // What a close that has ended has left open was told, and is not waited for again.
    let is_told = shared.lock().state.close_ended;
    if !is_told {
        hand_over_orphan(shared);
    }
}

/// Hands over the wait for what a pool without handles still does, so that `drain` and the enclosing tenure wait.
#[cold]
pub(crate) fn hand_over_orphan<M: Manager>(shared: &Arc<Shared<M>>) {
    if has_only(shared, Left::Leases) || Handle::try_current().is_err() {
        return;
    }
    let mut held = pin!(hold(ready(Ok::<_, PoolError>(Orphan(Arc::clone(shared))))));
    // It is ready at once; what it yields is dropped, and thereby handed over.
    drop(held.as_mut().poll(&mut Context::from_waker(Waker::noop())));
}

/// Leaving a pool closes it, other handles notwithstanding.
impl<M: Manager> AsyncExit for Pool<M> {
    type Error = PoolError;

    async fn exit(self, _: Outcome<'_>) -> Result<(), PoolError> {
        let report = self.close().await;
        if report.is_clean() { Ok(()) } else { Err(PoolError::Close(report)) }
    }
}
