//! Laws 14 and 15: stopped in place, and exits that take too long.

use std::time::Duration;

use tenure::{
    AsyncExit, CancelToken, ExitErrors, ExitStack, IncidentKind, Options, Outcome, Stopped, Verdict, WithError,
    hold, shield, with, with_stack,
};
use tenure_test::{Act, Fault, FaultKind, Proof, Recorder, Seen, both_flavours, hang, panic_quietly};
use tokio::time::{Instant, sleep};

use crate::support::{Error, LONG, NoteOnDrop, Reports, caught, drained, drop_at, message};

const LIMIT: Duration = Duration::from_millis(20);

#[test]
fn law_14_at_its_deadline_the_body_is_dropped_and_the_exit_awaited_in_place() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = recorder.resource("a").on_exit(Act::suspend(5));
        let result = Options::new().body_timeout(LIMIT).with(slow, async |_| {
            let _local = NoteOnDrop(recorder.clone(), "body dropped");
            hang::<Result<(), Error>>().await
        });
        assert!(matches!(result.await, Err(Error::Stopped(Stopped::BodyTimeout(LIMIT)))));
        recorder.note("returned");
        recorder.trace().assert_order(["body dropped", "exit a: cancelled", "exited a", "returned"]);
        // In place: nothing was handed over.
        assert_eq!(tenure::counters().handed_over, 0);
    });
}

#[test]
fn law_14_a_token_stops_the_body_and_the_exit_is_awaited_in_place() {
    both_flavours(|_| async {
        let (recorder, token) = (Recorder::new(), CancelToken::new());
        let asking = token.clone();
        let slow = recorder.resource("a").on_enter(Act::at_once()).on_exit(Act::suspend(5));
        let body = Options::new().cancel_on(&token).with(slow, async |_| hang::<Result<(), Error>>().await);
        let ask = async {
            recorder.step("ask").await.unwrap();
            asking.cancel();
            asking.cancel(); // B124
        };
        let (result, ()) = tokio::join!(body, ask);
        assert!(matches!(result, Err(Error::Stopped(Stopped::Cancelled))));
        recorder.trace().assert_exactly(["enter a", "step ask", "exit a: cancelled"]);
        assert_eq!(tenure::counters().handed_over, 0);
    });
}

#[test]
fn law_14_b125_a_body_that_ends_in_the_same_poll_wins() {
    both_flavours(|_| async {
        let (recorder, token) = (Recorder::new(), CancelToken::new());
        let result = Options::new().cancel_on(&token).with(recorder.resource("a"), async |_| {
            recorder.step("body").await?;
            // Asked to stop, and done, before anyone can look.
            token.cancel();
            Ok::<_, Error>(7)
        });
        assert_eq!(result.await.unwrap(), 7);
        recorder.trace().assert_outcome("a", &Seen::Completed);
    });
}

#[test]
fn law_14_b125_a_body_that_ends_at_its_deadline_wins() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        // Entered at once, so that both timers begin in the same poll.
        let a = recorder.resource("a").on_enter(Act::at_once());
        let result = Options::new().body_timeout(LIMIT).with(a, async |_| {
            sleep(LIMIT).await;
            Ok::<_, Error>(7)
        });
        // Under a real clock the two may come in two polls: either is right there, both never.
        match result.await {
            Ok(7) => recorder.trace().assert_outcome("a", &Seen::Completed),
            Err(Error::Stopped(_)) => recorder.trace().assert_outcome("a", &Seen::Cancelled),
            other => panic!("{other:?}"),
        }
    });
    tenure_test::paused().block_on(async {
        let recorder = Recorder::new();
        let a = recorder.resource("a").on_enter(Act::at_once());
        let result = Options::new().body_timeout(LIMIT).with(a, async |_| {
            sleep(LIMIT).await;
            Ok::<_, Error>(7)
        });
        assert_eq!(result.await.unwrap(), 7);
    });
}

#[test]
fn law_14_asked_before_nothing_is_entered() {
    both_flavours(|_| async {
        let (recorder, token) = (Recorder::new(), CancelToken::new());
        token.cancel();
        let result = Options::new()
            .cancel_on(&token)
            .with(recorder.resource("a"), async |_| Ok::<_, Error>(recorder.note("body")));
        assert!(matches!(result.await, Err(Error::Stopped(Stopped::Cancelled))));
        assert!(recorder.trace().events().is_empty());
        let detailed =
            Options::new().cancel_on(&token).with_detailed(recorder.resource("a"), async |_| Ok::<_, ()>(()));
        assert!(matches!(detailed.await, Err(WithError::Stopped { by: Stopped::Cancelled, exit: None })));
    });
}

#[test]
fn law_14_asked_during_the_enter_the_enter_is_dropped() {
    both_flavours(|_| async {
        let (recorder, token) = (Recorder::new(), CancelToken::new());
        let slow = recorder.resource("a").on_enter(Act::suspend(1).then_hang());
        let body = Options::new().cancel_on(&token).with(slow, async |_| Ok::<_, Error>(recorder.note("body")));
        let ask = async {
            recorder.step("ask").await.unwrap();
            token.cancel();
        };
        let (result, ()) = tokio::join!(body, ask);
        assert!(matches!(result, Err(Error::Stopped(Stopped::Cancelled))));
        recorder.trace().assert_exactly(["step ask", "enter a dropped"]);
    });
}

#[test]
fn law_14_any_future_may_stop_a_body() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let (hang_up, hung_up) = tokio::sync::oneshot::channel::<()>();
        let options = Options::new().stop_when(std::future::pending()).stop_when(async move {
            let _ = hung_up.await;
        });
        let body = options
            .with(recorder.resource("a").on_enter(Act::at_once()), async |_| hang::<Result<(), Error>>().await);
        let client = async {
            recorder.step("client").await.unwrap();
            drop(hang_up);
        };
        let (result, ()) = tokio::join!(body, client);
        assert!(matches!(result, Err(Error::Stopped(Stopped::Cancelled))));
        recorder.trace().assert_outcome("a", &Seen::Cancelled);
    });
}

#[test]
fn law_14_a_body_that_panics_when_it_is_stopped_has_panicked() {
    struct PanicOnDrop;
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic_quietly("drop of the body");
        }
    }
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = caught(Options::new().body_timeout(LIMIT).with(recorder.resource("a"), async |_| {
            let _local = PanicOnDrop;
            hang::<Result<(), Error>>().await
        }));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: drop of the body");
        recorder.trace().assert_outcome("a", &Seen::Panicked("injected panic: drop of the body".to_owned()));
    });
}

#[test]
fn law_14_a_body_that_uses_up_its_budget_is_stopped_all_the_same() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        // Entered at once: the deadline is set before it is made to pass.
        let a = recorder.resource("a").on_enter(Act::at_once());
        // Always ready: tokio makes it yield when the task's budget is used up.
        let result = Options::new().body_timeout(LIMIT).with(a, async |_| use_up_budget().await);
        // A paused clock does not move while a task is busy: the deadline is made to pass.
        let clock = async {
            if tokio::runtime::Handle::current().runtime_flavor()
                == tokio::runtime::RuntimeFlavor::CurrentThread
            {
                tokio::time::advance(2 * LIMIT).await;
            }
        };
        let (result, ()) = tokio::join!(result, clock);
        assert!(matches!(result, Err(Error::Stopped(Stopped::BodyTimeout(_)))));
    });
}

#[test]
fn law_14_a_stopped_body_is_recovered_from_by_nobody() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let forgiving = recorder.resource("a").recovering(Verdict::Recover);
        let options = Options::new().body_timeout(LIMIT);
        let result = options.with_recovering(forgiving, async |_| hang::<Result<u8, Error>>().await).await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::BodyTimeout(LIMIT)))), "{result:?}");
    });
}

#[test]
fn law_14_b122_an_exit_is_not_stopped_by_the_token() {
    both_flavours(|_| async {
        let (recorder, token) = (Recorder::new(), CancelToken::new());
        let slow = recorder.resource("a").on_exit(Act::suspend(5));
        Options::new().cancel_on(&token).with(slow, async |_| Ok::<_, Error>(token.cancel())).await.unwrap();
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_14_cancelled_everywhere_with_a_deadline_and_a_token() {
    // `Stopped` is the result of the run that is not cut.
    let report = Proof::new().allow_errors().cancel_everywhere(|recorder| async move {
        let token = CancelToken::new();
        let options = Options::new().body_timeout(LONG).cancel_on(&token).exit_limit(LONG);
        options
            .with(recorder.resource("a"), async |_| {
                recorder.step("body").await?;
                token.cancel();
                Ok::<_, Error>(recorder.step("never").await?)
            })
            .await
    });
    // Stopped at the second step, whose suspension is the exit's first.
    assert_eq!(report.suspensions, 3);
}

/// [`both_flavours`], with an end: what is not cut off at its limit would hang.
fn in_time(test: impl AsyncFn()) {
    both_flavours(|_| async { tokio::time::timeout(Duration::from_secs(20), test()).await.expect("it hangs") });
}

#[test]
fn law_15_at_its_limit_the_exit_is_dropped_and_outer_exits_go_on() {
    in_time(async || {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let hanging = recorder.resource("inner").on_exit(Act::suspend(1).then_hang());
        let begun = Instant::now();
        let result = with(recorder.resource("outer"), async |_| {
            Options::new().name("slow").exit_limit(LIMIT).with(hanging, async |_| Ok::<_, Error>(())).await
        });
        assert!(matches!(result.await, Err(Error::Stopped(Stopped::ExitLimit(LIMIT)))));
        assert!(begun.elapsed() >= LIMIT);
        // The resource's own drop is the forceful close.
        recorder.trace().assert_order(["exit inner dropped", "drop inner", "exited outer"]);
        reports.assert(&[(IncidentKind::ExitTimedOut, "its limit was 20ms")]);
        assert_eq!(reports.all()[0].name, "slow");
        assert_eq!(tenure::counters().timed_out, 1);
    });
}

#[test]
fn law_15_the_limit_holds_after_a_hand_over_and_the_drain_says_so() {
    in_time(async || {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let hanging = recorder.resource("inner").on_exit(Act::suspend(1).then_hang());
        let future = with(recorder.resource("outer"), async |_| {
            Options::new()
                .name("slow")
                .exit_limit(LIMIT)
                .with(hanging, async |_| hang::<Result<(), Error>>().await)
                .await
        });
        drop_at(3, future).await;
        let report = drained().await;
        recorder.trace().assert_order([
            "exit inner dropped",
            "drop inner",
            "exit outer: cancelled",
            "exited outer",
        ]);
        let late: Vec<_> = report.of_kind(IncidentKind::ExitTimedOut).collect();
        assert_eq!((late.len(), late[0].name, report.ended), (1, "slow", 2));
        assert!(late[0].location.file().ends_with("stop.rs"), "{report}");
        assert_eq!(reports.all().len(), 1);
    });
}

#[test]
fn law_15_an_exit_within_its_limit_is_left_alone() {
    in_time(async || {
        let recorder = Recorder::new();
        let limited = Options::new().exit_limit(LONG);
        limited
            .with(recorder.resource("a").on_exit(Act::suspend(9)), async |_| Ok::<_, Error>(()))
            .await
            .unwrap();
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_15_after_a_failed_body_its_error_is_the_result_and_the_limit_is_reported() {
    in_time(async || {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let hanging = || recorder.resource("a").on_exit(Act::at_once().then_hang());
        let options = || Options::new().exit_limit(LIMIT);
        let result = options().with(hanging(), async |_| Err::<(), Error>(Fault::new("body").into())).await;
        assert!(matches!(result, Err(Error::Fault(fault)) if fault.message() == "body"));
        reports.assert(&[(IncidentKind::ExitTimedOut, "its limit was 20ms")]);
        let result = options().with_detailed(hanging(), async |_| Err::<(), _>("body")).await;
        let told =
            matches!(result, Err(WithError::Body { exit: Some(tenure::ExitError::TimedOut(LIMIT)), .. }));
        assert!(told, "{result:?}");
    });
}

#[test]
fn law_15_a_guard_has_a_limit_too() {
    in_time(async || {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let hanging = || recorder.resource("a").on_exit(Act::at_once().then_hang());
        let hold = || Options::new().exit_limit(LIMIT).hold(async { Ok::<_, Error>(hanging().await?) });
        hold().await.unwrap().close().await.unwrap();
        assert_eq!(reports.all().len(), 1, "nobody else can say so");
        let result = hold().await.unwrap().exit_with(Ok::<_, Error>(())).await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::ExitLimit(LIMIT)))));
        drop(hold().await.unwrap());
        assert_eq!(drained().await.of_kind(IncidentKind::ExitTimedOut).count(), 1);
    });
}

#[test]
fn law_15_each_exit_of_a_stack_has_the_limit_and_those_below_go_on() {
    in_time(async || {
        let recorder = Recorder::new();
        let stack = ExitStack::<Error>::new().exit_limit(LIMIT);
        stack.enter(recorder.resource("bottom")).await.unwrap();
        stack.enter(recorder.resource("hangs").on_exit(Act::at_once().then_hang())).await.unwrap();
        stack.enter(recorder.resource("top")).await.unwrap();
        let result = stack.close().await;
        assert!(
            matches!(result, Err(ExitErrors::One(Error::Stopped(Stopped::ExitLimit(LIMIT))))),
            "{result:?}"
        );
        recorder.trace().assert_order(["exited top", "exit hangs dropped", "drop hangs", "exited bottom"]);
        assert!(matches!(recorder.trace().outcome("bottom"), Some(Seen::Failed(_))));
    });
}

#[test]
fn law_15_hangs_everywhere_are_survived_within_limits() {
    let proof = Proof::new().faults([FaultKind::Hang]).allow_cut_exits().allow_hang();
    let report = proof.fail_everywhere(|recorder| async move {
        let options = || Options::new().body_timeout(LIMIT).exit_limit(LIMIT);
        options()
            .with(recorder.resource("outer"), async |_| {
                options()
                    .with(recorder.resource("inner"), async |_| Ok::<_, Error>(recorder.step("body").await?))
                    .await
            })
            .await
    });
    assert_eq!(report.points, 9);
}

async fn use_up_budget() -> Result<(), Error> {
    // Seconds; without an end a broken law would hang the tests.
    for _ in 0..10_000_000 {
        tokio::task::consume_budget().await;
    }
    Err(Fault::new("nobody stopped it").into())
}

/// Uses up the task's budget at each poll and never ends.
struct Busy;

impl AsyncExit for Busy {
    type Error = Error;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Error> {
        use_up_budget().await
    }
}

#[test]
fn law_15_an_exit_that_uses_up_its_budget_runs_out_of_time_too() {
    in_time(async || {
        let exit = Options::new()
            .exit_limit(LIMIT)
            .with(std::future::ready(Ok::<_, Error>(Busy)), async |_| Ok::<_, Error>(()));
        let clock = async {
            if tokio::runtime::Handle::current().runtime_flavor()
                == tokio::runtime::RuntimeFlavor::CurrentThread
            {
                tokio::time::advance(2 * LIMIT).await;
            }
        };
        let (result, ()) = tokio::join!(exit, clock);
        assert!(matches!(result, Err(Error::Stopped(Stopped::ExitLimit(_)))), "{result:?}");
    });
}

#[test]
fn law_15_a_limit_on_a_stack_inside_a_call() {
    in_time(async || {
        let recorder = Recorder::new();
        let result = with_stack(async |stack: &mut ExitStack<Error>| {
            let limited = ExitStack::<Error>::new().exit_limit(LIMIT);
            limited.enter(recorder.resource("hangs").on_exit(Act::at_once().then_hang())).await?;
            stack.enter(recorder.resource("bottom")).await?;
            stack.push(limited);
            Ok::<_, Error>(())
        });
        assert!(matches!(result.await, Err(Error::Stopped(Stopped::ExitLimit(LIMIT)))));
        recorder.trace().assert_order(["exit hangs dropped", "exited bottom"]);
    });
}

#[test]
fn a_guard_is_not_entered_when_it_was_asked_to_stop_before() {
    in_time(async || {
        let (recorder, token) = (Recorder::new(), CancelToken::new());
        token.cancel();
        let result = Options::new()
            .cancel_on(&token)
            .hold(async { Ok::<_, Error>(recorder.resource("a").await?) })
            .await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::Cancelled))));
        let held = hold(recorder.resource("b")).await.unwrap();
        held.close().await.unwrap();
        recorder.trace().assert_never_entered("a");
    });
}

#[test]
fn law_14_a_stop_during_a_shielded_enter_waits_for_the_enter_and_its_exit() {
    both_flavours(|_| async {
        for by in ["request", "enter timeout", "timeout"] {
            let recorder = Recorder::new();
            let resource = recorder.resource("slow").on_exit(Act::suspend(3));
            let slow = shield(async {
                sleep(2 * LIMIT).await;
                resource.await
            });
            let options = match by {
                "request" => Options::new().stop_when(sleep(LIMIT)),
                "enter timeout" => Options::new().enter_timeout(LIMIT),
                _ => Options::new().timeout(LIMIT),
            };
            let result = options.with(slow, async |_| Ok::<_, Error>(recorder.note("body"))).await;
            assert!(matches!(result, Err(Error::Stopped(_))), "{by}: {result:?}");
            recorder.note("left");
            recorder.trace().assert_order(["enter slow", "exit slow: cancelled", "exited slow", "left"]);
            assert!(!recorder.trace().contains("body"), "{by}");
        }
    });
}

#[test]
fn law_14_a_limit_for_enter_and_body_together_and_one_for_the_enter() {
    both_flavours(|_| async {
        let never = || async { hang::<Result<tenure::Released<(), Error>, Error>>().await };
        let result = Options::new().enter_timeout(LIMIT).with(never(), async |_| Ok::<_, Error>(())).await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::EnterTimeout(LIMIT)))), "{result:?}");
        let result = Options::new().timeout(LIMIT).with(never(), async |_| Ok::<_, Error>(())).await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::Timeout(LIMIT)))), "{result:?}");
        let recorder = Recorder::new();
        let result = Options::new()
            .enter_timeout(LIMIT)
            .timeout(2 * LIMIT)
            .with(recorder.resource("a"), async |_| hang::<Result<(), Error>>().await)
            .await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::Timeout(_)))), "{result:?}");
        recorder.trace().assert_order(["exit a: cancelled", "exited a"]);
    });
}
