//! The guard: what it is told, what it gives back, and how it lets go.

use tenure::{Closing, Ending, IncidentKind, closing, closing_with_outcome, counters, hold, released, with};
use tenure_test::{Act, Fault, Recorder, Seen, both_flavours, cancel_everywhere, panic_quietly};

use crate::support::{Reports, caught, drained, entered, message, settled};

#[test]
fn b173_a_guard_derefs_to_the_resource_and_closes() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let held = hold(recorder.resource("a")).await.unwrap();
        assert_eq!(held.name(), "a");
        assert!(format!("{held:?}").starts_with("Held(Recorded"));
        held.close().await.unwrap();
        recorder.trace().assert_exactly(["enter a", "exit a: completed"]);
    });
}

#[test]
fn b174_a_result_given_to_a_guard_is_told_to_its_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("work");
        let held = hold(recorder.resource("a")).await.unwrap();
        assert_eq!(held.exit_with(Err::<(), _>(fault.clone())).await, Err(fault.clone()));
        recorder.trace().assert_saw_fault("a", &fault);
    });
}

#[test]
fn law_03_a_guard_tells_each_ending() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("work");
        let endings = [Ending::failed(fault.clone()), Ending::Panicked("boom".to_owned()), Ending::Cancelled];
        let told = [Seen::Failed("work".to_owned()), Seen::Panicked("boom".to_owned()), Seen::Cancelled];
        for (number, (ending, told)) in endings.into_iter().zip(told).enumerate() {
            let name = format!("{number}");
            hold(recorder.resource(&name)).await.unwrap().exit(ending).await.unwrap();
            recorder.trace().assert_outcome(&name, &told);
        }
        recorder.trace().assert_saw_fault("0", &fault);
    });
}

#[test]
fn law_05_law_06_what_goes_wrong_with_the_exit_is_the_callers_or_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let fails = || hold(recorder.resource("fails").on_exit(Act::suspend(1).then_fail()));
        assert_eq!(fails().await.unwrap().close().await.unwrap_err().message(), "exit fails");
        let panics = hold(recorder.resource("panics").on_exit(Act::suspend(1).then_panic())).await.unwrap();
        assert_eq!(message(&*caught(panics.close()).await.unwrap_err()), "injected panic: exit panics");
        reports.assert(&[]);
        let fault = Fault::new("work");
        assert_eq!(fails().await.unwrap().exit_with(Err::<(), _>(fault.clone())).await, Err(fault));
        reports.assert(&[(IncidentKind::ExitFailed, "exit fails")]);
    });
}

#[test]
fn law_04_a_guard_that_a_panic_drops_is_told_so() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let work = async {
            let _held = hold(recorder.resource("a")).await?;
            panic_quietly("work");
            #[expect(unreachable_code, reason = "names the type of the result")]
            Ok::<(), Fault>(())
        };
        caught(work).await.unwrap_err();
        settled().await;
        assert!(matches!(recorder.trace().outcome("a"), Some(Seen::Panicked(_))), "{}", recorder.trace());
    });
}

#[test]
fn b103_a_disarmed_guard_is_exited_by_nobody() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let resource = hold(recorder.resource("a")).await.unwrap().disarm();
        assert_eq!(drained().await.ended, 0);
        assert_eq!((counters().entered, counters().disarmed, recorder.trace().exited("a")), (1, 1, 0));
        // It is the caller's: here it is entered again.
        with(entered(resource), async |_| Ok::<_, Fault>(())).await.unwrap();
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_07_a_guard_moves_between_tasks() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let (closed, dropped) =
            (hold(recorder.resource("closed")).await, hold(recorder.resource("dropped")).await);
        let moved = tokio::spawn(async move {
            drop(dropped?);
            closed?.close().await
        });
        moved.await.unwrap().unwrap();
        settled().await;
        recorder.trace().assert_all_exited_once();
    });
    let report = cancel_everywhere(|recorder| async move {
        let held = hold(recorder.resource("a")).await?;
        recorder.step("body").await?;
        held.close().await
    });
    assert_eq!(report.suspensions, 3);
}

#[test]
fn b021_b024_closing_closes_once_whatever_the_body_does() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let opened = || {
            let recorder = recorder.clone();
            closing(entered(7), async move |number: u8| {
                recorder.note(format!("close {number}"));
                Ok::<_, Fault>(())
            })
        };
        with(opened(), async |number| Ok::<_, Fault>(**number += 1)).await.unwrap();
        with(opened(), async |_| Err::<(), _>(Fault::new("body"))).await.unwrap_err();
        caught(with(opened(), async |_| -> Result<(), Fault> { panic_quietly("body") })).await.unwrap_err();
        drop(hold(opened()).await.unwrap());
        settled().await;
        recorder.trace().assert_exactly(["close 8", "close 7", "close 7", "close 7"]);
    });
}

#[test]
fn closing_with_outcome_is_told_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let noting = recorder.clone();
        let context = closing_with_outcome(entered(()), move |(), outcome| {
            Box::pin(async move {
                noting.note(Seen::from(outcome).to_string());
                Ok::<_, Fault>(())
            })
        });
        with(context, async |_| Err::<(), _>(Fault::new("body"))).await.unwrap_err();
        recorder.trace().assert_exactly(["failed: body"]);
    });
}

#[test]
fn b023_the_guard_of_a_lock_is_released_in_its_turn() {
    both_flavours(|_| async {
        let lock = std::sync::Arc::new(tokio::sync::Mutex::new(0));
        let guard = || async { Ok::<_, Fault>(lock.clone().lock_owned().await) };
        with(released(guard()), async |number| Ok::<_, Fault>(***number += 1)).await.unwrap();
        with(released(guard()), async |_| Err::<(), _>(Fault::new("body"))).await.unwrap_err();
        assert_eq!(lock.try_lock().map(|number| *number).ok(), Some(1));
    });
}

#[test]
fn law_06_a_close_that_panics_when_it_is_called_is_a_panic_of_the_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        // Not an async closure: it panics before there is a future.
        let broken = Closing::of((), |()| -> std::future::Ready<Result<(), Fault>> { panic_quietly("call") });
        let result = caught(with(recorder.resource("outer"), async |_| {
            with(entered(broken), async |_| Ok::<_, Fault>(())).await
        }));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: call");
        recorder.trace().assert_all_exited_once();
        let counted = counters();
        assert_eq!((counted.entered, counted.exited, counted.panicked), (2, 2, 1));
    });
}
