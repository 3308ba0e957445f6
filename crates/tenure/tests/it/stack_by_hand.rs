//! Law 21: a stack behaves as the same contexts nested by hand.
//!
//! All programs of one to three exits, each of which succeeds, fails, panics or recovers, under a body that completes,
//! fails, panics or is cancelled, run to their end and dropped at each of their suspensions, those of the exits included:
//! the trace, the result and the reports have to be the same, nested, on a stack, and on a stack that lies on a stack.
//!
//! They differ in one thing, and cannot be the same there: where the body completed, an inner exit failed and an outer one
//! recovered, the inner `with` has lost the body's value on its way out, and the stack still has it.

use std::any::Any;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;

use tenure::{ExitStack, IncidentKind, Verdict, with, with_recovering};
use tenure_test::{Act, Fault, Recorder, both_flavours, hang, panic_quietly};

use crate::support::{Reports, caught, entered, message, settled};

#[derive(Clone, Copy, Debug)]
enum Exit {
    Succeeds,
    Fails,
    Panics,
    Recovers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    Completes,
    Fails,
    Panics,
    Cancelled,
}

const EXITS: [Exit; 4] = [Exit::Succeeds, Exit::Fails, Exit::Panics, Exit::Recovers];
const BODIES: [Body; 4] = [Body::Completes, Body::Fails, Body::Panics, Body::Cancelled];
const NAMES: [&str; 3] = ["a", "b", "c"];

fn resource(recorder: &Recorder, depth: usize, exit: Exit) -> tenure_test::Resource {
    let act = match exit {
        Exit::Succeeds | Exit::Recovers => Act::suspend(1),
        Exit::Fails => Act::suspend(1).then_fail(),
        Exit::Panics => Act::suspend(1).then_panic(),
    };
    // Entered at once: the first suspension is in the body, or behind it.
    recorder.resource(NAMES[depth]).on_enter(Act::at_once()).on_exit(act)
}

async fn run_body(recorder: &Recorder, body: Body) -> Result<(), Fault> {
    recorder.note("body");
    match body {
        Body::Completes => Ok(()),
        Body::Fails => Err(Fault::new("body")),
        Body::Panics => panic_quietly("body"),
        Body::Cancelled => hang().await,
    }
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<Option<()>, Fault>> + Send + 'a>>;

fn by_hand<'a>(recorder: &'a Recorder, exits: &'a [Exit], depth: usize, body: Body) -> Boxed<'a> {
    Box::pin(async move {
        let Some(exit) = exits.get(depth) else {
            return run_body(recorder, body).await.map(Some);
        };
        let context = resource(recorder, depth, *exit);
        if let Exit::Recovers = exit {
            let context = context.recovering(Verdict::Recover);
            with_recovering(context, async |_| by_hand(recorder, exits, depth + 1, body).await)
                .await
                .map(Option::flatten)
        } else {
            with(context, async |_| by_hand(recorder, exits, depth + 1, body).await).await
        }
    })
}

fn by_stack<'a>(recorder: &'a Recorder, exits: &'a [Exit], body: Body) -> Boxed<'a> {
    Box::pin(async move {
        with_recovering(entered(ExitStack::<Fault>::new()), async |stack| {
            enter_all(stack, recorder, exits, 0..exits.len()).await?;
            run_body(recorder, body).await
        })
        .await
    })
}

/// The first exit lies on a stack, the others on another stack above it.
fn by_stack_on_stack<'a>(recorder: &'a Recorder, exits: &'a [Exit], body: Body) -> Boxed<'a> {
    Box::pin(async move {
        with_recovering(entered(ExitStack::<Fault>::new()), async |stack| {
            enter_all(stack, recorder, exits, 0..1).await?;
            let above = stack.push_recovering(ExitStack::<Fault>::new());
            enter_all(above, recorder, exits, 1..exits.len()).await?;
            run_body(recorder, body).await
        })
        .await
    })
}

async fn enter_all(
    stack: &ExitStack<Fault>,
    recorder: &Recorder,
    exits: &[Exit],
    depths: Range<usize>,
) -> Result<(), Fault> {
    for depth in depths {
        let exit = exits[depth];
        let context = resource(recorder, depth, exit);
        if let Exit::Recovers = exit {
            stack.enter_recovering(context.recovering(Verdict::Recover)).await?;
        } else {
            stack.enter(context).await?;
        }
    }
    Ok(())
}

/// All that can be seen of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    result: String,
    trace: Vec<String>,
    reports: Vec<(IncidentKind, String)>,
}

/// Polls the future to its end, or to this suspension, where it is dropped.
async fn seen(recorder: &Recorder, cut: Option<u32>, future: Boxed<'_>) -> Seen {
    let reports = Reports::here();
    let mut suspensions = 0;
    let mut future = Some(Box::pin(caught(future)));
    let ended = poll_fn(|task| {
        let Some(running) = &mut future else { return Poll::Ready(None) };
        let polled = running.as_mut().poll(task).map(Some);
        if polled.is_pending() {
            suspensions += 1;
            if cut == Some(suspensions) {
                future = None;
                return Poll::Ready(None);
            }
        }
        polled
    })
    .await;
    drop(future);
    settled().await;
    let result = match ended {
        None => "dropped".to_owned(),
        Some(Ok(Ok(value))) => format!("completed: {value:?}"),
        Some(Ok(Err(fault))) => format!("failed: {fault}"),
        Some(Err(payload)) => format!("panicked: {}", message(&*payload as &(dyn Any + Send))),
    };
    Seen {
        result,
        trace: recorder.trace().events().iter().map(ToString::to_string).collect(),
        reports: reports.all().into_iter().map(|incident| (incident.kind, incident.message)).collect(),
    }
}

const ANY: IncidentKind = IncidentKind::ExitFailed;

fn programs(depth: usize) -> Vec<Vec<Exit>> {
    (0..depth).fold(vec![Vec::new()], |shorter, _| {
        let longer = |program: &Vec<Exit>| EXITS.map(|exit| [program.as_slice(), &[exit]].concat());
        shorter.iter().flat_map(longer).collect()
    })
}

fn compare(depth: usize) {
    both_flavours(async |_| {
        let mut compared = 0;
        for exits in programs(depth) {
            for body in BODIES {
                // One for each exit; or the one in the body.
                let suspensions = if body == Body::Cancelled { 1 } else { depth };
                let cuts = (1..=u32::try_from(suspensions).unwrap()).map(Some);
                let whole = (body != Body::Cancelled).then_some(None);
                for cut in cuts.chain(whole) {
                    let recorder = Recorder::new();
                    let mut nested = seen(&recorder, cut, by_hand(&recorder, &exits, 0, body)).await;
                    for by_stack in [by_stack, by_stack_on_stack] {
                        let recorder = Recorder::new();
                        let mut stacked = seen(&recorder, cut, by_stack(&recorder, &exits, body)).await;
                        if (&*stacked.result, &*nested.result) == ("completed: Some(())", "completed: None") {
                            assert_eq!(body, Body::Completes);
                            stacked.result.clone_from(&nested.result);
                        }
                        if cut.is_some() {
                            // By hand, the error of an inner exit is that of the body of the next one, which is unclaimed; and
                            // each context tells in its turn, the stack when all of its exits have ended.
                            for seen in [&mut stacked, &mut nested] {
                                for (kind, message) in &mut seen.reports {
                                    *kind = ANY;
                                    *message = message.replace("panicked: ", "");
                                }
                                seen.reports.sort_by(|one, other| one.1.cmp(&other.1));
                            }
                        }
                        assert_eq!(
                            stacked, nested,
                            "stacked, and nested: {exits:?}, {body:?}, dropped at {cut:?}"
                        );
                    }
                }
                compared += 1;
            }
        }
        assert_eq!(compared, EXITS.len().pow(u32::try_from(depth).unwrap()) * BODIES.len());
    });
}

#[test]
fn law_21_one_deep() {
    compare(1);
}

#[test]
fn law_21_two_deep() {
    compare(2);
}

#[test]
fn law_21_three_deep() {
    compare(3);
}
