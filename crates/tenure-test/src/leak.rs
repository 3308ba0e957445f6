//! [`Leak`]: a run in which a law was broken.

use std::backtrace::Backtrace;
use std::error::Error;
use std::fmt;

use crate::plan::Plan;
use crate::site::Site;
use crate::{CancelBy, FaultKind, Flavour, Trace, Violation, spy};

/// A broken law: what was done to the future, where it stood, what leaked, and the whole trace.
pub struct Leak {
    pub(crate) plan: Plan,
    pub(crate) place: Place,
    pub(crate) violations: Vec<Violation>,
    pub(crate) hints: Vec<String>,
    pub(crate) trace: Trace,
}

/// Where a future stood when it was dropped.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Labelled steps.
    sites: Vec<Site>,
    /// Awaits, in the order in which they were polled.
    awaits: Vec<String>,
    /// Frames of libraries below the last await.
    libraries: Vec<String>,
}

impl Place {
    pub(crate) fn new(sites: Vec<Site>, backtraces: &[Backtrace], library_frames: bool) -> Self {
        let mut awaits: Vec<_> = backtraces.iter().filter_map(spy::user_frame).collect();
        awaits.dedup();
        let last = backtraces.last().filter(|_| library_frames);
        Self { sites, awaits, libraries: last.map(spy::library_frames).unwrap_or_default() }
    }

    /// The last await; else the last labelled step.
    pub(crate) fn last(&self) -> Option<String> {
        self.awaits.last().cloned().or_else(|| self.sites.last().map(ToString::to_string))
    }
}

impl Leak {
    /// A leak of the proof rather than of one run: it has tried too little.
    pub(crate) fn of_proof(plan: Plan, violation: Violation) -> Box<Self> {
        let trace = Trace::new(Vec::new());
        Box::new(Self { plan, place: Place::default(), violations: vec![violation], hints: Vec::new(), trace })
    }

    /// Whether it says that the test is wrong, as long as nothing was done to the run: the future or the check fails
    /// in any case.
    pub(crate) fn is_of_the_test(&self) -> bool {
        self.violations.iter().any(|violation| {
            matches!(
                violation,
                Violation::Check(_)
                    | Violation::CheckTimedOut { .. }
                    | Violation::Endless { .. }
                    | Violation::Failed(_)
                    | Violation::Hung { .. }
                    | Violation::SetUpTimedOut { .. }
            )
        })
    }

    /// Returns the suspension at which the future was dropped: 0 is before its first poll. `None` if it was not.
    #[must_use]
    pub fn suspension(&self) -> Option<u64> {
        self.plan.cut.map(|cut| cut.at)
    }

    /// Returns the way in which the future was dropped.
    #[must_use]
    pub fn cancelled_by(&self) -> Option<CancelBy> {
        self.plan.cut.map(|cut| cut.by)
    }

    /// Returns the flavour of the runtime that the future ran on.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.plan.flavour
    }

    /// Returns the fault points at which a fault was injected, and which.
    #[must_use]
    pub fn faults(&self) -> &[(u64, FaultKind)] {
        &self.plan.faults
    }

    /// Returns the awaits of the poll after which the future was dropped, in the order in which they were polled,
    /// as the innermost lines of code that are no library's: `src/transfer.rs:12:9 in bank::transfer`.
    ///
    /// The last is the one that was cut, unless several were awaited at once, as by `join!`. Those before it may
    /// have ended in the same poll. Empty without debug information; with line tables alone a function's name
    /// reads `{async_fn#0}`.
    #[must_use]
    pub fn awaits(&self) -> &[String] {
        &self.place.awaits
    }

    /// Returns the await that was cut: the last of [`awaits`](Self::awaits).
    #[must_use]
    pub fn cut_await(&self) -> Option<&str> {
        self.place.awaits.last().map(String::as_str)
    }

    /// Returns the frames of libraries in which the await that was cut stood, from the user's line inwards:
    /// `sqlx-postgres-0.9.0/src/transaction.rs:33:9 in sqlx_postgres::transaction::begin`. Empty unless asked for
    /// with [`Proof::library_frames`](crate::Proof::library_frames).
    #[must_use]
    pub fn library_frames(&self) -> &[String] {
        &self.place.libraries
    }

    /// Returns the laws that were broken.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the trace of the run.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        let Place { sites, awaits, libraries } = &self.place;
        for site in sites {
            writeln!(f, "  {site}")?;
        }
        if let Some((last, before)) = awaits.split_last() {
            writeln!(f, "  awaiting at {last}")?;
            for library in libraries {
                writeln!(f, "    within {library}")?;
            }
            for place in before {
                writeln!(f, "  before it, or beside it, in the same poll at {place}")?;
            }
        }
        for violation in &self.violations {
            writeln!(f, "- {violation}")?;
        }
        for hint in &self.hints {
            writeln!(f, "  hint: {hint}")?;
        }
        write!(f, "{}", self.trace)
    }
}

// The report itself: `unwrap` on a proof has to print it, not a dump of fields.
impl fmt::Debug for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Leak {}
