//! One run of the future under test: on a fresh runtime, cut and failed as planned, drained and checked.

use std::any::Any;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::check::{Check, check};
use crate::countdown::{Control, Countdown, Told};
use crate::fault::is_injected;
use crate::leak::Place;
use crate::limited::{limited, stop};
use crate::plan::Plan;
use crate::registry::Held;
use crate::set_up::ForRun;
use crate::settings::Settings;
use crate::verify::{self, Violation};
use crate::{CancelBy, EventKind, Flavour, Leak, ProofOutput, Recorder, Report, Trace, registry};

/// How long a runtime may take to end its blocking tasks, in seconds.
const SHUTDOWN_LIMIT_SECONDS: u64 = 1;
/// How long exits that were merely spawned get to show in what order they run, in milliseconds.
const SPAWNED_LIMIT_MILLISECONDS: u64 = 200;
/// A paused clock that ran ahead by more, in seconds, has let a timer fire that a real one would not have.
const CLOCK_AHEAD_SECONDS: u64 = 1;

/// One run, after it was drained: what a user's check is given.
#[derive(Clone, Debug)]
pub struct Run {
    pub(crate) plan: Plan,
    pub(crate) recorder: Recorder,
    pub(crate) end: End,
}

impl Run {
    /// Returns the trace of the run.
    pub fn trace(&self) -> Trace {
        self.recorder.trace()
    }

    /// Returns the run's number, as [`Recorder::run_id`] does.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.recorder.run_id()
    }

    /// Returns the suspension at which the future was dropped, 0 for before its first poll; `None` if it ran to its end.
    #[must_use]
    pub fn suspension(&self) -> Option<u64> {
        match self.end {
            End::Cut => self.plan.cut.map(|cut| cut.at),
            End::Completed | End::Panicked | End::Hung | End::Endless => None,
        }
    }

    /// Returns `true` if the future returned: it was neither dropped nor did it panic or hang.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.end == End::Completed
    }

    /// Returns the number of faults that were injected.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.recorder.points_and_injected().1
    }

    /// Returns the flavour of the runtime.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.plan.flavour
    }

    /// Whether the harness did nothing to the future.
    fn is_untroubled(&self) -> bool {
        self.end != End::Cut && self.faults() == 0
    }
}

/// How the future ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Panicked,
    Cut,
    Hung,
    /// It suspended more often than is allowed.
    Endless,
}

/// What a run was good for.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) end: End,
    pub(crate) report: Report,
    pub(crate) leak: Option<Box<Leak>>,
    /// A panic that nobody planned: a failed assertion, most likely.
    pub(crate) panic: Option<Box<dyn Any + Send>>,
}

/// What all runs of a proof share.
pub(crate) struct Subject<'p, T, F> {
    pub(crate) settings: &'p Settings,
    pub(crate) for_run: ForRun<T>,
    pub(crate) check: Option<&'p Check<T>>,
    pub(crate) make: F,
}

impl<T, F, Fut> Subject<'_, T, F>
where
    T: Send + Sync + 'static,
    F: Fn(Recorder, Arc<T>) -> Fut,
    Fut: Future<Output: ProofOutput> + Send + 'static,
{
    pub(crate) fn run(&self, plan: Plan) -> Done {
        let runtime = plan.flavour.runtime(self.settings.clock);
        let done = runtime.block_on(self.run_on(plan));
        // Not `drop`: a blocking task that hangs would hang the test.
        runtime.shutdown_timeout(Duration::from_secs(SHUTDOWN_LIMIT_SECONDS));
        done
    }

    async fn run_on(&self, plan: Plan) -> Done {
        let settings = self.settings;
        let is_real = plan.flavour.is_real(settings.clock);
        let limit = settings.set_up_timeout;
        let state = match limited(tokio::spawn((self.for_run)()), limit, is_real).await {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => return Done::nothing(None, error.try_into_panic().ok()),
            Err(_) => {
                return Done::nothing(Some(Leak::of_proof(plan, Violation::SetUpTimedOut { limit })), None);
            }
        };
        let done = self.run_with(plan, &state, is_real).await;
        drop(state);
        if size_of::<T>() > 0 {
            // The state may have held something, which exits now.
            registry::let_go(settings.drain_limit(is_real)).await;
        }
        done
    }

    async fn run_with(&self, plan: Plan, state: &Arc<T>, is_real: bool) -> Done {
        let settings = self.settings;
        let before = Held::now();
        let entered_before = registry::entered();
        let recorder = Recorder::with_plan(plan.faults.clone());
        registry::record_incidents(&recorder);
        let clocks = Clocks::now();
        let control = Arc::<Control>::default();
        let future = (self.make)(recorder.clone(), Arc::clone(state));
        let countdown = Countdown::new(settings, future, plan.cut, recorder.clone(), Arc::clone(&control));
        let task = tokio::spawn(countdown);
        // Set once, here; the countdown waits for it.
        let _ = control.abort.set(task.abort_handle());
        let (end, panic) = wait(settings, &plan, &recorder, &control, task).await;
        let ahead = clocks.ahead();

        let run = Run { plan, recorder, end };
        let told = std::mem::take(&mut *control.told());
        let mut violations = ended_badly(settings, &run, &told, is_real);
        violations.extend(drain(settings, &run, &before, is_real).await);
        if let Some(checks) = self.check {
            violations.extend(check(settings, checks, &run, state).await);
        }
        let report = Report {
            tenures: registry::entered().saturating_sub(entered_before),
            clock_ahead: ahead,
            ..report(&run, &told)
        };
        let leak = (!violations.is_empty()).then(|| leak(settings, &run, told, violations, ahead));
        let is_meant = |payload: &(dyn Any + Send)| settings.allow_panics || is_injected(payload);
        Done { end, report, leak, panic: panic.filter(|payload| !is_meant(&**payload)) }
    }
}

impl Done {
    /// The run was not begun.
    fn nothing(leak: Option<Box<Leak>>, panic: Option<Box<dyn Any + Send>>) -> Self {
        Self { end: End::Panicked, report: Report { runs: 1, ..Report::default() }, leak, panic }
    }
}

/// Both clocks at one moment.
struct Clocks {
    real: Instant,
    runtime: tokio::time::Instant,
}

impl Clocks {
    fn now() -> Self {
        Self { real: Instant::now(), runtime: tokio::time::Instant::now() }
    }

    /// By how much the runtime's clock has run ahead since.
    fn ahead(&self) -> Duration {
        self.runtime.elapsed().saturating_sub(self.real.elapsed())
    }
}

fn report(run: &Run, told: &Told) -> Report {
    let (points, faults) = run.recorder.points_and_injected();
    let by_itself = run.end == End::Completed && run.is_untroubled();
    Report {
        runs: 1,
        cut: u64::from(run.end == End::Cut),
        failed: u64::from(by_itself && told.failure.is_some()),
        suspensions: told.suspensions,
        fewest_suspensions: by_itself.then_some(told.suspensions),
        points,
        faults,
        entered: run.trace().entered_in_all() as u64,
        ..Report::default()
    }
}

/// What is wrong with a run that has no end, or that hung or failed though nothing was done to it.
fn ended_badly(settings: &Settings, run: &Run, told: &Told, is_real: bool) -> Vec<Violation> {
    if run.end == End::Endless {
        return vec![Violation::Endless { limit: settings.max_steps }];
    }
    if !run.is_untroubled() {
        return Vec::new();
    }
    match (run.end, &told.failure) {
        (End::Hung, _) if !settings.allow_hang => {
            let limit = settings.run_limit(is_real);
            vec![Violation::Hung { suspension: told.suspensions, limit }]
        }
        (End::Completed, Some(error)) if !settings.allow_errors => vec![Violation::Failed(error.clone())],
        _ => Vec::new(),
    }
}

fn leak(
    settings: &Settings,
    run: &Run,
    told: Told,
    violations: Vec<Violation>,
    clock_ahead: Duration,
) -> Box<Leak> {
    let hints = hints(run, &violations, clock_ahead);
    let place = Place::new(told.sites, &told.backtraces, settings.library_frames);
    // What was not reached was not cut.
    let cut = run.plan.cut.filter(|_| run.end == End::Cut);
    let plan = Plan { cut, ..run.plan.clone() };
    Box::new(Leak { plan, place, violations, hints, trace: run.trace() })
}

/// What the test's author may have overlooked.
fn hints(run: &Run, violations: &[Violation], clock_ahead: Duration) -> Vec<String> {
    let mut hints = Vec::new();
    let is = |which: fn(&Violation) -> bool| violations.iter().any(which);
    let by_check = is(|violation| matches!(violation, Violation::Check(_) | Violation::CheckTimedOut { .. }));
    if by_check && run.is_untroubled() {
        hints.push("the check fails on a run that was not cut: is it right?".to_owned());
    }
    if is(|violation| matches!(violation, Violation::Failed(_)))
        && clock_ahead >= Duration::from_secs(CLOCK_AHEAD_SECONDS)
    {
        hints.push(format!(
            "the paused clock ran ahead by {clock_ahead:.0?}, and every timer fired at once: code that waits for \
             sockets or threads needs `real_clock`"
        ));
    }
    hints
}

/// Waits until the future has ended, one way or another, and drops it if it hangs.
async fn wait(
    settings: &Settings,
    plan: &Plan,
    recorder: &Recorder,
    control: &Control,
    mut task: JoinHandle<()>,
) -> (End, Option<Box<dyn Any + Send>>) {
    let is_real = plan.flavour.is_real(settings.clock);
    let hangs = async {
        if !is_real {
            // A paused clock finds out by itself: when nothing can run, the limit is reached at once.
            std::future::pending::<()>().await;
        }
        control.hangs.notified().await;
        sleep(settings.hang_limit).await;
    };
    let mut hangs = std::pin::pin!(hangs);
    let ended_or_hangs = poll_fn(|cx| match Pin::new(&mut task).poll(cx) {
        Poll::Ready(joined) => Poll::Ready(Some(joined)),
        Poll::Pending => hangs.as_mut().poll(cx).map(|()| None),
    });
    let joined = timeout(settings.run_limit(is_real), ended_or_hangs).await.unwrap_or(None);
    let is_cut = || control.told().cut;
    match joined {
        Some(Ok(())) if control.told().endless => (End::Endless, None),
        Some(joined) => ended(joined, is_cut()),
        None => {
            if let Some(cut) = plan.cut.filter(|cut| is_cut() && cut.by == CancelBy::Wake) {
                // What it waits for never comes: dropped where it stands.
                recorder.push(EventKind::Cancelled(cut.at), "", 0, Location::caller(), None);
            }
            let Some(joined) = stop(task).await else {
                // It blocks its thread, and cannot even be dropped.
                return (End::Hung, None);
            };
            let (end, panic) = ended(joined, true);
            let end = if is_cut() || end != End::Cut { end } else { End::Hung };
            (end, panic)
        }
    }
}

fn ended(joined: Result<(), JoinError>, cut: bool) -> (End, Option<Box<dyn Any + Send>>) {
    match joined {
        Ok(()) if cut => (End::Cut, None),
        Ok(()) => (End::Completed, None),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => (End::Panicked, Some(payload)),
            Err(_) => (End::Cut, None),
        },
    }
}

/// Drains the runtime, and checks the trace and the hub's registry.
async fn drain(settings: &Settings, run: &Run, before: &Held, is_real: bool) -> Vec<Violation> {
    let findings = registry::settle(settings.drain_limit(is_real), before).await;
    let late = verify::unfinished(run.trace().events());
    // A naive guard spawns its exit. It is judged as leaked already; what follows shows its order as well.
    let spawned = async {
        while !verify::unfinished(run.trace().events()).is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = timeout(Duration::from_millis(SPAWNED_LIMIT_MILLISECONDS), spawned).await;

    let trace = run.trace();
    let events = trace.events();
    let still_late = verify::unfinished(events);
    let mut violations = verify::exactly_once(events, settings.allow_cut_exits);
    if !settings.unordered {
        violations.extend(verify::in_reverse_order(events));
    }
    let ran_late = late.into_iter().filter(|who| !still_late.contains(who));
    violations.extend(ran_late.map(Violation::NotDrained));
    violations.extend(findings.into_iter().map(Violation::Registry));
    violations
}
