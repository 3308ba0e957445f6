//! Counts, kept in stripes so that threads do not meet at one cache line.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const STRIPES: usize = 16;

/// How often each thing has happened in a runtime since it began.
///
/// When nothing is open, `entered == exited + lost + disarmed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Enters that succeeded, and exits registered on a stack.
    pub entered: u64,
    /// Exits that have ended: well, with an error, with a panic, or at their time limit.
    pub exited: u64,
    /// Exits and shielded enters that went on after their caller was gone.
    pub handed_over: u64,
    /// Exits that ended with an error.
    pub failed: u64,
    /// Exits that panicked.
    pub panicked: u64,
    /// Exits that were dropped at their time limit.
    pub timed_out: u64,
    /// Exits that could not end, since their runtime was gone or there was none.
    pub lost: u64,
    /// Resources that were given out of their tenure, unexited, by their holder's will.
    pub disarmed: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Entered,
    Exited,
    HandedOver,
    Failed,
    Panicked,
    TimedOut,
    Lost,
    Disarmed,
    /// Entered and exited, counted at once.
    Passed,
}

const COUNTS: usize = 9;

#[derive(Debug, Default)]
pub(crate) struct Striped {
    stripes: [Stripe; STRIPES],
}

/// Two cache lines: the prefetcher of today's processors fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTS]);

impl Striped {
    #[inline]
    pub(crate) fn add(&self, count: Count, number: u64) {
        // Relaxed: a count publishes nothing.
        self.stripes[stripe() % STRIPES].0[count as usize].fetch_add(number, Ordering::Relaxed);
    }

    /// An exit, and its enter unless that is counted.
    #[inline]
    pub(crate) fn exited(&self, entered: bool) {
        self.one(if entered { Count::Exited } else { Count::Passed });
    }

    #[inline]
    pub(crate) fn one(&self, count: Count) {
        self.add(count, 1);
    }

    pub(super) fn sum(&self) -> Counters {
        let total = |count: Count| {
            let of = |stripe: &Stripe| stripe.0[count as usize].load(Ordering::Relaxed);
            self.stripes.iter().map(of).sum()
        };
        let passed = total(Count::Passed);
        Counters {
            entered: total(Count::Entered) + passed,
            exited: total(Count::Exited) + passed,
            handed_over: total(Count::HandedOver),
            failed: total(Count::Failed),
            panicked: total(Count::Panicked),
            timed_out: total(Count::TimedOut),
            lost: total(Count::Lost),
            disarmed: total(Count::Disarmed),
        }
    }
}

/// A number that differs from thread to thread.
#[inline]
pub(super) fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        mine.get()
    })
}
