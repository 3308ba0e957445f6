//! [`Proof`]: the options of a proof.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::check::Check;
use crate::enumeration::{Enumeration, OnLeak, Trouble};
use crate::forms::{Where, forms};
use crate::run::Subject;
use crate::runtime::Clock;
use crate::set_up::SetUp;
use crate::settings::Settings;
use crate::{CancelBy, FaultKind, Flavour, Leak, PreparedProof, ProofOutput, Recorder, Report, Run};

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
/// // Before the first poll, at the first step, at the second.
/// assert_eq!(report.cut, 3);
/// ```
///
/// Options come first. [`set_up`](Proof::set_up) and [`set_up_once`](Proof::set_up_once) make a [`PreparedProof`],
/// which has the same forms, and gives a state to the future and to the check.
#[must_use = "a proof proves nothing until `cancel_everywhere` or another form is called"]
pub struct Proof {
    settings: Settings,
    check: Option<Check<()>>,
}

impl Default for Proof {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Proof {
    /// Creates a proof with the defaults that each setter names.
    pub fn new() -> Self {
        Self { settings: Settings::default(), check: None }
    }

    /// Runs on this flavour alone. Default: on both.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.settings.flavours = vec![flavour];
        self
    }

    /// Uses real time on the current-thread flavour too. Default: paused.
    ///
    /// Needed by whatever waits for the world outside the runtime: sockets, or threads of its own, as SQLite's
    /// drivers use. A paused clock would take that waiting for idleness and fire every timer, limits included. See
    /// [`suspend_often`](Self::suspend_often) too.
    pub fn real_clock(mut self) -> Self {
        self.settings.clock = Clock::Real;
        self
    }

    /// Sets the ways in which the future is dropped, each at each suspension. Default: [`CancelBy::ALL`].
    ///
    /// # Panics
    /// If there is none: such a proof would try nothing.
    #[track_caller]
    pub fn cancel_by(mut self, ways: impl IntoIterator<Item = CancelBy>) -> Self {
        self.settings.cuts = ways.into_iter().map(Trouble::Cut).collect();
        assert!(!self.settings.cuts.is_empty(), "a proof needs a way to cancel");
        self
    }

    /// Sets the faults that are injected, each at each fault point. Default: an error, a panic.
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

    /// Drops the future at each suspension also with each single fault. Default: faults alone. Costs the
    /// product of the fault points and the suspensions.
    pub fn and_cancel(mut self) -> Self {
        self.settings.and_cancel = true;
        self
    }

    /// Limits the suspensions, and the fault points, of one run; more of them fail the proof. Default: 1,000.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.settings.max_steps = steps;
        self
    }

    /// Limits the time of one run, after which the future counts as hung. Default: 5 s of real time, a day of paused.
    pub fn run_limit(mut self, limit: Duration) -> Self {
        self.settings.run_limit = Some(limit);
        self
    }

    /// Sets the time after which a run in real time that polled a [`hang`](crate::hang) counts as hung. Default: 100 ms.
    ///
    /// Larger where such a hang races with something slower.
    pub fn hang_limit(mut self, limit: Duration) -> Self {
        self.settings.hang_limit = limit;
        self
    }

    /// Limits the time of handed-over exits after each run. Default: 5 s of real time, a day of paused.
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.settings.drain_limit = Some(limit);
        self
    }

    /// Allows the future to hang: it is then dropped, and the enumeration ends there. Default: a hang is a failure.
    pub fn allow_hang(mut self) -> Self {
        self.settings.allow_hang = true;
        self
    }

    /// Allows the future to panic by itself. Default: any panic but an injected one, a failed assertion for example,
    /// goes on through the proof.
    pub fn allow_panics(mut self) -> Self {
        self.settings.allow_panics = true;
        self
    }

    /// Allows an exit to be dropped half-way: for resources with an exit time limit (law 15). Default: that is a leak.
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

    /// Makes each resource of tokio suspend once, though it is ready. Default: a future suspends where it has to wait.
    ///
    /// Real I/O suspends at another number of places in each run: what has arrived already is read in the same poll, on
    /// a busy machine all of it. There the future cannot be dropped. With this option each poll gets one unit of
    /// tokio's [cooperative budget](tokio::task::coop), the first none, and the future suspends at the next resource of
    /// tokio in any case: a socket, a channel, a lock, a timer, a joined task. A loaded runtime does the same to any task, so
    /// what leaks there may leak in production.
    ///
    /// It does not reach what a driver does in tasks or threads of its own. After 256 polls of a run the budget is
    /// whole again.
    pub fn suspend_often(mut self) -> Self {
        self.settings.suspend_often = true;
        self
    }

    /// Runs each place so many times. Default: 1. For leaks by races, between threads or with a server.
    ///
    /// # Panics
    /// If it is zero: such a proof would try nothing.
    #[track_caller]
    pub fn repeat(mut self, times: u32) -> Self {
        assert!(times > 0, "a proof runs each place once at least");
        self.settings.repeat = times;
        self
    }

    /// Sets the least number of suspensions at which the future has to be dropped, in each way and on each flavour.
    /// Default: 1. With fewer the proof fails, for it has tried too little.
    ///
    /// Zero is for a future that may return at once.
    pub fn min_suspensions(mut self, suspensions: u64) -> Self {
        self.settings.min_suspensions = suspensions;
        self
    }

    /// Sets the least number of fault points at which each fault has to be injected, on each flavour. Default: 1. With
    /// fewer [`fail_everywhere`](Self::fail_everywhere) fails, for it has tried too little.
    pub fn min_points(mut self, points: u64) -> Self {
        self.settings.min_points = points;
        self
    }

    /// Sets how many runs in a row may end before the next place until the enumeration of a way ends. Default: 3.
    ///
    /// The number of suspensions of real I/O varies from run to run, so one short run says little. As soon as two runs
    /// have differed, it takes 12 short runs at least. A place that some run of the proof had is tried 12 times as well;
    /// if it is not reached again, the enumeration goes on with the next place and [`Report::skipped`] counts it.
    ///
    /// # Panics
    /// If it is zero.
    #[track_caller]
    pub fn max_short_runs(mut self, runs: u32) -> Self {
        assert!(runs > 0, "an enumeration ends after one short run at the earliest");
        self.settings.max_short_runs = runs;
        self
    }

    /// Sets the limit of one set-up, for a run or for the proof, in real time. Default: 30 s.
    pub fn set_up_timeout(mut self, limit: Duration) -> Self {
        self.settings.set_up_timeout = limit;
        self
    }

    /// Sets the limit of each call of the check, in real time. Default: 10 s. At the limit the check is aborted, and
    /// the run is reported.
    ///
    /// Leaks make checks hang: a lock that is never released, a pool without a free connection.
    pub fn check_timeout(mut self, limit: Duration) -> Self {
        self.settings.check_timeout = limit;
        self
    }

    /// Calls the check again until it is true, for so long. Default: 0, one call. On the clock of the run.
    ///
    /// For what is still in flight when the run has ended: a rollback on the wire, a session that closes.
    pub fn check_within(mut self, limit: Duration) -> Self {
        self.settings.check_within = limit;
        self
    }

    /// Calls the check again and again for so long once it is true; it has to stay true. Default: 0, one call. On the
    /// clock of the run.
    ///
    /// For what is not yet done when the run has ended: a `BEGIN` that the server has not read. If the check becomes
    /// false while [`check_within`](Self::check_within) lasts, it may become true once more.
    pub fn check_for(mut self, time: Duration) -> Self {
        self.settings.check_for = time;
        self
    }

    /// Lets a run to which nothing was done return an error. Default: it fails the proof, for a future that fails has
    /// tried nothing: see [`ProofOutput`].
    pub fn allow_errors(mut self) -> Self {
        self.settings.allow_errors = true;
        self
    }

    /// Names the frames of libraries in which a future stood, beside the user's own line. Default: the user's line
    /// alone. See [`Leak::library_frames`].
    pub fn library_frames(mut self) -> Self {
        self.settings.library_frames = true;
        self
    }

    /// Checks the world after each run, once it is drained, on the runtime of the run. The check may return an error
    /// or fail an assertion: either is reported with the run. Default: none.
    ///
    /// Its first run is one that is not cut: a check that fails there is wrong itself, and the report says so.
    pub fn check<C, Fut>(mut self, check: C) -> Self
    where
        C: Fn(Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.check = Some(Box::new(move |run, _| Box::pin(check(run))));
        self
    }

    /// Makes a state for each run, on the runtime of the run, before the future is made. It is not cut, and its
    /// suspensions are not counted. A set-up that fails is to panic. The state is given to the future and to the check
    /// of the [`PreparedProof`], and is dropped after the check.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tenure_test::Proof;
    /// use tokio::sync::Semaphore;
    ///
    /// let report = Proof::new()
    ///     .set_up(async || Semaphore::new(1))
    ///     .check(|_run, permits| async move {
    ///         if permits.available_permits() == 1 { Ok(()) } else { Err("a permit is gone".to_owned()) }
    ///     })
    ///     .cancel_everywhere(|recorder, permits: Arc<Semaphore>| async move {
    ///         let _permit = permits.acquire().await.expect("nobody closes it");
    ///         recorder.step("work").await
    ///     });
    /// assert_eq!(report.suspensions, 1);
    /// ```
    pub fn set_up<T, F, Fut>(self, make: F) -> PreparedProof<T>
    where
        T: Send + Sync + 'static,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        PreparedProof::new(self.settings, SetUp::each(make), self.check.map(without_state))
    }

    /// Makes a state once for each proof, before the first run, on a runtime of its own with a real clock: a server, a
    /// schema, a folder. It is dropped after the last run.
    ///
    /// What is bound to a runtime, a connection for example, cannot be used on that of a run: make that in
    /// [`PreparedProof::set_up`].
    pub fn set_up_once<T, F, Fut>(self, make: F) -> PreparedProof<T>
    where
        T: Send + Sync + 'static,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        PreparedProof::new(self.settings, SetUp::once(make), self.check.map(without_state))
    }

    pub(crate) fn has_check(&self) -> bool {
        self.check.is_some()
    }

    fn enumerate<F, Fut>(&self, make: F, place: Where, on_leak: OnLeak<'_>) -> Result<Report, Box<Leak>>
    where
        F: Fn(Recorder) -> Fut,
        Fut: Future<Output: ProofOutput> + Send + 'static,
    {
        let make = |recorder, _: Arc<()>| make(recorder);
        let (settings, check) = (&self.settings, self.check.as_ref());
        let subject = Subject { settings, for_run: SetUp::none(), check, make };
        place.enumerate(settings, Enumeration::new(subject, on_leak))
    }

    forms!(Recorder);
}

/// A check that was set before the set-up, and is given no state.
fn without_state<T: 'static>(check: Check<()>) -> Check<T> {
    Box::new(move |run, _| check(run, Arc::default()))
}
