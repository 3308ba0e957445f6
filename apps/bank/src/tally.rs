//! What is counted while the bank runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tenure::{Incident, IncidentKind};

use crate::account::Books;

/// How a transfer ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The money was moved.
    Committed,
    /// It was refused by a rule.
    RolledBack,
    /// It was dropped, or timed out. The commit may have been under way, and then it was finished.
    Cancelled,
    /// It panicked.
    Panicked,
}

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    ended: [AtomicU64; 4],
    left_open: AtomicU64,
    details: Mutex<Details>,
}

/// What is written seldom, or too large for an atomic.
#[derive(Debug)]
struct Details {
    latency: Histogram<u64>,
    began: Option<Instant>,
    took: Duration,
    books_before: Option<Books>,
    books_after: Option<Books>,
    /// What went wrong with nobody there to be told: how often, and what it was first.
    incidents: u64,
    first_incident: Option<String>,
}

/// Latencies are kept in microseconds, to a minute, in steps of 1 %.
const LATENCY_MAX_US: u64 = 60_000_000;
const LATENCY_DIGITS: u8 = 2;

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            ended: Default::default(),
            left_open: AtomicU64::new(0),
            details: Mutex::new(Details {
                latency: Histogram::new_with_max(LATENCY_MAX_US, LATENCY_DIGITS)
                    .expect("the two constants are in range"),
                began: None,
                took: Duration::ZERO,
                books_before: None,
                books_after: None,
                incidents: 0,
                first_incident: None,
            }),
        }
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clients begin.
    pub(crate) fn begin(&self, books: Books) {
        let mut details = self.details();
        details.began = Some(Instant::now());
        details.books_before = Some(books);
    }

    /// A transfer ended.
    pub(crate) fn transfer_ended(&self, how: Ended, after: Duration) {
        // Relaxed, here and below: counts publish nothing, and are read when all threads that write are joined.
        self.ended[how as usize].fetch_add(1, Ordering::Relaxed);
        let mut details = self.details();
        if how == Ended::Committed {
            let microseconds = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            details.latency.saturating_record(microseconds);
        }
        if let Some(began) = details.began {
            details.took = began.elapsed();
        }
    }

    /// All clients are gone.
    pub(crate) fn end(&self, books: Books) {
        self.details().books_after = Some(books);
    }

    /// A connection was about to be closed with a transaction open on it.
    pub(crate) fn transaction_left_open(&self) {
        self.left_open.fetch_add(1, Ordering::Relaxed);
    }

    /// Something went wrong with nobody there to be told.
    pub(crate) fn take_incident(&self, incident: &Incident) {
        // A refusal whose client was gone before the rollback had ended is in the order of things.
        if incident.kind != IncidentKind::BodyUnclaimed {
            let mut details = self.details();
            details.incidents += 1;
            details.first_incident.get_or_insert_with(|| incident.to_string());
        }
    }

    /// How often something went wrong with nobody there to be told, and what it was first.
    pub(crate) fn incidents(&self) -> Option<(u64, String)> {
        let details = self.details();
        let first = details.first_incident.clone()?;
        Some((details.incidents, first))
    }

    pub(crate) fn ended(&self, how: Ended) -> u64 {
        self.ended[how as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn left_open(&self) -> u64 {
        self.left_open.load(Ordering::Relaxed)
    }

    pub(crate) fn books_before(&self) -> Option<Books> {
        self.details().books_before
    }

    pub(crate) fn books_after(&self) -> Option<Books> {
        self.details().books_after
    }

    /// From the begin of the first transfer to the end of the last one.
    pub(crate) fn took(&self) -> Duration {
        self.details().took
    }

    /// The latency that this part of the committed transfers did not exceed.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.details().latency.value_at_quantile(quantile))
    }
}
