//! What is counted while the bank runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tenure::{Counters, Incident, IncidentKind, Outcome};

use crate::books::ledger::Books;
use crate::problem::Problem;

/// How a transfer ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The money was moved.
    Committed,
    /// It was refused by a rule.
    RolledBack,
    /// The client went away. The commit may have been under way, and then it was finished.
    Cancelled,
    /// It panicked.
    Panicked,
    /// The service was stopped before it took the request in.
    Unanswered,
}

/// How a request ended, as the service was told at its exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Completed,
    Failed,
    Panicked,
    Cancelled,
}

impl From<Outcome<'_>> for Served {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Panicked(_) => Self::Panicked,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// How many enters are to have an exit. To open its minimum, a pool is held for a moment and let go again: that enter
/// has none, and the one that follows has.
pub(crate) fn enters(counters: &Counters) -> u64 {
    counters.entered - counters.disarmed
}

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By [`Ended`].
    ended: [AtomicU64; 5],
    in_flight: AtomicU64,
    /// By [`Served`].
    served: [AtomicU64; 4],
    made: AtomicU64,
    refused: AtomicU64,
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
    in_flight_at_stop: u64,
    /// The first thing that kept the service from its work.
    problem: Option<Problem>,
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
            in_flight: AtomicU64::new(0),
            served: Default::default(),
            made: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            left_open: AtomicU64::new(0),
            details: Mutex::new(Details {
                latency: Histogram::new_with_max(LATENCY_MAX_US, LATENCY_DIGITS)
                    .expect("the two constants are in range"),
                began: None,
                took: Duration::ZERO,
                books_before: None,
                books_after: None,
                in_flight_at_stop: 0,
                problem: None,
                incidents: 0,
                first_incident: None,
            }),
        }
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written. Relaxed throughout: counts publish nothing, and decide something when all who write are gone.
impl Tally {
    /// The service begins.
    pub(crate) fn begin(&self, books: Books) {
        let mut details = self.details();
        details.began = Some(Instant::now());
        details.books_before = Some(books);
    }

    /// A transfer ended, for its client.
    pub(crate) fn transfer_ended(&self, how: Ended, after: Duration) {
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

    /// The service takes in a request.
    pub(crate) fn request_came(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over.
    pub(crate) fn request_ended(&self, how: Served) {
        self.served[how as usize].fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The service has made a transfer.
    pub(crate) fn transfer_made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// The service has refused a transfer by a rule.
    pub(crate) fn transfer_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The service is about to be stopped.
    pub(crate) fn stopping(&self) {
        self.details().in_flight_at_stop = self.in_flight();
    }

    /// All clients are gone, and the service has ended.
    pub(crate) fn end(&self, books: Books) {
        self.details().books_after = Some(books);
    }

    /// A connection was about to be closed with a transaction open on it.
    pub(crate) fn transaction_left_open(&self) {
        self.left_open.fetch_add(1, Ordering::Relaxed);
    }

    /// Something kept the service from its work. The first is kept.
    pub(crate) fn take_problem(&self, problem: Problem) {
        self.details().problem.get_or_insert(problem);
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
}

/// What is read.
impl Tally {
    pub(crate) fn ended(&self, how: Ended) -> u64 {
        self.ended[how as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn served(&self, how: Served) -> u64 {
        self.served[how as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight_at_stop(&self) -> u64 {
        self.details().in_flight_at_stop
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
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

    /// Since the service began.
    pub(crate) fn uptime(&self) -> Duration {
        self.details().began.map(|began| began.elapsed()).unwrap_or_default()
    }

    /// From the begin of the first transfer to the end of the last one.
    pub(crate) fn took(&self) -> Duration {
        self.details().took
    }

    /// The latency that this part of the committed transfers did not exceed.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.details().latency.value_at_quantile(quantile))
    }

    /// Takes out the first thing that kept the service from its work.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.details().problem.take()
    }

    /// How often something went wrong with nobody there to be told, and what it was first.
    pub(crate) fn incidents(&self) -> Option<(u64, String)> {
        let details = self.details();
        let first = details.first_incident.clone()?;
        Some((details.incidents, first))
    }
}
