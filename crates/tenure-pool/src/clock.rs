//! Time without a clock read on the fast path.
//!
//! Moments are nanoseconds since the pool was built. The coarse clock is a number in memory that upkeep
//! advances while anything is lent or was used lately; reading it is a plain load. Whoever reads the precise
//! clock anyway advances the coarse one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How far the coarse clock may be behind while it runs.
pub(crate) const TICK: Duration = Duration::from_millis(125);
/// The moment that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    coarse: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), coarse: AtomicU64::new(0) }
    }

    /// A clock that counts from the same moment.
    pub(crate) fn sibling(&self) -> Self {
        Self { start: self.start, coarse: AtomicU64::new(self.now()) }
    }

    /// The moment to within a tick, later never than now.
    #[inline]
    pub(crate) fn coarse(&self) -> u64 {
        self.coarse.load(Ordering::Relaxed)
    }

    /// The moment, precisely.
    pub(crate) fn now(&self) -> u64 {
        let now = nanos(self.start.elapsed());
        // A lost race sets it back by nanoseconds, which is within its error.
        self.coarse.store(now, Ordering::Relaxed);
        now
    }

    /// The instant of a moment, or a year from now if it never comes.
    pub(crate) fn instant(&self, moment: u64) -> Instant {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let at = if moment == NEVER { None } else { self.start.checked_add(Duration::from_nanos(moment)) };
        at.unwrap_or_else(|| Instant::now() + YEAR)
    }
}

/// A duration in nanoseconds; 584 years at most.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

/// The time from one moment to a later one.
pub(crate) fn between(earlier: u64, later: u64) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier))
}
