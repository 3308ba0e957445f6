//! The settings of a pool: what is fixed when it is built, and what can be changed while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{NEVER, nanos};
use crate::error::BuildError;
use crate::event::Events;

/// The most resources a pool can have.
const MAX_SIZE_LIMIT: usize = 1_000_000;

/// Refuses a size that no pool can have.
pub(crate) fn check_max_size(max_size: usize) -> Result<(), BuildError> {
    if (1..=MAX_SIZE_LIMIT).contains(&max_size) { Ok(()) } else { Err(BuildError::MaxSize(max_size)) }
}

/// Which idle resource is lent next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// The one returned last. Few stay busy, and the rest can reach their idle timeout. The default, and
    /// the order of the fast path.
    #[default]
    Lifo,
    /// The one returned first: all are used in turn. A get and a return take a lock in this order.
    Fifo,
}

/// Drops gets from a queue that is too slow, after the CoDel algorithm.
///
/// If for an `interval` no get waited for less than `target`, the queue does not absorb a burst, it stands.
/// From then on those who have waited for more than twice the target fail with
/// [`Shed`](crate::GetErrorKind::Shed), until one waits for less than the target again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Codel {
    pub(crate) target: Duration,
    pub(crate) interval: Duration,
}

impl Codel {
    /// With this target and interval; 50 ms and 2 s are a good start.
    #[must_use]
    pub const fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval }
    }
}

/// What is fixed when the pool is built.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) order: Order,
    pub(crate) pooling: bool,
    pub(crate) max_waiting: usize,
    pub(crate) parallel_creates: usize,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) fail_fast: bool,
    pub(crate) codel: Option<Codel>,
    pub(crate) events: Events,
}

/// Durations that can be changed while the pool runs, in nanoseconds; [`NEVER`] is no limit.
#[derive(Debug)]
pub(crate) struct Tuning {
    pub(crate) get: AtomicU64,
    pub(crate) create: AtomicU64,
    pub(crate) check: AtomicU64,
    pub(crate) reset: AtomicU64,
    pub(crate) close: AtomicU64,
    pub(crate) lifetime: AtomicU64,
    pub(crate) idle: AtomicU64,
    pub(crate) keepalive: AtomicU64,
    pub(crate) check_after: AtomicU64,
    pub(crate) leak: AtomicU64,
    pub(crate) drain: AtomicU64,
}

impl Tuning {
    pub(crate) fn new() -> Self {
        let seconds = |seconds| AtomicU64::new(nanos(Duration::from_secs(seconds)));
        Self {
            get: seconds(30),
            create: seconds(10),
            check: seconds(5),
            reset: seconds(5),
            close: seconds(5),
            lifetime: seconds(30 * 60),
            idle: seconds(10 * 60),
            keepalive: AtomicU64::new(NEVER),
            check_after: AtomicU64::new(nanos(Duration::from_millis(500))),
            leak: AtomicU64::new(NEVER),
            drain: seconds(30),
        }
    }
}

pub(crate) fn load(limit: &AtomicU64) -> u64 {
    limit.load(Ordering::Relaxed)
}

pub(crate) fn store(limit: &AtomicU64, value: Option<Duration>) {
    limit.store(value.map_or(NEVER, nanos), Ordering::Relaxed);
}
