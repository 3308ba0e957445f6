//! One run of the future under test: on a fresh runtime, cut and failed as planned, drained and checked.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::countdown::{Control, Countdown};
use crate::fault::{is_injected, panic_message};
use crate::leak::Plan;
use crate::proof::Settings;
use crate::verify::{self, Violation};
use crate::{CancelBy, EventKind, Flavour, Leak, Recorder, Report, Trace, registry};

/// How long a runtime may take to end its blocking tasks, in seconds.
const SHUTDOWN_LIMIT_SECONDS: u64 = 1;
/// How long exits that were merely spawned get to show in what order they run, in milliseconds.
const SPAWNED_LIMIT_MILLISECONDS: u64 = 200;

/// One run, after it was drained: what a check of one's own is given.
#[derive(Clone, Debug)]
pub struct Run {
    pub(crate) plan: Plan,
    pub(crate) recorder: Recorder,
    pub(crate) end: End,
}

impl Run {
    /// What happened.
    pub fn trace(&self) -> Trace {
        self.recorder.trace()
    }

    /// The suspension at which the future was dropped, 0 for before its first poll; `None` if it ran to its end.
    #[must_use]
    pub fn suspension(&self) -> Option<u64> {
        match self.end {
            End::Cut => self.plan.cut.map(|cut| cut.at),
            End::Completed | End::Panicked | End::Hung => None,
        }
    }

    /// Whether the future returned: it was neither dropped nor did it panic or hang.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.end == End::Completed
    }

    /// How many faults were injected.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.recorder.points_and_injected().1
    }

    /// The flavour of the runtime.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.plan.flavour
    }
}

/// How the future ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Panicked,
    Cut,
    Hung,
}

/// What a run was good for.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) end: End,
    pub(crate) report: Report,
    pub(crate) injected: u64,
    pub(crate) trace: Trace,
    pub(crate) leak: Option<Box<Leak>>,
    /// A panic of the future that nobody planned: a failed assertion, most likely.
    pub(crate) panic: Option<Box<dyn Any + Send>>,
}

pub(crate) fn run<F, Fut>(settings: &Settings, plan: Plan, make: &F) -> Done
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    let runtime = plan.flavour.runtime(settings.clock);
    let done = runtime.block_on(run_on(settings, plan, make));
    // Not `drop`: a blocking task that hangs would hang the test.
    runtime.shutdown_timeout(Duration::from_secs(SHUTDOWN_LIMIT_SECONDS));
    done
}

async fn run_on<F, Fut>(settings: &Settings, plan: Plan, make: &F) -> Done
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    let recorder = Recorder::with_plan(plan.faults.clone());
    registry::record_incidents(&recorder);
    let control = Arc::<Control>::default();
    let countdown = Countdown::new(make(recorder.clone()), plan.cut, recorder.clone(), Arc::clone(&control));
    let task = tokio::spawn(countdown);
    // Set once, here; the countdown waits for it.
    let _ = control.abort.set(task.abort_handle());
    let (end, panic) = wait(settings, &plan, &recorder, &control, task).await;

    let run = Run { plan, recorder, end };
    let mut violations = drain(settings, &run).await;
    if end == End::Hung && !settings.allow_hang && run.faults() == 0 {
        let suspension = control.told().suspensions;
        violations.insert(0, Violation::Hung { suspension });
    }
    violations.extend(check(settings, &run).await.map(Violation::Check));

    let trace = run.trace();
    let (points, injected) = run.recorder.points_and_injected();
    let mut told = control.told();
    let report = Report {
        runs: 1,
        suspensions: told.suspensions,
        points,
        faults: injected,
        entered: trace.entered_in_all() as u64,
    };
    let leak = (!violations.is_empty()).then(|| {
        let sites = std::mem::take(&mut told.sites);
        // What was not reached was not cut.
        let cut = run.plan.cut.filter(|_| end == End::Cut);
        Leak::new(Plan { cut, ..run.plan }, sites, &told.backtraces, violations, trace.clone())
    });
    Done {
        end,
        report,
        injected,
        trace,
        leak,
        panic: panic.filter(|payload| !settings.allow_panics && !is_injected(&**payload)),
    }
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
        Some(joined) => ended(joined, is_cut()),
        None => {
            if let Some(cut) = plan.cut.filter(|cut| is_cut() && cut.by == CancelBy::Wake) {
                // What it waits for never comes: dropped where it stands.
                recorder.push(EventKind::Cancelled(cut.at), "", 0, Location::caller(), None);
            }
            task.abort();
            let (end, panic) = ended(task.await, true);
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
async fn drain(settings: &Settings, run: &Run) -> Vec<Violation> {
    let limit = settings.drain_limit(run.plan.flavour.is_real(settings.clock));
    let findings = registry::settle(limit).await;
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

/// The check of the user's own.
async fn check(settings: &Settings, run: &Run) -> Option<String> {
    let check = settings.check.as_ref()?;
    let checking: Pin<Box<dyn Future<Output = _> + Send>> =
        match catch_unwind(AssertUnwindSafe(|| check(run.clone()))) {
            Ok(checking) => checking,
            Err(payload) => return Some(panic_message(&*payload).to_owned()),
        };
    // In a task, which catches the panic of a failed assertion.
    match tokio::spawn(checking).await {
        Ok(checked) => checked.err(),
        Err(error) => Some(match error.try_into_panic() {
            Ok(payload) => panic_message(&*payload).to_owned(),
            Err(error) => error.to_string(),
        }),
    }
}
