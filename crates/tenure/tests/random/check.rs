//! One run of one program, held against the model and against the books.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use tenure::{Counters, DrainReport, IncidentKind, counters, drain, set_report_sink};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::accept::accepts;
use super::cut::{Blade, Cut};
use super::machine::rules::Rules;
use super::machine::state::{ContextId, Event, Form, Op, Program};
use super::world::{FOR_EVER, Run, Shared, root};

/// How a program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// On several threads, and by a real clock; else on one, with the clock paused.
    pub(crate) several_threads: bool,
    /// In a task of its own, under no frame; else in `block_on`.
    pub(crate) spawned: bool,
    /// Code that fails panics.
    pub(crate) panics: bool,
    /// Branches are polled as a set that polls only what was woken; else all of them.
    pub(crate) unordered: bool,
    /// There is a second runtime. Guards that are given away are dropped by a task of it.
    pub(crate) second_runtime: bool,
    /// After so many suspensions the whole goes on on the second runtime, if there is one.
    pub(crate) moves: Option<usize>,
    /// Dropped by the runtime, when its task was aborted; else by who polls it.
    pub(crate) aborted: bool,
    /// After how many suspensions it is dropped.
    pub(crate) cut: Option<usize>,
    /// The same for the pieces of code that may be cut.
    pub(crate) cuts: Vec<usize>,
}

impl Way {
    /// In `block_on`, on one thread, uncut.
    pub(crate) const PLAIN: Self = Self {
        several_threads: false,
        spawned: false,
        panics: false,
        unordered: false,
        second_runtime: false,
        moves: None,
        aborted: false,
        cut: None,
        cuts: Vec::new(),
    };
}

/// All that is to be seen of a run.
pub(crate) struct Seen {
    pub(crate) events: Vec<Event>,
    counters: Counters,
    report: Option<DrainReport>,
    undelivered: usize,
    /// Resources that were entered, less generators, stacks and groups.
    made: usize,
    generators: Vec<ContextId>,
    several_threads: bool,
    /// Suspensions of the whole.
    pub(crate) suspensions: usize,
}

/// How long a run on several threads may take before it counts as hanging.
const REAL_TIME_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(program: &Program, way: &Way) -> Seen {
    let second = way.second_runtime.then(|| runtime(way));
    let shared = Run::new(program.clone(), way, second.as_ref().map(|second| second.handle().clone()));
    if let Some(second) = &second {
        second.block_on(async { report_to(&shared) });
    }
    let limit = if way.several_threads { REAL_TIME_LIMIT } else { FOR_EVER };
    let polls = Arc::new(AtomicUsize::new(0));
    let runtime = runtime(way);
    let (counters, report) = runtime.block_on(async {
        report_to(&shared);
        let start = Instant::now();
        let whole = whole(&shared, way, &polls);
        if timeout(limit, whole).await.is_err() {
            return (counters(), None);
        }
        let report = drain(limit).await;
        // Who drains inside of an exit gives up after as long.
        let hangs = start.elapsed() >= limit;
        (counters(), (!hangs).then_some(report))
    });
    let (counters, report) = match &second {
        Some(second) => and_of_second(&runtime, second, limit, counters, report),
        None => (counters, report),
    };
    // What hangs in there is not waited for.
    for runtime in [Some(runtime), second].into_iter().flatten() {
        runtime.shutdown_background();
    }
    let suspensions = polls.load(Ordering::Relaxed);
    let is_generator = |id: &ContextId| matches!(program.contexts[*id].form, Form::Generator(_));
    Seen {
        events: shared.events(),
        counters,
        report,
        undelivered: shared.undelivered().len(),
        made: shared.plain.load(Ordering::Relaxed),
        generators: (0..program.contexts.len()).filter(is_generator).collect(),
        several_threads: way.several_threads,
        suspensions,
    }
}

fn report_to(run: &Shared) {
    let run = Arc::clone(run);
    set_report_sink(move |incident| run.deliver(&incident.message));
}

/// What an exit on one of the runtimes leaves behind may exit on the other: so both are drained twice.
fn and_of_second(
    first: &Runtime,
    second: &Runtime,
    limit: Duration,
    mut all: Counters,
    report: Option<DrainReport>,
) -> (Counters, Option<DrainReport>) {
    let Some(mut report) = report else { return (all, None) };
    for runtime in [second, first, second] {
        let drained = runtime.block_on(drain(limit));
        report.ended += drained.ended;
        report.incidents.extend(drained.incidents);
        report.open = drained.open;
        if !report.open.is_empty() {
            break;
        }
    }
    let (of_first, of_second) = (first.block_on(async { counters() }), second.block_on(async { counters() }));
    all.entered = of_first.entered + of_second.entered;
    all.exited = of_first.exited + of_second.exited;
    all.handed_over = of_first.handed_over + of_second.handed_over;
    all.failed = of_first.failed + of_second.failed;
    all.panicked = of_first.panicked + of_second.panicked;
    all.timed_out = of_first.timed_out + of_second.timed_out;
    all.lost = of_first.lost + of_second.lost;
    all.disarmed = of_first.disarmed + of_second.disarmed;
    (all, Some(report))
}

fn runtime(way: &Way) -> Runtime {
    let mut builder =
        if way.several_threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().worker_threads(2).start_paused(!way.several_threads);
    builder.build().expect("the system has threads to give")
}

/// The program, cut where the way says, in `block_on` or in a task.
async fn whole(run: &Shared, way: &Way, polls: &Arc<AtomicUsize>) {
    let task = Arc::new(OnceLock::new());
    let blade = if way.aborted { Blade::Abort(Arc::clone(&task)) } else { Blade::Drop };
    let cut = Cut { inner: Some(root(run)), left: way.cut, blade, noted: Some(Arc::clone(run)) };
    let (noted, polls, moves) = (Arc::clone(run), Arc::clone(polls), way.moves);
    let whole = async move {
        let second = noted.elsewhere.clone().filter(|_| moves.is_some());
        let result = moved(cut, moves.unwrap_or(0), second, &polls);
        match AssertUnwindSafe(result).catch_unwind().await {
            Ok(Some(result)) => noted.deliver(&format!("{result:?}")),
            Ok(None) => {}
            Err(payload) => {
                noted.note(Event::Result(false));
                noted.deliver(payload.downcast_ref::<String>().map_or("", |words| words));
            }
        }
    };
    if !way.spawned && !way.aborted {
        return whole.await;
    }
    let (ready, is_ready) = oneshot::channel();
    let spawned = tokio::spawn(async move {
        // Its own handle has to be there before it can abort itself.
        if is_ready.await.is_ok() {
            whole.await;
        }
    });
    task.set(spawned.abort_handle()).expect("it is set once");
    ready.send(()).expect("the task waits for it");
    if let Err(error) = spawned.await {
        assert!(error.is_cancelled(), "nothing panics: {error}");
    }
}

/// Polls it, and after so many suspensions lets it go on on another runtime.
async fn moved<F: Future<Output: Send + 'static> + Send + Unpin + 'static>(
    mut future: F,
    mut left: usize,
    to: Option<Handle>,
    polls: &AtomicUsize,
) -> F::Output {
    let first = poll_fn(|context| {
        if to.is_some() && left == 0 {
            return Poll::Ready(None);
        }
        left = left.saturating_sub(1);
        polls.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut future).poll(context).map(Some)
    });
    match (first.await, to) {
        (Some(output), _) => output,
        (None, Some(to)) => match to.spawn(future).await {
            Ok(output) => output,
            Err(error) => resume_unwind(error.into_panic()),
        },
        (None, None) => unreachable!("it ended here"),
    }
}

/// The runtime dies at a suspension, undrained (law 17). What is wrong, if something is.
pub(crate) fn die(program: &Program, way: &Way) -> Result<(), String> {
    let shared = Run::new(program.clone(), way, None);
    let lost = Arc::new(AtomicUsize::new(0));
    let runtime = runtime(way);
    let (seen, counted) = (Arc::clone(&shared), Arc::clone(&lost));
    runtime.block_on(async move {
        set_report_sink(move |incident| {
            if incident.kind == IncidentKind::ExitLost {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        drop(tokio::spawn(root(&seen)));
        for _ in 0..way.cut.unwrap_or(0) {
            yield_now().await;
        }
    });
    drop(runtime);
    let (made, lost) = (shared.plain.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    let ended = shared.events().iter().filter(|event| matches!(event, Event::Ends(_))).count();
    // Joined contexts are one tenure, and are lost as one.
    let made = made - joined_in_excess(program, &shared.events()).min(made);
    // A group and a stack are lost too, though no resources of this test; what their exits were to leave behind is not.
    if lost < made - ended.min(made) {
        return Err(format!("{made} entered, {ended} exits ended, and {lost} lost: {:?}", shared.events()));
    }
    Ok(())
}

/// What is wrong with a run, if something is.
pub(crate) fn verdict(program: &Program, seen: &Seen) -> Result<(), String> {
    let Seen { events, undelivered, .. } = seen;
    verdict_of_books(seen)?;
    if *undelivered != 0 {
        return Err(format!("{undelivered} errors were told to nobody, after {events:?}"));
    }
    match accepts(program, Rules::RIGHT, events, seen.several_threads) {
        Some(false) => Err(format!("the model cannot run like this: {events:?}")),
        Some(true) | None => Ok(()),
    }
}

/// As [`verdict`], without the model: nothing hangs, the books balance, each exit runs once.
pub(crate) fn verdict_of_books(seen: &Seen) -> Result<(), String> {
    let Seen { events, counters, report, made, .. } = seen;
    let Some(report) = report else { return Err(format!("it hangs after {events:?}")) };
    if !report.open.is_empty() {
        return Err(format!("something stays open after {events:?}: {report}"));
    }
    let Counters { entered, exited, lost, disarmed, .. } = *counters;
    if entered != exited + lost + disarmed || lost != 0 {
        return Err(format!("the books do not balance: {counters:?}"));
    }
    let many = |of: fn(&Event) -> bool| events.iter().filter(|event| of(event)).count();
    let begun = many(|event| matches!(event, Event::Begins(..)));
    let ended = many(|event| matches!(event, Event::Ends(_) | Event::Expires(_)));
    let generators =
        events.iter().filter(|event| matches!(event, Event::Begins(id, _) if seen.generators.contains(id)));
    if begun > ended || ended < *made || begun > made + generators.count() {
        return Err(format!("{made} entered, {begun} exits begun, {ended} ended: {events:?}"));
    }
    Ok(())
}

/// Of contexts that are joined, those that were lost, less one for each join.
fn joined_in_excess(program: &Program, events: &[Event]) -> usize {
    let of = |form: &Form| if let Form::Join(parts) = form { parts.clone() } else { Vec::new() };
    let lost = |part: &ContextId| events.contains(&Event::Expires(*part));
    let joins =
        program.contexts.iter().map(|context| of(&context.form).iter().filter(|part| lost(part)).count());
    joins.map(|lost| lost.saturating_sub(1)).sum()
}

/// Whether it hangs by will, which a real clock would have to wait for.
pub(crate) fn has_limits(program: &Program) -> bool {
    program.contexts.iter().any(|context| context.limited)
}

/// The limits of the model are those of each tenure; a stack has one for all its entries, which are not compared.
pub(crate) fn without_limits_on_stacks(mut program: Program) -> Program {
    let of = |form: &Form| if let Form::Stack(all) | Form::Join(all) = form { all.clone() } else { Vec::new() };
    let entries: Vec<_> = program.contexts.iter().flat_map(|context| of(&context.form)).collect();
    for entry in entries {
        program.contexts[entry].limited = false;
        let exit = program.contexts[entry].exit;
        program.codes[exit].retain(|op| *op != Op::Hang);
    }
    for context in program.contexts.iter_mut().filter(|context| !matches!(context.form, Form::Plain)) {
        context.limited = false;
        program.codes[context.exit].retain(|op| *op != Op::Hang);
    }
    program
}
