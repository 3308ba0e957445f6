//! What can be seen of a pool from outside.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::histogram::{Durations, Histogram};

/// The state of a pool at one moment.
///
/// The parts that are counted without a lock (`idle`, `in_use`) may be off by those that change hands at
/// that very moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Number of resources that may be alive.
    pub max_size: usize,
    /// How many are alive or being created: the sum of the six that follow.
    pub size: usize,
    /// Ready to be lent.
    pub idle: usize,
    /// Lent.
    pub in_use: usize,
    /// Being created.
    pub creating: usize,
    /// How long the oldest create under way has been running.
    pub creating_for: Duration,
    /// Being checked.
    pub checking: usize,
    /// Being reset.
    pub resetting: usize,
    /// Being closed.
    pub closing: usize,
    /// Gets that wait.
    pub waiting: usize,
    /// `true` if the pool lends nothing for now.
    pub paused: bool,
    /// `true` if the pool is closed.
    pub closed: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "size {} of {}, idle {}, in use {}, creating {}",
            self.size, self.max_size, self.idle, self.in_use, self.creating
        )?;
        if self.creating > 0 {
            write!(f, " for {:.1?}", self.creating_for)?;
        }
        write!(f, ", waiting {}", self.waiting)?;
        if self.paused {
            f.write_str(", paused")?;
        }
        if self.closed {
            f.write_str(", closed")?;
        }
        Ok(())
    }
}

/// A lease that is out.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// The number of the resource.
    pub id: u64,
    /// Where `get` was called.
    pub location: &'static Location<'static>,
    /// For how long it is out, to within an eighth of a second.
    pub held: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resource {} held for {:.1?} by {}", self.id, self.held, self.location)
    }
}

/// What has happened since the pool was built. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Leases given out, up to those that are out now.
    pub lent: u64,
    /// Gets that were started: those that were served, failed, or were dropped while they waited, and those that wait.
    pub gets: u64,
    /// Gets that failed, for whatever reason.
    pub get_failures: u64,
    /// Gets that had to wait.
    pub waited: u64,
    /// Waits that ended with a lease.
    pub waits_served: u64,
    /// How long the waits that ended with a lease took in all. It is estimated from those that are
    /// [measured](Histograms::wait).
    pub wait_time: Duration,
    /// Waits that ended because the get was dropped.
    pub cancelled: u64,
    /// Gets that reached their time limit.
    pub timed_out: u64,
    /// Gets not let in because too many waited, or dropped from a slow queue.
    pub shed: u64,
    /// Calls of `create`.
    pub create_attempts: u64,
    /// Calls of `create` that failed, panicked or ran out of time.
    pub create_failures: u64,
    /// Resources that were created or added.
    pub opened: u64,
    /// Resources that are gone: closed, dropped or detached.
    pub closed: u64,
    /// Of the closed ones: those that left by `detach`.
    pub detached: u64,
    /// Of the closed ones: those whose close failed, panicked or ran out of time.
    pub close_failures: u64,
    /// Of the closed ones: those that were merely dropped because no runtime was there to close them.
    pub dropped: u64,
    /// Checks that failed.
    pub check_failures: u64,
    /// Resets begun.
    pub resets: u64,
    /// Resets that failed.
    pub reset_failures: u64,
    /// Hooks, on a get or on a return, that failed.
    pub hook_failures: u64,
    /// Leases that were held for longer than the leak threshold.
    pub overdue: u64,
}

/// How many values [`Why`](crate::Why) may have.
const REASONS: usize = 32;

macro_rules! counts {
    ($($name:ident),*) => {
        /// The counters that are not under the lock.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: AtomicU64,)*
            /// Waits that ended with an error.
            pub(crate) failed_waits: AtomicU64,
            /// By the number of the reason.
            pub(crate) closed_for: [AtomicU64; REASONS],
        }
        impl Counts {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters {
                    gets: 0,
                    waited: 0,
                    waits_served: 0,
                    wait_time: Duration::ZERO,
                    $($name: self.$name.load(Ordering::Relaxed)),*
                }
            }
        }
    };
}
counts!(
    lent,
    cancelled,
    timed_out,
    shed,
    create_attempts,
    create_failures,
    opened,
    closed,
    detached,
    close_failures,
    dropped,
    check_failures,
    resets,
    reset_failures,
    hook_failures,
    get_failures,
    overdue
);

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The histograms.
#[derive(Debug)]
pub(crate) struct Timings {
    pub(crate) wait: Histogram,
    pub(crate) usage: Histogram,
    pub(crate) create: Histogram,
}

impl Timings {
    pub(crate) const fn new() -> Self {
        Self { wait: Histogram::new(), usage: Histogram::new(), create: Histogram::new() }
    }

    pub(crate) fn snapshot(&self) -> Histograms {
        Histograms { wait: self.wait.snapshot(), usage: self.usage.snapshot(), create: self.create.snapshot() }
    }
}

/// How long things took since the pool was built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Histograms {
    /// Waits that ended with a lease. A get that found an idle resource did not wait and is not here. The first wait and
    /// then every 16th is measured, unless [`measure_all`](crate::Builder::measure_all) is set.
    pub wait: Durations,
    /// Leases, from get to return. Of each resource the first use and then every 64th is measured, unless
    /// [`measure_all`](crate::Builder::measure_all) is set.
    pub usage: Durations,
    /// Calls of `create` that succeeded.
    pub create: Durations,
}
