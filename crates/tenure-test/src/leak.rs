//! What a proof returns: a [`Report`] of what was tried, or a [`Leak`].

use std::backtrace::Backtrace;
use std::error::Error;
use std::fmt;

use crate::countdown::Cut;
use crate::site::Site;
use crate::{CancelBy, FaultKind, Flavour, Trace, Violation, spy};

/// What a proof has tried.
///
/// A proof of a future that never suspends, or never enters anything, passes and proves little. Assert what it
/// should have found: `assert!(report.suspensions >= 3)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a proof that tried nothing passes too: assert what it tried"]
pub struct Report {
    /// Runs of the future.
    pub runs: u64,
    /// The most suspensions seen in one run: the places at which the future was dropped, besides before its
    /// first poll.
    pub suspensions: u64,
    /// The most fault points seen in one run.
    pub points: u64,
    /// Faults injected, in all runs.
    pub faults: u64,
    /// Recorded resources entered, in all runs.
    pub entered: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.suspensions = self.suspensions.max(other.suspensions);
        self.points = self.points.max(other.points);
        self.faults += other.faults;
        self.entered += other.entered;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} suspensions, {} fault points, {} faults injected, {} resources entered",
            self.runs, self.suspensions, self.points, self.faults, self.entered
        )
    }
}

/// One run: what the harness did to it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) flavour: Flavour,
    pub(crate) cut: Option<Cut>,
    pub(crate) faults: Vec<(u64, FaultKind)>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cut {
            None => f.write_str("not cancelled")?,
            Some(Cut { at: 0, by: CancelBy::Abort }) => f.write_str("aborted before the first poll")?,
            Some(Cut { at: 0, .. }) => f.write_str("dropped before the first poll")?,
            Some(Cut { at, by }) => write!(f, "{by} at suspension {at}")?,
        }
        for (at, kind) in &self.faults {
            write!(f, ", {kind} at fault point {at}")?;
        }
        write!(f, ", on {}", self.flavour)
    }
}

/// A broken law: what was done to the future, where it stood, what leaked, and the whole trace.
pub struct Leak {
    pub(crate) plan: Plan,
    pub(crate) sites: Vec<Site>,
    pub(crate) awaits: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) trace: Trace,
}

impl Leak {
    pub(crate) fn new(
        plan: Plan,
        sites: Vec<Site>,
        backtraces: &[Backtrace],
        violations: Vec<Violation>,
        trace: Trace,
    ) -> Box<Self> {
        let mut awaits: Vec<_> = backtraces.iter().filter_map(spy::user_frame).collect();
        awaits.dedup();
        Box::new(Self { plan, sites, awaits, violations, trace })
    }

    /// The suspension at which the future was dropped: 0 is before its first poll. `None` if it was not.
    #[must_use]
    pub fn suspension(&self) -> Option<u64> {
        self.plan.cut.map(|cut| cut.at)
    }

    /// How the future was dropped.
    #[must_use]
    pub fn cancelled_by(&self) -> Option<CancelBy> {
        self.plan.cut.map(|cut| cut.by)
    }

    /// The flavour of the runtime it ran on.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.plan.flavour
    }

    /// The fault points at which a fault was injected, and which.
    #[must_use]
    pub fn faults(&self) -> &[(u64, FaultKind)] {
        &self.plan.faults
    }

    /// The awaits in which the future stood when it was dropped, innermost lines of code that are no library's:
    /// `src/transfer.rs:12:9 in bank::transfer`. Empty without debug information.
    #[must_use]
    pub fn awaits(&self) -> &[String] {
        &self.awaits
    }

    /// The laws that were broken.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What happened in the run.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        for site in &self.sites {
            writeln!(f, "  {site}")?;
        }
        for place in &self.awaits {
            writeln!(f, "  awaiting at {place}")?;
        }
        for violation in &self.violations {
            writeln!(f, "- {violation}")?;
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
