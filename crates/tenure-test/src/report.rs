//! [`Report`]: what a proof has tried.

use std::fmt;
use std::time::Duration;

/// Clocks that ran ahead by less than this are not worth a word.
const AHEAD_MIN: Duration = Duration::from_secs(1);

/// The account of what a proof has tried.
///
/// A proof fails by itself if no run could be dropped at a suspension, or no fault be injected. Assert what else
/// it should have found: `assert!(report.suspensions >= 3)`, or ask for it with
/// [`Proof::min_suspensions`](crate::Proof::min_suspensions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "assert what the proof has tried"]
pub struct Report {
    /// Runs of the future.
    pub runs: u64,
    /// Runs that were dropped on purpose, before the first poll or at a suspension.
    pub cut: u64,
    /// Runs that returned an error although nothing was done to them. Zero unless errors are allowed.
    pub failed: u64,
    /// The most suspensions seen in one run: the places at which the future was dropped, apart from the one before its
    /// first poll.
    pub suspensions: u64,
    /// The fewest suspensions seen in a run that nothing was done to. `None` if there was no such run.
    pub fewest_suspensions: Option<u64>,
    /// Places that a run had and that no run came to again when it was to be dropped or failed there.
    pub skipped: u64,
    /// The most fault points seen in one run.
    pub points: u64,
    /// Faults injected, in all runs.
    pub faults: u64,
    /// Recorded resources entered, in all runs.
    pub entered: u64,
    /// Enters that the hub counted, recorded resources among them, in all runs.
    pub tenures: u64,
    /// The most by which the paused clock ran ahead of real time in one run: timers that fired at once.
    pub clock_ahead: Duration,
}

impl Report {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.cut += other.cut;
        self.failed += other.failed;
        self.suspensions = self.suspensions.max(other.suspensions);
        self.fewest_suspensions = match (self.fewest_suspensions, other.fewest_suspensions) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.skipped += other.skipped;
        self.points = self.points.max(other.points);
        self.faults += other.faults;
        self.entered += other.entered;
        self.tenures += other.tenures;
        self.clock_ahead = self.clock_ahead.max(other.clock_ahead);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs, {} of them cut, ", self.runs, self.cut)?;
        match self.fewest_suspensions {
            Some(fewest) if fewest < self.suspensions => {
                write!(f, "{fewest} to {} suspensions", self.suspensions)?;
            }
            _ => write!(f, "{} suspensions", self.suspensions)?,
        }
        if self.points > 0 {
            write!(f, ", {} fault points, {} faults injected", self.points, self.faults)?;
        }
        // A resource that is neither recorded nor entered through the hub is seen by the check alone: a zero
        // would say that nothing was entered.
        if self.entered > 0 {
            write!(f, ", {} recorded resources entered", self.entered)?;
        }
        if self.tenures > self.entered {
            write!(f, ", {} enters counted by the hub", self.tenures)?;
        }
        if self.failed > 0 {
            write!(f, ", {} runs failed by themselves", self.failed)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} places not reached again", self.skipped)?;
        }
        if self.clock_ahead >= AHEAD_MIN {
            write!(f, ", the paused clock ran ahead by {:.0?}", self.clock_ahead)?;
        }
        Ok(())
    }
}
