//! Law 35b, c: what is said at the end, and the code that is made of it.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use tenure::{
    ExitStack, Held, Options, Run, drain, hold, set_default_report_sink, set_report_sink, with, with_stack,
};
use tenure_test::Fault;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, yield_now};

use super::{SHORT, UNCLEAN, Way, Wrong, ends_by_itself, ends_by_signals, going, ready, resource, say};
use crate::support::{Error, LONG};

/// Says that it is dropped, and panics.
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("meant to panic in its drop");
    }
}

/// A subscriber that hears everything and says nothing.
struct Deaf;

impl tracing::Subscriber for Deaf {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        say("event");
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

async fn goes(wrong: Wrong) -> Result<(), Fault> {
    with(going(wrong), async |_| ready().await).await
}

async fn failing_in_the_background() -> Result<(), Fault> {
    drop(hold(going(Wrong::Fails)).await?);
    Ok(())
}

/// Begins a task that holds something and does not end.
async fn spawn_a_holder() {
    let held = Arc::new(Notify::new());
    let told = Arc::clone(&held);
    tokio::spawn(with(resource("detached"), async move |_| {
        // It is seen to be held once it has suspended.
        yield_now().await;
        told.notify_one();
        std::future::pending::<Result<(), Fault>>().await
    }));
    held.notified().await;
}

pub(super) fn play(name: &str, way: Way) -> Option<ExitCode> {
    let run = Run::new();
    let short = Run::new().exit_timeout(SHORT);
    Some(match name {
        "exit fails" => way.run(run, goes(Wrong::Fails)),
        "exit panics" => way.run(run, goes(Wrong::Panics)),
        "exit hangs" => way.run(short, goes(Wrong::Hangs)),
        "exit fails, success" => way.run(run.success_after_signal(true), goes(Wrong::Fails)),
        "exit has a limit" => {
            let enter = async { going(Wrong::Hangs).await.map_err(Error::from) };
            let body = async |_: &mut _| ready::<Result<(), Error>>().await;
            way.run(run, Options::new().name("journal").exit_limit(SHORT / 4).with(enter, body))
        }
        "body and exit fail" => {
            way.run(run, with(going(Wrong::Fails), async |_| Err::<(), _>(Fault::new("the body failed"))))
        }
        "fails in the background" => way.run(run, failing_in_the_background()),
        "fails in the background, early" => way.run(run, async {
            failing_in_the_background().await?;
            // All that is to happen happens before the body ends; the report is left to the run.
            while tenure::counters().failed == 0 {
                yield_now().await;
            }
            Ok::<_, Fault>(())
        }),
        "fails in the background, and is told" => way.run(run, async {
            failing_in_the_background().await?;
            let report = drain(LONG).await;
            assert!(!report.is_clean());
            Ok::<_, Fault>(())
        }),
        "is deaf" => {
            tracing::subscriber::set_global_default(Deaf).unwrap();
            way.run(run, failing_in_the_background())
        }
        "has a sink" => {
            set_default_report_sink(|_| say("sink"));
            way.run(run, failing_in_the_background())
        }
        "has a sink of its own" => way.run(run, async {
            set_report_sink(|_| say("sink"));
            failing_in_the_background().await
        }),
        name => return play_held(name, way),
    })
}

/// The scenarios in which something is held when the body has ended.
fn play_held(name: &str, way: Way) -> Option<ExitCode> {
    let run = Run::new();
    let short = Run::new().exit_timeout(SHORT);
    Some(match name {
        "keeps a guard" => {
            static KEPT: Mutex<Option<Held<super::Going>>> = Mutex::new(None);
            way.run(short, async {
                let guard = hold(going(Wrong::Hangs)).await?;
                *KEPT.lock().unwrap() = Some(guard);
                Ok::<_, Fault>(())
            })
        }
        "hangs without a signal" => way.run(short, async {
            drop(hold(going(Wrong::Hangs)).await?);
            Ok::<_, Fault>(())
        }),
        "leaves a holder" => way.run(short, async { spawn_a_holder().await }),
        "leaves a holder, and serves" => way.run(short, async {
            spawn_a_holder().await;
            ready::<()>().await;
        }),
        "a holder ends by itself" => way.run(run, async {
            let stop = Arc::new(Notify::new());
            let stopped = Arc::clone(&stop);
            let held = Arc::new(Notify::new());
            let told = Arc::clone(&held);
            tokio::spawn(with(resource("detached"), async move |_| {
                yield_now().await;
                told.notify_one();
                stopped.notified().await;
                Ok::<_, Fault>(())
            }));
            held.notified().await;
            stop.notify_one();
        }),
        "a thread holds" => way.run(short, async {
            let held = Arc::new(Notify::new());
            let told = Arc::clone(&held);
            let runtime = tokio::runtime::Handle::current();
            spawn_blocking(move || {
                runtime.block_on(with(resource("in a thread"), async move |_| {
                    yield_now().await;
                    told.notify_one();
                    std::future::pending::<Result<(), Fault>>().await
                }))
            });
            held.notified().await;
        }),
        "drop of the body panics" => way.run(
            run,
            with(resource("held"), async |_| {
                let _held = PanicsWhenDropped;
                ready::<Result<(), Fault>>().await
            }),
        ),
        "inside others" => inside_others(way),
        _ => return None,
    })
}

/// A run inside of a tenure and a stack, which it is not to wait for.
fn inside_others(way: Way) -> ExitCode {
    let code = way.runtime().block_on(with(resource("around"), async |_| {
        with_stack(async |stack: &mut ExitStack<Fault>| {
            stack.enter(resource("on the stack")).await?;
            Ok::<_, Fault>(
                Run::new()
                    .until_signal(with(resource("inside"), async |_| ready::<Result<(), Fault>>().await))
                    .await,
            )
        })
        .await
    }));
    code.unwrap()
}

#[test]
fn law_35c_an_exit_that_goes_wrong_at_a_stop_is_a_line_and_not_a_clean_code() {
    let cases = [
        ("exit fails", "exit failed: ", "meant to fail"),
        ("exit fails, success", "exit failed: ", "meant to fail"),
        ("exit panics", "exit panicked: ", "meant to panic"),
        ("exit has a limit", "exit ran out of time: journal", "judged.rs:"),
    ];
    for (scenario, kind, part) in cases {
        for ended in ends_by_signals(scenario, &Way::ALL, &[("ready", "TERM")]) {
            ended.check_told(UNCLEAN, &[kind, part, "not everything was exited well", "exit code 70"]);
        }
    }
}

#[test]
fn law_35_beyond_the_deadline_the_process_ends_and_says_what_was_not_exited() {
    for ended in ends_by_signals("exit hangs", &Way::ALL, &[("ready", "TERM")]) {
        ended.check_told(UNCLEAN, &["exiting", "given up: ", "judged.rs:", "not everything was exited"]);
    }
    for ended in ends_by_itself("hangs without a signal", &Way::ALL) {
        ended.check_told(UNCLEAN, &["exiting", "given up: ", "judged.rs:", "not everything was exited"]);
    }
}

#[test]
fn law_35b_where_body_and_exit_fail_both_are_said() {
    for ended in ends_by_itself("body and exit fail", &Way::ALL) {
        ended.check_told(Some(1), &["the body failed", "exit failed: ", "meant to fail"]);
    }
}

#[test]
fn law_35c_an_exit_that_failed_in_the_background_is_not_a_clean_end() {
    for scenario in ["fails in the background", "fails in the background, early"] {
        for ended in ends_by_itself(scenario, &Way::ALL) {
            ended.check_told(UNCLEAN, &["exit failed: ", "meant to fail", "not everything was exited well"]);
        }
    }
    for ended in ends_by_itself("fails in the background, and is told", &Way::ALL) {
        ended.check_told(Some(0), &["exit failed: ", "meant to fail"]);
    }
}

#[test]
fn law_35b_where_somebody_else_hears_of_incidents_the_run_says_them_too() {
    for (scenario, heard) in [("is deaf", "event"), ("has a sink", "sink"), ("has a sink of its own", "sink")] {
        for ended in ends_by_itself(scenario, &Way::ALL) {
            ended.check_told(UNCLEAN, &["exit failed: ", "meant to fail", "not everything was exited well"]);
            assert!(ended.said(heard), "{ended:?}");
            let lines = ended.said.iter().filter(|line| line.contains("meant to fail")).count();
            assert_eq!(lines, 1, "{ended:?}");
        }
    }
}

#[test]
fn law_35b_what_nobody_exits_is_given_up_by_name() {
    for ended in ends_by_itself("keeps a guard", &Way::ALL) {
        ended.check_told(UNCLEAN, &["given up: ", "judged.rs:", "held", "exit code 70"]);
    }
}

/// What another task holds exits.
#[track_caller]
fn check_detached(ended: &super::Ended, name: &str, clean: i32) {
    assert_eq!(ended.code, Some(clean), "{ended:?}");
    assert!(ended.said(&format!("exited {name}")), "{ended:?}");
}

#[test]
fn law_35b_what_a_detached_task_holds() {
    for ended in ends_by_itself("leaves a holder", &Way::ALL) {
        check_detached(&ended, "detached", 0);
    }
    for ended in ends_by_signals("leaves a holder, and serves", &Way::ALL, &[("ready", "TERM")]) {
        check_detached(&ended, "detached", 143);
    }
    for ended in ends_by_itself("a thread holds", &[Way::on(1), Way::on(2)]) {
        check_detached(&ended, "in a thread", 0);
    }
}

#[test]
fn law_35b_a_detached_task_that_ends_by_itself_is_awaited() {
    for ended in ends_by_itself("a holder ends by itself", &Way::ALL) {
        ended.check(Some(0), &["exited detached"]);
    }
}

#[test]
fn law_35_a_body_whose_drop_panics_exits_all_the_same() {
    for ended in ends_by_signals("drop of the body panics", &Way::ALL, &[("ready", "TERM")]) {
        ended.check_told(Some(101), &["exited held", "meant to panic in its drop"]);
    }
}

#[test]
fn law_35_a_run_inside_of_other_tenures_does_not_wait_for_them() {
    for ended in ends_by_signals("inside others", &[Way::inside(1), Way::inside(2)], &[("ready", "TERM")]) {
        ended.check(Some(143), &["ready", "exited inside", "exited on the stack", "exited around"]);
    }
}
