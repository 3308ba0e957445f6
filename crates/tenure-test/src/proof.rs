//! [`Proof`]: the options, and the enumeration of every place at which a future can be cut or failed.

use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::time::Duration;

use crate::countdown::Cut;
use crate::leak::Plan;
use crate::run::{Done, End, run};
use crate::runtime::Clock;
use crate::verify::Violation;
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
    flavours: Vec<Flavour>,
    pub(crate) clock: Clock,
    ways: Vec<CancelBy>,
    kinds: Vec<FaultKind>,
    pairs: bool,
    and_cancel: bool,
    max_steps: u64,
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
            .field("cancel_by", &self.settings.ways)
            .field("faults", &self.settings.kinds)
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
                ways: CancelBy::ALL.to_vec(),
                kinds: vec![FaultKind::Error, FaultKind::Panic],
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
        self.settings.ways = ways.into_iter().collect();
        assert!(!self.settings.ways.is_empty(), "a proof needs a way to cancel");
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
        self.settings.kinds = kinds.into_iter().collect();
        assert!(!self.settings.kinds.is_empty(), "a proof needs a fault to inject");
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
        let mut report = Report::default();
        for &flavour in &self.settings.flavours {
            self.cancel_at_each(flavour, &[], &make, &mut report)?;
        }
        Ok(report)
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
        let mut report = Report::default();
        for &flavour in &self.settings.flavours {
            for &by in &self.settings.ways {
                let cut = Some(Cut { at: suspension, by });
                let plan = Plan { flavour, cut, faults: Vec::new() };
                self.run_one(plan, 0, &make, &mut report)?;
            }
        }
        Ok(report)
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
        let mut report = Report::default();
        for &flavour in &self.settings.flavours {
            for &kind in &self.settings.kinds {
                self.fail_at_each(flavour, kind, &make, &mut report)?;
            }
        }
        Ok(report)
    }

    /// Every suspension × every way, under the same faults.
    fn cancel_at_each<F, Fut>(
        &self,
        flavour: Flavour,
        faults: &[(u64, FaultKind)],
        make: &F,
        report: &mut Report,
    ) -> Result<(), Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        for &by in &self.settings.ways {
            for at in 0.. {
                let plan = Plan { flavour, cut: Some(Cut { at, by }), faults: faults.to_vec() };
                if self.run_one(plan, at, make, report)?.end != End::Cut {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Every fault point, and what the options add to it.
    fn fail_at_each<F, Fut>(
        &self,
        flavour: Flavour,
        kind: FaultKind,
        make: &F,
        report: &mut Report,
    ) -> Result<(), Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        for at in 0.. {
            let first = (at, kind);
            let plan = Plan { flavour, cut: None, faults: vec![first] };
            if self.run_one(plan, at, make, report)?.injected == 0 {
                break;
            }
            if self.settings.pairs {
                self.fail_again(flavour, first, make, report)?;
            }
            if self.settings.and_cancel {
                self.cancel_at_each(flavour, &[first], make, report)?;
            }
        }
        Ok(())
    }

    /// Every fault point after the first fault.
    fn fail_again<F, Fut>(
        &self,
        flavour: Flavour,
        first: (u64, FaultKind),
        make: &F,
        report: &mut Report,
    ) -> Result<(), Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        for &kind in &self.settings.kinds {
            for at in first.0 + 1.. {
                let plan = Plan { flavour, cut: None, faults: vec![first, (at, kind)] };
                if self.run_one(plan, at, make, report)?.injected < 2 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn run_one<F, Fut>(&self, plan: Plan, step: u64, make: &F, report: &mut Report) -> Result<Done, Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future + Send + 'static,
    {
        let mut done = run(&self.settings, plan.clone(), make);
        report.add(done.report);
        // The panic first: it is the test that failed, and a leak may well be its consequence.
        if let Some(payload) = done.panic.take() {
            resume_unwind(payload);
        }
        if let Some(leak) = done.leak.take() {
            return Err(leak);
        }
        let limit = self.settings.max_steps;
        if step >= limit && (done.end == End::Cut || done.injected > 0) {
            let violations = vec![Violation::Endless { limit }];
            return Err(Leak::new(plan, Vec::new(), &[], violations, done.trace));
        }
        Ok(done)
    }
}
