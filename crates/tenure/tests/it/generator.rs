//! Laws 28 to 31: contexts made of one function.

use std::pin::Pin;
use std::time::Duration;

use tenure::{
    Ended, IncidentKind, Lender, NeverLent, Verdict, context, context_recovering, hold, shield, with,
    with_recovering,
};
use tenure_test::{
    Act, Fault, Proof, Recorder, both_flavours, cancel_everywhere, fail_everywhere, panic_quietly,
};

use crate::support::{Error, Reports, caught, drained, drop_at, message, settled};

/// Notes what it does, with a step on either side of the lend.
async fn noted(recorder: Recorder) -> Result<tenure::Lent<u8, Error>, Error> {
    context(async move |lender: Lender<u8>| {
        recorder.step("enter").await?;
        let back = lender.lend(42).await;
        recorder.note(format!("back {} {:?}", back.value, back.ended));
        recorder.step("exit").await?;
        recorder.note("end");
        Ok(())
    })
    .await
}

#[test]
fn law_28_b184_what_is_lent_is_the_resource() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let value = with(noted(recorder.clone()), async |value| {
            recorder.note(format!("body {}", **value));
            **value += 1;
            Ok::<_, Error>(**value)
        });
        assert_eq!(value.await.unwrap(), 43);
        recorder.trace().assert_exactly(["step enter", "body 42", "back 43 Completed", "step exit", "end"]);
    });
}

#[test]
fn law_28_b187_to_lend_never_is_an_error_of_the_enter() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let never = context::<u8, Error, _, _>(async |_| Ok(()));
        let result = with(never, async |_| Ok::<_, Error>(recorder.note("body"))).await;
        let Err(Error::NeverLent(never)) = result else { panic!("{result:?}") };
        assert!(never.to_string().contains("`lend`"), "it names the cure: {never}");
        assert!(recorder.trace().events().is_empty());
        let never = context_recovering::<u8, Error, _, _>(async |_| Ok(Verdict::Recover));
        assert!(matches!(with_recovering(never, async |_| Ok::<_, Error>(())).await, Err(Error::NeverLent(_))));
    });
}

#[test]
fn law_28_an_error_before_the_lend_is_that_of_the_enter() {
    both_flavours(|_| async {
        let fault = Fault::new("refused");
        let refused = fault.clone();
        let context = context::<u8, Error, _, _>(async move |_| Err(refused.into()));
        let result = with(context, async |_| Ok::<(), Error>(())).await;
        assert!(matches!(result, Err(Error::Fault(error)) if error == fault));
        let context = tenure::context::<u8, Error, _, _>(async |_| panic_quietly("enter"));
        let payload = caught(with(context, async |_| Ok::<(), Error>(()))).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: enter");
    });
}

#[derive(Debug, PartialEq)]
enum Looked {
    Fault(Fault),
    NeverLent,
}

impl From<NeverLent> for Looked {
    fn from(_: NeverLent) -> Self {
        Self::NeverLent
    }
}

#[test]
fn law_29_the_function_is_told_each_outcome_and_can_look_at_the_error() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("body");
        let looked = {
            let (recorder, expected) = (recorder.clone(), fault.clone());
            context(async move |lender: Lender<u8>| {
                let back = lender.lend(1).await;
                assert_eq!(back.ended, Ended::Failed);
                let same = back.look(move |outcome| outcome.error() == Some(&Looked::Fault(expected))).await;
                recorder.note(format!("the very error: {same}"));
                let again = back.look(|outcome| !outcome.is_completed()).await;
                recorder.note(format!("again: {again}"));
                Ok::<_, NeverLent>(())
            })
        };
        let result = with(looked, async |_| Err::<(), _>(Looked::Fault(fault.clone()))).await;
        assert_eq!(result, Err(Looked::Fault(fault)));
        recorder.trace().assert_exactly(["the very error: true", "again: true"]);

        let told = with(noted(recorder.clone()), async |_| -> Result<(), Error> { panic_quietly("body") });
        caught(told).await.unwrap_err();
        assert!(
            recorder.trace().contains("back 42 Panicked(\"injected panic: body\")"),
            "{}",
            recorder.trace()
        );
    });
}

#[test]
fn law_29_what_it_returns_after_the_lend_is_the_exits_result() {
    both_flavours(|_| async {
        let reports = Reports::here();
        let failing = || {
            context(async |lender: Lender<u8>| {
                lender.lend(1).await;
                Err::<(), Error>(Fault::new("exit").into())
            })
        };
        let result = with(failing(), async |_| Ok::<_, Error>(())).await;
        assert!(matches!(result, Err(Error::Fault(fault)) if fault.message() == "exit"));
        let result = with(failing(), async |_| Err::<(), Error>(Fault::new("body").into())).await;
        assert!(matches!(result, Err(Error::Fault(fault)) if fault.message() == "body"));
        assert_eq!(reports.all().len(), 1);
    });
}

#[test]
fn law_29_b190_it_can_recover_where_the_type_says_so() {
    both_flavours(|_| async {
        let forgiving = |verdict| {
            context_recovering(async move |lender: Lender<u8>| {
                let back = lender.lend(1).await;
                assert_eq!(back.ended, Ended::Failed);
                Ok::<_, Error>(verdict)
            })
        };
        let body = async |_: &mut _| Err::<u8, Error>(Fault::new("body").into());
        assert!(matches!(with_recovering(forgiving(Verdict::Recover), body).await, Ok(None)));
        assert!(with_recovering(forgiving(Verdict::Propagate), body).await.is_err());
    });
}

#[test]
fn law_29_a_function_that_waits_after_the_lend_is_woken() {
    both_flavours(|_| async {
        let waiting = context(async |lender: Lender<u8>| {
            let back = lender.lend(1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            back.look(|_| ()).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Error>(())
        });
        with(waiting, async |_| Ok::<_, Error>(())).await.unwrap();
    });
}

#[test]
fn law_30_cancelled_before_the_lend_it_is_dropped() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop_at(1, with(noted(recorder.clone()), async |_| Ok::<_, Error>(()))).await;
        settled().await;
        assert!(recorder.trace().events().is_empty(), "{}", recorder.trace());
    });
}

#[test]
fn law_30_shielded_it_goes_on_before_the_lend() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop_at(1, with(shield(noted(recorder.clone())), async |_| Ok::<_, Error>(recorder.note("body"))))
            .await;
        settled().await;
        recorder.trace().assert_exactly(["step enter", "back 42 Cancelled", "step exit", "end"]);
    });
}

#[test]
fn law_30_cancelled_after_the_lend_it_is_resumed_to_its_end() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop_at(2, with(noted(recorder.clone()), async |_| Ok::<_, Error>(recorder.step("body").await?))).await;
        assert_eq!(drained().await.ended, 1);
        recorder.trace().assert_exactly(["step enter", "back 42 Cancelled", "step exit", "end"]);
    });
}

#[test]
fn law_30_cancelled_in_its_exit_it_goes_on() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop_at(2, with(noted(recorder.clone()), async |_| Ok::<_, Error>(()))).await;
        assert_eq!(drained().await.ended, 1);
        recorder.trace().assert_exactly(["step enter", "back 42 Completed", "step exit", "end"]);
    });
}

#[test]
fn law_30_what_goes_wrong_then_is_reported() {
    both_flavours(|_| async {
        let reports = Reports::here();
        let held = hold(context(async |lender: Lender<u8>| {
            lender.lend(1).await;
            Err::<(), Error>(Fault::new("exit").into())
        }));
        drop(held.await.unwrap());
        settled().await;
        assert_eq!(reports.all()[0].kind, IncidentKind::ExitFailed);
    });
}

#[test]
fn law_30_cancelled_and_failed_everywhere_with_resources_inside() {
    let make = |recorder: Recorder| async move {
        let inner = recorder.clone();
        let both = context(async move |lender: Lender<()>| {
            with(inner.resource("outer"), async |_| {
                with(inner.resource("inner"), async |_| {
                    lender.lend(()).await;
                    Ok::<_, Error>(inner.step("after").await?)
                })
                .await
            })
            .await
        });
        with(both, async |_| Ok::<_, Error>(recorder.step("body").await?)).await
    };
    assert!(cancel_everywhere(make).suspensions >= 6);
    assert!(fail_everywhere(make).points >= 10);
}

#[test]
fn b211_contexts_inside_the_function_are_exited_inside_out() {
    let proof = Proof::new().check(|run| async move {
        let trace = run.trace();
        if trace.entered("inner") > 0 {
            trace.assert_nested("inner", "outer");
        }
        Ok(())
    });
    let report = proof.cancel_everywhere(|recorder| async move {
        let inside = recorder.clone();
        let generator = context(async move |lender: Lender<()>| {
            let slow = inside.resource("inner").on_exit(Act::suspend(4));
            with(slow, async |_| {
                lender.lend(()).await;
                Ok::<_, Error>(())
            })
            .await
        });
        with(recorder.resource("outer"), async |_| {
            with(generator, async |_| Ok::<_, Error>(recorder.step("body").await?)).await
        })
        .await
    });
    assert!(report.suspensions >= 7, "{report}");
}

#[test]
fn law_31_each_call_makes_a_fresh_context() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        for _ in 0..2 {
            with(noted(recorder.clone()), async |value| Ok::<_, Error>(assert_eq!(**value, 42))).await.unwrap();
        }
        let nested = with(noted(recorder.clone()), async |a| {
            **a += 1;
            with(noted(recorder.clone()), async |b| Ok::<_, Error>((**a, **b))).await
        });
        assert_eq!(nested.await.unwrap(), (43, 42));
    });
}

fn recursive(recorder: Recorder, depth: u32) -> Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>> {
    Box::pin(async move {
        if depth == 0 {
            return Ok(0);
        }
        let noting = recorder.clone();
        let level = context(async move |lender: Lender<u32>| {
            let back = lender.lend(depth).await;
            noting.note(format!("leave {}", back.value));
            Ok::<_, Error>(())
        });
        with(level, async |level| Ok(**level + recursive(recorder.clone(), depth - 1).await?)).await
    })
}

#[test]
fn law_31_recursion_works() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        assert_eq!(recursive(recorder.clone(), 4).await.unwrap(), 4 + 3 + 2 + 1);
        recorder.trace().assert_exactly(["leave 1", "leave 2", "leave 3", "leave 4"]);
    });
}

#[test]
fn a_function_that_gives_up_waiting_for_its_value_ends_early() {
    both_flavours(|_| async {
        // The lend loses the race: the value is the body's all the same.
        let hasty = context(async |lender: Lender<u8>| {
            tokio::select! {
                biased;
                _ = lender.lend(7) => {}
                () = std::future::ready(()) => {}
            }
            Ok::<_, Error>(())
        });
        assert_eq!(with(hasty, async |value| Ok::<_, Error>(**value)).await.unwrap(), 7);
    });
}

/// What polls only what was woken: the lend and the look have to wake it.
#[test]
fn law_29_the_value_comes_back_to_a_lend_inside_a_set_of_futures() {
    use futures_util::StreamExt as _;
    use futures_util::stream::FuturesUnordered;
    both_flavours(|_| async {
        let watched = context(async |lender: Lender<u8>| {
            let mut set = FuturesUnordered::new();
            let lend = async move {
                let back = lender.lend(7).await;
                let kind = back.look(|outcome| !outcome.is_failed()).await;
                (back.value, kind)
            };
            set.push(Box::pin(lend));
            let back = set.next().await.unwrap();
            if back == (8, true) { Ok(()) } else { Err(Error::Fault(Fault::new(format!("{back:?}")))) }
        });
        let result = with(watched, async |value| {
            **value += 1;
            tenure_test::suspend(2).await;
            Ok::<_, Error>(())
        });
        tokio::time::timeout(crate::support::LONG, result).await.expect("it comes back").unwrap();
    });
}
