//! One run of one program, held against the model and against the books.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenure::{Counters, DrainReport, counters, drain, set_report_sink};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::accept::accepts;
use super::machine::rules::Rules;
use super::machine::state::{Event, Form, Op, Program};
use super::world::{Cut, FOR_EVER, Run, root};

/// How a program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// On several threads, and by a real clock; else on one, with the clock paused.
    pub(crate) several_threads: bool,
    /// In a task of its own, under no frame; else in `block_on`.
    pub(crate) spawned: bool,
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
    /// Suspensions of the whole.
    pub(crate) suspensions: usize,
}

/// How long a run on several threads may take before it counts as hanging.
const REAL_TIME_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(program: &Program, way: &Way) -> Seen {
    let shared = Run::new(program.clone(), way.cuts.clone());
    let mut builder =
        if way.several_threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().worker_threads(2).start_paused(!way.several_threads);
    let runtime = builder.build().expect("the system has threads to give");
    let limit = if way.several_threads { REAL_TIME_LIMIT } else { FOR_EVER };
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let (way, seen) = (way.clone(), Arc::clone(&shared));
    let (counters, report) = runtime.block_on(async move {
        let sink = Arc::clone(&seen);
        set_report_sink(move |incident| sink.deliver(&incident.message));
        let on_cut = Arc::clone(&seen);
        let cut =
            Cut { inner: Some(root(&seen)), left: way.cut, on_cut: move || on_cut.note(Event::Cancelled) };
        let noted = Arc::clone(&seen);
        let whole = async move {
            let mut cut = std::pin::pin!(cut);
            let result = std::future::poll_fn(|context| {
                counted.fetch_add(1, Ordering::Relaxed);
                cut.as_mut().poll(context)
            });
            if let Some(result) = result.await {
                noted.note(Event::Result(result.is_ok()));
                noted.deliver(&format!("{result:?}"));
            }
        };
        let whole = async {
            if way.spawned { tokio::spawn(whole).await.expect("nothing panics") } else { whole.await }
        };
        if timeout(limit, whole).await.is_err() {
            return (counters(), None);
        }
        let report = drain(limit).await;
        (counters(), Some(report))
    });
    // What hangs in there is not waited for.
    runtime.shutdown_background();
    let suspensions = polls.load(Ordering::Relaxed);
    Seen { events: shared.events(), counters, report, undelivered: shared.undelivered().len(), suspensions }
}

/// What is wrong with a run, if something is.
pub(crate) fn verdict(program: &Program, seen: &Seen) -> Result<(), String> {
    let Seen { events, counters, report, undelivered, .. } = seen;
    let Some(report) = report else { return Err(format!("it hangs after {events:?}")) };
    if !report.open.is_empty() {
        return Err(format!("something stays open after {events:?}: {report}"));
    }
    let Counters { entered, exited, lost, disarmed, .. } = *counters;
    if entered != exited + lost + disarmed || lost != 0 {
        return Err(format!("the books do not balance: {counters:?}"));
    }
    if *undelivered != 0 {
        return Err(format!("{undelivered} errors were told to nobody, after {events:?}"));
    }
    match accepts(program, Rules::RIGHT, events) {
        Some(false) => Err(format!("the model cannot run like this: {events:?}")),
        Some(true) | None => Ok(()),
    }
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
