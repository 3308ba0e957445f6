//! One run of one program, held against the model and against the books.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tenure::{Counters, DrainReport, IncidentKind, counters, drain, set_report_sink};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::accept::accepts;
use super::machine::rules::Rules;
use super::machine::state::{ContextId, Event, Form, Op, Program};
use super::world::{Blade, Cut, FOR_EVER, Run, Shared, root};

/// How a program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// On several threads, and by a real clock; else on one, with the clock paused.
    pub(crate) several_threads: bool,
    /// In a task of its own, under no frame; else in `block_on`.
    pub(crate) spawned: bool,
    /// Code that fails panics.
    pub(crate) panics: bool,
    /// Dropped by the runtime, when its task was aborted; else by who polls it.
    pub(crate) aborted: bool,
    /// After how many suspensions it is dropped.
    pub(crate) cut: Option<usize>,
    /// The same for the pieces of code that may be cut.
    pub(crate) cuts: Vec<usize>,
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
    /// Suspensions of the whole.
    pub(crate) suspensions: usize,
}

/// How long a run on several threads may take before it counts as hanging.
const REAL_TIME_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(program: &Program, way: &Way) -> Seen {
    let shared = Run::new(program.clone(), way.cuts.clone(), way.panics);
    let limit = if way.several_threads { REAL_TIME_LIMIT } else { FOR_EVER };
    let polls = Arc::new(AtomicUsize::new(0));
    let runtime = runtime(way);
    let (counters, report) = runtime.block_on(async {
        let sink = Arc::clone(&shared);
        set_report_sink(move |incident| sink.deliver(&incident.message));
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
    // What hangs in there is not waited for.
    runtime.shutdown_background();
    let suspensions = polls.load(Ordering::Relaxed);
    let is_generator = |id: &ContextId| matches!(program.contexts[*id].form, Form::Generator(_));
    Seen {
        events: shared.events(),
        counters,
        report,
        undelivered: shared.undelivered().len(),
        made: shared.plain.load(Ordering::Relaxed),
        generators: (0..program.contexts.len()).filter(is_generator).collect(),
        suspensions,
    }
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
    let mut cut = Cut { inner: Some(root(run)), left: way.cut, blade, noted: Some(Arc::clone(run)) };
    let (noted, polls) = (Arc::clone(run), Arc::clone(polls));
    let whole = async move {
        let result = poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut cut).poll(context)
        });
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

/// The runtime dies at a suspension, undrained (law 17). What is wrong, if something is.
pub(crate) fn die(program: &Program, way: &Way) -> Result<(), String> {
    let shared = Run::new(program.clone(), way.cuts.clone(), way.panics);
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
    match accepts(program, Rules::RIGHT, events) {
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

/// Whether it hangs by will, which a real clock would have to wait for.
pub(crate) fn has_limits(program: &Program) -> bool {
    program.contexts.iter().any(|context| context.limited)
}

/// The limits of the model are those of each tenure; a stack has one for all its entries, which are not compared.
pub(crate) fn without_limits_on_stacks(mut program: Program) -> Program {
    let of = |form: &Form| if let Form::Stack(entries) = form { entries.clone() } else { Vec::new() };
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
