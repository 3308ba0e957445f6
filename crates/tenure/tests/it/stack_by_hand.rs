//! Law 21: a stack behaves as the same contexts nested by hand.
//!
//! All programs of one to three exits, each of which succeeds, fails, panics or recovers, under a body that completes,
//! fails, panics or is cancelled: the trace, the result and the reports have to be the same, nested, on a stack, and on a
//! stack that lies on a stack.

use std::any::Any;
use std::ops::Range;
use std::pin::Pin;

use tenure::{ExitStack, IncidentKind, Verdict, with, with_recovering};
use tenure_test::{Act, Fault, Recorder, both_flavours, hang, panic_quietly};

use crate::support::{Reports, caught, drop_at, entered, message, settled};

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

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

fn by_hand<'a>(recorder: &'a Recorder, exits: &'a [Exit], depth: usize, body: Body) -> Boxed<'a> {
    Box::pin(async move {
        let Some(exit) = exits.get(depth) else {
            return run_body(recorder, body).await;
        };
        let context = resource(recorder, depth, *exit);
        if let Exit::Recovers = exit {
            let context = context.recovering(Verdict::Recover);
            with_recovering(context, async |_| by_hand(recorder, exits, depth + 1, body).await).await.map(drop)
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
        .map(drop)
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
        .map(drop)
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

async fn seen(recorder: &Recorder, body: Body, future: Boxed<'_>) -> Seen {
    let reports = Reports::here();
    let result = if body == Body::Cancelled {
        drop_at(1, future).await;
        settled().await;
        "dropped".to_owned()
    } else {
        match caught(future).await {
            Ok(Ok(())) => "completed".to_owned(),
            Ok(Err(fault)) => format!("failed: {fault}"),
            Err(payload) => format!("panicked: {}", message(&*payload as &(dyn Any + Send))),
        }
    };
    Seen {
        result,
        trace: recorder.trace().events().iter().map(ToString::to_string).collect(),
        reports: reports.all().into_iter().map(|incident| (incident.kind, incident.message)).collect(),
    }
}

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
                let recorder = Recorder::new();
                let nested = seen(&recorder, body, by_hand(&recorder, &exits, 0, body)).await;
                for by_stack in [by_stack, by_stack_on_stack] {
                    let recorder = Recorder::new();
                    let stacked = seen(&recorder, body, by_stack(&recorder, &exits, body)).await;
                    assert_eq!(stacked, nested, "stacked, and nested: {exits:?} under a body that {body:?}");
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
