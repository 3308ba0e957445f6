//! [`Proof`]: the options of a proof, and its forms.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use crate::enumeration::{Enumeration, Trouble};
use crate::runtime::Clock;
use crate::{CancelBy, FaultKind, Flavour, Leak, Recorder, Report, Run};

/// The default of [`Proof::max_steps`].
const STEPS_MAX: u64 = 1_000;
/// The default of [`Proof::hang_limit`], in milliseconds.
const HANG_LIMIT_MILLISECONDS: u64 = 100;
/// The default of [`Proof::run_limit`] and [`Proof::drain_limit`] in real time, in seconds.
const REAL_LIMIT_SECONDS: u64 = 5;
/// The same under a paused clock, where waiting costs nothing, in seconds.
const PAUSED_LIMIT_SECONDS: u64 = 24 * 60 * 60;

type Check = Box<dyn Fn(Run) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

pub(crate) struct Settings {
    pub(crate) flavours: Vec<Flavour>,
    pub(crate) clock: Clock,
    pub(crate) cuts: Vec<Trouble>,
    pub(crate) faults: Vec<Trouble>,
    pub(crate) pairs: bool,
    pub(crate) and_cancel: bool,
    pub(crate) max_steps: u64,
    run_limit: Option<Duration>,
    pub(crate) hang_limit: Duration,
    drain_limit: Option<Duration>,
    pub(crate) allow_hang: bool,
    pub(crate) allow_panics: bool,
    pub(crate) allow_cut_exits: bool,
    pub(crate) unordered: bool,
    pub(crate) check: Option<Check>,
}

impl Settings {
    pub(crate) fn run_limit(&self, is_real: bool) -> Duration {
        self.run_limit.unwrap_or(default_limit(is_real))
    }

    pub(crate) fn drain_limit(&self, is_real: bool) -> Duration {
        self.drain_limit.unwrap_or(default_limit(is_real))
    }
}

fn default_limit(is_real: bool) -> Duration {
    Duration::from_secs(if is_real { REAL_LIMIT_SECONDS } else { PAUSED_LIMIT_SECONDS })
}

/// A proof with options. [`cancel_everywhere`](crate::cancel_everywhere) and
/// [`fail_everywhere`](crate::fail_everywhere) are proofs with the defaults.
///
/// ```
/// use tenure_test::{CancelBy, Flavour, Proof};
///
/// let report = Proof::new()
///     .flavour(Flavour::CurrentThread)
///     .cancel_by([CancelBy::Abort])
///     .cancel_everywhere(|recorder| async move {
///         recorder.step("first").await?;
///         recorder.step("second").await
///     });
/// assert_eq!(report.suspensions, 2);
/// // Before the first poll, at the first step, at the second, and to the end.
/// assert_eq!(report.runs, 4);
/// ```
#[must_use = "a proof proves nothing until `cancel_everywhere` or `fail_everywhere` is called"]
pub struct Proof {
    settings: Settings,
}

impl Default for Proof {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("flavours", &self.settings.flavours)
            .field("cancel_by", &self.settings.cuts)
            .field("faults", &self.settings.faults)
            .field("max_steps", &self.settings.max_steps)
            .finish_non_exhaustive()
    }
}

impl Proof {
    /// A proof with the defaults that each setter names.
    pub fn new() -> Self {
        Self {
            settings: Settings {
                flavours: Flavour::ALL.to_vec(),
                clock: Clock::Paused,
                cuts: CancelBy::ALL.map(Trouble::Cut).to_vec(),
                faults: [FaultKind::Error, FaultKind::Panic].map(Trouble::Fault).to_vec(),
                pairs: false,
                and_cancel: false,
                max_steps: STEPS_MAX,
                run_limit: None,
                hang_limit: Duration::from_millis(HANG_LIMIT_MILLISECONDS),
                drain_limit: None,
                allow_hang: false,
                allow_panics: false,
                allow_cut_exits: false,
                unordered: false,
                check: None,
            },
        }
    }

    /// Runs on this flavour alone. Default: on both.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.settings.flavours = vec![flavour];
        self
    }

    /// Real time on the current-thread flavour too. Default: paused.
    ///
    /// Needed by whatever waits for the world outside the runtime: sockets, or threads of its own, as SQLite's
    /// drivers use. A paused clock would take that waiting for idleness and fire every timer, limits included.
    pub fn real_clock(mut self) -> Self {
        self.settings.clock = Clock::Real;
        self
    }

    /// The ways in which the future is dropped, each at each suspension. Default: [`CancelBy::ALL`].
    ///
    /// # Panics
    /// If there is none: such a proof would try nothing.
    #[track_caller]
    pub fn cancel_by(mut self, ways: impl IntoIterator<Item = CancelBy>) -> Self {
        self.settings.cuts = ways.into_iter().map(Trouble::Cut).collect();
        assert!(!self.settings.cuts.is_empty(), "a proof needs a way to cancel");
        self
    }

    /// The faults that are injected, each at each fault point. Default: an error, a panic.
    ///
    /// A [`FaultKind::Hang`] in an exit leaks, rightly, unless that exit has a time limit.
    ///
    /// # Panics
    /// If there is none: such a proof would try nothing.
    #[track_caller]
    pub fn faults(mut self, kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        self.settings.faults = kinds.into_iter().map(Trouble::Fault).collect();
        assert!(!self.settings.faults.is_empty(), "a proof needs a fault to inject");
        self
    }

    /// Injects every pair of faults too, the second after the first: a body that fails and then an exit that
    /// panics, for example. Default: one fault a run. Costs the square of the fault points.
    pub fn pairs(mut self) -> Self {
        self.settings.pairs = true;
        self
    }

    /// With each single fault, also drops the future at each suspension. Default: faults alone. Costs the
    /// product of the fault points and the suspensions.
    pub fn and_cancel(mut self) -> Self {
        self.settings.and_cancel = true;
        self
    }

    /// More suspensions, or fault points, than this in one run end the proof as a failure. Default: 1,000.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.settings.max_steps = steps;
        self
    }

    /// How long one run may take until the future counts as hung. Default: 5 s of real time, a day of paused.
    pub fn run_limit(mut self, limit: Duration) -> Self {
        self.settings.run_limit = Some(limit);
        self
    }

    /// How long after a [`hang`](crate::hang) was polled a run in real time counts as hung. Default: 100 ms.
    ///
    /// Larger where such a hang races with something slower.
    pub fn hang_limit(mut self, limit: Duration) -> Self {
        self.settings.hang_limit = limit;
        self
    }

    /// How long handed-over exits may take after each run. Default: 5 s of real time, a day of paused.
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.settings.drain_limit = Some(limit);
        self
    }

    /// The future may hang: it is then dropped, and the enumeration ends there. Default: a hang is a failure.
    pub fn allow_hang(mut self) -> Self {
        self.settings.allow_hang = true;
        self
    }

    /// The future may panic by itself. Default: any panic but an injected one, a failed assertion for example,
    /// goes on through the proof.
    pub fn allow_panics(mut self) -> Self {
        self.settings.allow_panics = true;
        self
    }

    /// An exit may be dropped half-way: for resources with an exit time limit (law 15). Default: that is a leak.
    pub fn allow_cut_exits(mut self) -> Self {
        self.settings.allow_cut_exits = true;
        self
    }

    /// Does not check the order of exits: for resources that are entered concurrently in one task, by `join` for
    /// example. Default: inner exits end before outer ones begin.
    pub fn unordered(mut self) -> Self {
        self.settings.unordered = true;
        self
    }

    /// A check of one's own after each run, once it is drained, on the runtime of the run. It may return an
    /// error or fail an assertion: either is reported with the run. Default: none.
    pub fn check<C, Fut>(mut self, check: C) -> Self
    where
        C: Fn(Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.settings.check = Some(Box::new(move |run| Box::pin(check(run))));
        self
    }

    pub(crate) fn has_check(&self) -> bool {
        self.settings.check.is_some()
    }

    /// As [`cancel_everywhere`](crate::cancel_everywhere), with these options.
    ///
    /// # Panics
    /// If something leaked, with the whole report; or with the panic of the future under test.
    #[track_caller]
    pub fn cancel_everywhere<F, Fut>(&self, make: F) -> Report
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        match self.try_cancel_everywhere(make) {
            Ok(report) => report,
            Err(leak) => panic!("cancel_everywhere: {leak}"),
        }
    }

    /// As [`cancel_everywhere`](Self::cancel_everywhere), and returns the leak.
    ///
    /// # Errors
    /// The first run in which something leaked.
    ///
    /// # Panics
    /// With the panic of the future under test, unless it was injected or is allowed.
    pub fn try_cancel_everywhere<F, Fut>(&self, make: F) -> Result<Report, Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        Enumeration::new(&self.settings, make).everywhere(&self.settings.cuts)
    }

    /// Drops the future at one suspension only, in each way, on each flavour: to look again at a leak that
    /// [`cancel_everywhere`](Self::cancel_everywhere) has found.
    ///
    /// # Errors
    /// The first run in which something leaked.
    ///
    /// # Panics
    /// With the panic of the future under test, unless it was injected or is allowed.
    pub fn try_cancel_at<F, Fut>(&self, suspension: u64, make: F) -> Result<Report, Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        Enumeration::new(&self.settings, make).at(suspension, &self.settings.cuts)
    }

    /// As [`fail_everywhere`](crate::fail_everywhere), with these options.
    ///
    /// # Panics
    /// If something leaked, with the whole report; or with the panic of the future under test.
    #[track_caller]
    pub fn fail_everywhere<F, Fut>(&self, make: F) -> Report
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        match self.try_fail_everywhere(make) {
            Ok(report) => report,
            Err(leak) => panic!("fail_everywhere: {leak}"),
        }
    }

    /// As [`fail_everywhere`](Self::fail_everywhere), and returns the leak.
    ///
    /// # Errors
    /// The first run in which something leaked.
    ///
    /// # Panics
    /// With the panic of the future under test, unless it was injected or is allowed.
    pub fn try_fail_everywhere<F, Fut>(&self, make: F) -> Result<Report, Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        Enumeration::new(&self.settings, make).everywhere(&self.settings.faults)
    }
}
