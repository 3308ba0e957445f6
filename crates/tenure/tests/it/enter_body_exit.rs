//! Laws 1 to 8: enter, body, exit.

use std::panic::resume_unwind;

use tenure::{
    AsyncExit, ExitError, IncidentKind, Outcome, Stopped, Verdict, WithError, hold, with, with_detailed,
    with_recovering,
};
use tenure_test::{
    Act, Fault, FaultKind, Proof, Recorder, Seen, both_flavours, cancel_everywhere, fail_everywhere,
    panic_quietly, suspend,
};

use crate::support::{Reports, caught, drained, drop_at, message};

/// Enters "a" and runs one step.
async fn plain(recorder: Recorder) -> Result<u8, Fault> {
    with(recorder.resource("a"), async |_| {
        recorder.step("body").await?;
        Ok(7)
    })
    .await
}

#[test]
fn law_01_enter_then_body_then_exit_and_the_value_is_returned() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        assert_eq!(plain(recorder.clone()).await, Ok(7));
        recorder.trace().assert_exactly(["enter a", "step body", "exit a: completed"]);
        recorder.trace().assert_order(["exit a: completed", "exited a", "drop a"]);
    });
}

#[test]
fn law_01_the_call_returns_after_the_exit_has_ended() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = recorder.resource("a").on_exit(Act::suspend(5));
        with(slow, async |_| Ok::<_, Fault>(())).await.unwrap();
        recorder.note("returned");
        recorder.trace().assert_order(["exit a: completed", "exited a", "returned"]);
    });
}

#[test]
fn b016_b019_the_body_gets_what_the_enter_yields() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let name = with(recorder.resource("a"), async |a| Ok::<_, Fault>(a.name().to_owned())).await;
        assert_eq!(name.unwrap(), "a");
    });
}

#[test]
fn b009_a_return_and_a_break_leave_the_body_through_the_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let mut rounds = 0;
        let value = loop {
            rounds += 1;
            let value = with(recorder.resource("a"), async |_| {
                if rounds == 1 {
                    return Ok::<_, Fault>(None);
                }
                Ok(Some(rounds))
            });
            if let Some(value) = value.await.unwrap() {
                break value;
            }
        };
        assert_eq!(value, 2);
        // B248: each round's resource is exited before the next is entered.
        recorder.trace().assert_exactly(["enter a", "exit a: completed", "enter a", "exit a: completed"]);
    });
}

#[test]
fn b253_b035_what_fails_before_the_enter_has_nothing_to_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let early = Fault::new("early");
        let result = with(recorder.resource("outer"), async |_| {
            Err::<(), _>(early.clone())?;
            with(recorder.resource("inner"), async |_| Ok::<_, Fault>(())).await
        });
        assert_eq!(result.await, Err(early));
        recorder.trace().assert_never_entered("inner");
        recorder.trace().assert_exactly(["enter outer", "exit outer: failed: early"]);
    });
}

#[test]
fn law_02_an_enter_that_fails_has_no_body_and_no_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let broken = recorder.resource("a").on_enter(Act::suspend(1).then_fail());
        let result = with(broken, async |_| {
            recorder.note("body");
            Ok::<_, Fault>(())
        });
        // The harness makes the fault; its text and place say that it is that one.
        assert_eq!(result.await.unwrap_err().message(), "enter a");
        recorder.trace().assert_exactly(["enter a failed"]);
    });
}

#[test]
fn law_02_the_error_of_the_enter_comes_out_unchanged() {
    both_flavours(|_| async {
        let refused = Fault::new("refused");
        let enter = std::future::ready(Err::<tenure_test::Recorded, _>(refused.clone()));
        assert_eq!(with(enter, async |_| Ok(())).await, Err(refused.clone()));
        let enter = std::future::ready(Err::<tenure_test::Recorded, _>(refused.clone()));
        let detailed = with_detailed(enter, async |_| Ok::<_, ()>(())).await;
        assert!(matches!(detailed, Err(WithError::Enter(error)) if error == refused));
    });
}

#[test]
fn law_02_an_enter_that_panics_has_no_body_and_no_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let broken = recorder.resource("a").on_enter(Act::suspend(1).then_panic());
        let result = caught(with(broken, async |_| {
            recorder.note("body");
            Ok::<_, Fault>(())
        }));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: enter a");
        recorder.trace().assert_exactly(["enter a panicked"]);
    });
}

#[test]
fn law_03_the_exit_sees_that_very_error_and_the_caller_gets_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("broken");
        let result = with(recorder.resource("a"), async |_| Err::<(), _>(fault.clone())).await;
        assert_eq!(result, Err(fault.clone()));
        recorder.trace().assert_saw_fault("a", &fault);
    });
}

/// An error that cannot be copied, known by the address of what it owns.
#[derive(Debug)]
struct Unique(Box<u8>);

impl Unique {
    fn address(&self) -> usize {
        std::ptr::from_ref(&*self.0).addr()
    }
}

/// Writes down where the error lies that its exit sees.
struct Witness(tokio::sync::mpsc::UnboundedSender<Option<usize>>);

impl AsyncExit for Witness {
    type Error = Unique;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Unique> {
        suspend(1).await;
        assert!(outcome.error::<String>().is_none(), "it is of another type");
        self.0.send(outcome.error::<Unique>().map(Unique::address)).unwrap();
        Ok(())
    }
}

#[test]
fn law_03_the_error_is_neither_copied_nor_wrapped() {
    both_flavours(|_| async {
        let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let enter = std::future::ready(Ok::<_, Unique>(Witness(send)));
        let mut made = 0;
        let result = with(enter, async |_| {
            let error = Unique(Box::new(1));
            made = error.address();
            Err::<(), _>(error)
        });
        assert_eq!(result.await.unwrap_err().address(), made);
        assert_eq!(seen.recv().await, Some(Some(made)));
    });
}

#[test]
fn b036_every_exit_sees_the_same_error() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("broken");
        let result = with(recorder.resource("outer"), async |_| {
            with(recorder.resource("inner"), async |_| Err::<(), _>(fault.clone())).await
        });
        assert_eq!(result.await, Err(fault.clone()));
        recorder.trace().assert_saw_fault("inner", &fault);
        recorder.trace().assert_saw_fault("outer", &fault);
        recorder.trace().assert_lifo();
    });
}

#[test]
fn b034_an_error_after_the_inner_block_is_the_outer_ones_alone() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = with(recorder.resource("outer"), async |_| {
            with(recorder.resource("inner"), async |_| Ok::<_, Fault>(())).await?;
            Err::<(), _>(Fault::new("late"))
        });
        assert!(result.await.is_err());
        recorder.trace().assert_exactly([
            "enter outer",
            "enter inner",
            "exit inner: completed",
            "exit outer: failed: late",
        ]);
    });
}

/// A payload of a type of its own.
#[derive(Debug, PartialEq)]
struct Payload(u32);

#[test]
fn law_04_a_panic_waits_for_the_exit_and_resumes_with_its_payload() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = recorder.resource("a").on_exit(Act::suspend(3));
        let result = caught(with(slow, async |_| -> Result<(), Fault> {
            recorder.step("body").await?;
            resume_unwind(Box::new(Payload(7)))
        }));
        let payload = result.await.unwrap_err();
        recorder.note("resumed");
        assert_eq!(payload.downcast_ref(), Some(&Payload(7)));
        let told = Seen::Panicked("a panic whose payload is not a string".to_owned());
        recorder.trace().assert_outcome("a", &told);
        recorder.trace().assert_order(["step body", "exited a", "resumed"]);
    });
}

#[test]
fn law_04_the_exit_is_told_the_message() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let body = async |_: &mut _| -> Result<(), Fault> { resume_unwind(Box::new("static")) };
        caught(with(recorder.resource("a"), body)).await.unwrap_err();
        recorder.trace().assert_outcome("a", &Seen::Panicked("static".to_owned()));
        let body = async |_: &mut _| -> Result<(), Fault> { resume_unwind(Box::new("owned".to_owned())) };
        caught(with(recorder.resource("b"), body)).await.unwrap_err();
        recorder.trace().assert_outcome("b", &Seen::Panicked("owned".to_owned()));
    });
}

#[test]
fn law_04_b133_all_open_contexts_are_exited_when_the_task_panics() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let task = tokio::spawn({
            let recorder = recorder.clone();
            async move {
                with(recorder.resource("outer"), async |_| {
                    with(recorder.resource("inner"), async |_| -> Result<(), Fault> { panic_quietly("boom") })
                        .await
                })
                .await
            }
        });
        assert_eq!(message(&*task.await.unwrap_err().into_panic()), "injected panic: boom");
        let told = Seen::Panicked("injected panic: boom".to_owned());
        recorder.trace().assert_outcome("inner", &told);
        recorder.trace().assert_outcome("outer", &told);
        recorder.trace().assert_lifo();
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_05_after_a_completed_body_the_error_of_the_exit_is_the_result() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_fail());
        let error = with(broken.clone(), async |_| Ok::<_, Fault>(())).await.unwrap_err();
        assert_eq!(error.message(), "exit a");
        let error = with_detailed(broken, async |_| Ok::<_, ()>(())).await.unwrap_err();
        assert!(matches!(error, WithError::Exit(ExitError::Failed(fault)) if fault.message() == "exit a"));
        // It is the caller's, who was told.
        reports.assert(&[]);
    });
}

#[test]
fn law_05_after_a_failed_body_its_error_is_the_result_and_that_of_the_exit_is_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let fault = Fault::new("body");
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_fail());
        assert_eq!(with(broken, async |_| Err::<(), _>(fault.clone())).await, Err(fault));
        reports.assert(&[(IncidentKind::ExitFailed, "exit a")]);
        let incident = &reports.all()[0];
        assert!(incident.name.ends_with("Recorded"), "{incident}");
        assert!(incident.location.file().ends_with("enter_body_exit.rs"), "{incident}");
    });
}

#[test]
fn law_05_b056_the_detailed_form_returns_both_errors() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let fault = Fault::new("body");
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_fail());
        let result = with_detailed(broken, async |_| Err::<(), _>(fault.clone())).await;
        let Err(WithError::Body { error, exit: Some(ExitError::Failed(exit)) }) = result else {
            panic!("{result:?}")
        };
        assert_eq!((error, exit.message()), (fault, "exit a"));
        reports.assert(&[]);
    });
}

#[test]
fn law_05_the_error_of_an_exit_after_a_panic_is_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_fail());
        let body = async |_: &mut _| -> Result<(), Fault> { panic_quietly("body") };
        let payload = caught(with(broken, body)).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: body");
        reports.assert(&[(IncidentKind::ExitFailed, "exit a")]);
    });
}

#[test]
fn law_05_no_error_is_dropped_with_its_caller() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let broken = recorder.resource("a").on_enter(Act::at_once()).on_exit(Act::suspend(1).then_fail());
        // Its one suspension is in the exit: both errors have lost their caller.
        drop_at(1, with(broken, async |_| Err::<(), _>(Fault::new("body")))).await;
        let report = drained().await;
        reports.assert(&[(IncidentKind::ExitFailed, "exit a"), (IncidentKind::BodyUnclaimed, "body")]);
        assert_eq!((report.ended, report.incidents.len()), (1, 2));
        assert_eq!(report.of_kind(IncidentKind::ExitFailed).count(), 1);
    });
}

#[test]
fn law_05_b031_an_outer_exit_sees_the_error_of_an_inner_one() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let inner = recorder.resource("inner").on_exit(Act::at_once().then_fail());
        let result =
            with(recorder.resource("outer"), async |_| with(inner, async |_| Ok::<_, Fault>(())).await);
        assert_eq!(result.await.unwrap_err().message(), "exit inner");
        recorder.trace().assert_outcome("outer", &Seen::Failed("exit inner".to_owned()));
    });
}

#[test]
fn law_06_b026_an_exit_that_panics_keeps_no_other_from_running() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let inner = recorder.resource("inner").on_exit(Act::suspend(1).then_panic());
        let result = caught(with(recorder.resource("outer"), async |_| {
            let first = with(recorder.resource("first"), async |_| Ok::<_, Fault>(()));
            first.await?;
            with(inner, async |_| Ok::<_, Fault>(())).await
        }));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: exit inner");
        recorder.trace().assert_outcome("outer", &Seen::Panicked("injected panic: exit inner".to_owned()));
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_06_b027_the_first_panic_resumes_and_the_second_is_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_panic());
        let body = async |_: &mut _| -> Result<(), Fault> { panic_quietly("body") };
        let payload = caught(with(broken, body)).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: body");
        reports.assert(&[(IncidentKind::ExitPanicked, "injected panic: exit a")]);
    });
}

#[test]
fn law_06_an_error_of_the_body_outranks_a_panic_of_the_exit() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let fault = Fault::new("body");
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_panic());
        assert_eq!(with(broken, async |_| Err::<(), _>(fault.clone())).await, Err(fault));
        reports.assert(&[(IncidentKind::ExitPanicked, "injected panic: exit a")]);
    });
}

#[test]
fn law_06_a_drop_that_panics_inside_the_exit_is_a_panic_of_the_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let broken = recorder.resource("inner").on_drop(Act::at_once().then_panic());
        let result = caught(with(recorder.resource("outer"), async |_| {
            with(broken, async |_| Ok::<_, Fault>(())).await
        }));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: drop inner");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_07_b131_a_tenure_is_cancelled_everywhere() {
    let report = cancel_everywhere(plain);
    // Of the enter, of the step, of the exit.
    assert_eq!(report.suspensions, 3);
}

#[test]
fn law_07_a_tenure_fails_everywhere() {
    let report = fail_everywhere(plain);
    assert_eq!((report.points, report.faults), (5, 5 * 2 * 2));
}

#[test]
fn law_07_faults_in_pairs_and_with_cancellation() {
    let proof = Proof::new().faults([FaultKind::Error, FaultKind::Panic]).pairs().and_cancel();
    let report = proof.fail_everywhere(plain);
    assert!(report.runs > 200, "{report}");
}

#[test]
fn law_07_one_exit_whatever_selects_or_times_out() {
    let report = cancel_everywhere(|recorder| async move {
        for name in ["first", "second"] {
            tokio::select! {
                biased;
                result = with(recorder.resource(name), async |_| recorder.step("slow").await) => result?,
                () = suspend(2) => recorder.note("gave up"),
            }
        }
        Ok::<_, Fault>(())
    });
    assert!(report.suspensions >= 4, "{report}");
}

#[test]
fn law_08_a_recovered_error_is_none_and_the_outer_exit_sees_a_completed_body() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = with(recorder.resource("outer"), async |_| {
            let forgiving = recorder.resource("inner").recovering(Verdict::Recover);
            with_recovering(forgiving, async |_| Err::<u8, _>(Fault::new("forgiven"))).await
        });
        assert_eq!(result.await, Ok(None));
        recorder.trace().assert_outcome("inner", &Seen::Failed("forgiven".to_owned()));
        recorder.trace().assert_outcome("outer", &Seen::Completed);
    });
}

#[test]
fn law_08_what_is_not_recovered_goes_on() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("body");
        let strict = recorder.resource("a").recovering(Verdict::Propagate);
        let result = with_recovering(strict, async |_| Err::<u8, _>(fault.clone())).await;
        assert_eq!(result, Err(fault));
        let forgiving = recorder.resource("a").recovering(Verdict::Recover);
        assert_eq!(with_recovering(forgiving, async |_| Ok::<_, Fault>(7)).await, Ok(Some(7)));
    });
}

#[test]
fn law_08_no_verdict_stops_a_panic() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let forgiving = recorder.resource("a").recovering(Verdict::Recover);
        let body = async |_: &mut _| -> Result<(), Fault> { panic_quietly("body") };
        let payload = caught(with_recovering(forgiving, body)).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: body");
    });
}

#[test]
fn law_08_a_recovering_exit_that_fails_recovers_nothing() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let fault = Fault::new("body");
        let broken = recorder.resource("a").on_exit(Act::at_once().then_fail()).recovering(Verdict::Recover);
        let result = with_recovering(broken, async |_| Err::<u8, _>(fault.clone())).await;
        assert_eq!(result, Err(fault));
        reports.assert(&[(IncidentKind::ExitFailed, "exit a")]);
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
fn with_error_prints_each_stage() {
    type Printed = WithError<Fault, Fault, Fault>;
    let fault = || Fault::new("why");
    let enter: Printed = WithError::Enter(fault());
    let both: Printed = WithError::Body { error: fault(), exit: Some(ExitError::Panicked("boom".to_owned())) };
    let stopped: Printed = WithError::Stopped { by: Stopped::Cancelled, exit: None };
    let exit: Printed = WithError::Exit(ExitError::Failed(fault()));
    assert_eq!(enter.to_string(), "the enter failed");
    assert_eq!(both.to_string(), "the body failed, and the exit panicked: boom");
    assert_eq!(stopped.to_string(), "the body was asked to stop");
    assert_eq!(exit.to_string(), "the exit failed");
    for error in [&enter, &both, &exit] {
        assert_eq!(std::error::Error::source(error).unwrap().to_string(), "why");
    }
}
