//! Waiting for a busy database: how long, how often, and the count of it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How a busy database is waited for: with pauses that double and vary at random, up to a limit in time.
///
/// A database is busy when it says that another connection holds what a statement needs (`SQLITE_BUSY`,
/// `SQLITE_LOCKED`), or that it has no room for another connection now, or is starting. Then nothing has happened, and
/// the same statement may be sent again. `BEGIN`, `COMMIT`, and the statements with which a connection is opened are
/// repeated like this; the statements of the body are not, for only the body knows what else it has to repeat. With
/// [`Begin::run`](crate::Begin::run) the whole transaction is repeated, within the same limit.
///
/// This wait comes on top of the database's own: an attempt at SQLite waits up to
/// [`busy_timeout`](sqlx::sqlite::SqliteConnectOptions::busy_timeout) (sqlx's default: 5 s) before it reports.
///
/// ```
/// use std::time::Duration;
/// use tenure_sqlx::Retry;
///
/// let patient = Retry::new().limit(Duration::from_secs(60));
/// let once = Retry::never();
/// assert_ne!(patient, once);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    limit: Duration,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Retry {
    /// How long a busy database is waited for, by default.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);
    /// The longest that the first pause may be, by default.
    pub const DEFAULT_FIRST_PAUSE: Duration = Duration::from_millis(2);
    /// The longest that any pause may be, by default.
    pub const DEFAULT_LONGEST_PAUSE: Duration = Duration::from_millis(200);

    /// Creates the default: up to 10 s, in pauses of up to 2 ms at first and up to 200 ms at last.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limit: Self::DEFAULT_LIMIT,
            first_pause: Self::DEFAULT_FIRST_PAUSE,
            longest_pause: Self::DEFAULT_LONGEST_PAUSE,
        }
    }

    /// One attempt, no second.
    #[must_use]
    pub const fn never() -> Self {
        Self::new().limit(Duration::ZERO)
    }

    /// For how long to try again, counted from the first attempt. An attempt that has begun is not cut short.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the upper bound of the first pause, and of the longest one. Each pause is drawn at random between
    /// zero and its bound, which doubles from one to the next.
    #[must_use]
    pub const fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    pub(crate) fn start(self) -> Attempts {
        Attempts { retry: self, began: Instant::now(), failed: 0 }
    }

    /// The upper bound of the pause after `failed` attempts.
    fn bound(self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

/// The attempts at one statement so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    retry: Retry,
    began: Instant,
    failed: u32,
}

/// The limit has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GaveUp {
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
}

impl Attempts {
    /// Counts a failed attempt and waits for the time of the next one, if there may be one.
    ///
    /// # Cancel safety
    /// Nothing but the wait is lost.
    pub(crate) async fn pause(&mut self) -> Result<(), GaveUp> {
        self.failed += 1;
        let waited = self.began.elapsed();
        let bound = self.retry.bound(self.failed);
        // A full jitter: those who were refused together do not come back together.
        let pause = bound.mul_f64(fastrand::f64());
        if waited.saturating_add(pause) >= self.retry.limit {
            return Err(GaveUp { attempts: self.failed, waited });
        }
        sleep(pause).await;
        Ok(())
    }
}
