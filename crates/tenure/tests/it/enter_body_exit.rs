//! Laws 1 to 4 and 7: enter, body, exit. Laws 5 and 6 are in `exit_goes_wrong`, law 8 in `recovering`.

use std::panic::resume_unwind;

use tenure::{AsyncExit, Outcome, WithError, with, with_detailed};
use tenure_test::{
    Act, Fault, FaultKind, Proof, Recorder, Seen, both_flavours, cancel_everywhere, fail_everywhere,
    panic_quietly, suspend,
};

use crate::support::{caught, message};

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
