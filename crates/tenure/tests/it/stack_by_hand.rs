//! Law 21: a stack behaves as the same contexts nested by hand.
//!
//! All programs of one to three exits, each of which succeeds, fails, panics or recovers, under a body that completes,
//! fails, panics or is cancelled: the trace, the result and the reports of the two forms have to be the same.

use std::any::Any;
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
            for (depth, exit) in exits.iter().enumerate() {
                let context = resource(recorder, depth, *exit);
                if let Exit::Recovers = exit {
                    stack.enter_recovering(context.recovering(Verdict::Recover)).await?;
                } else {
                    stack.enter(context).await?;
                }
            }
            run_body(recorder, body).await
        })
        .await
        .map(drop)
    })
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
                let (nested, stacked) = (Recorder::new(), Recorder::new());
                let nested = seen(&nested, body, by_hand(&nested, &exits, 0, body)).await;
                let stacked = seen(&stacked, body, by_stack(&stacked, &exits, body)).await;
                assert_eq!(stacked, nested, "on the stack, and nested: {exits:?} under a body that {body:?}");
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
