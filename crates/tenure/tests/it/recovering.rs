//! Law 8: a context that can suppress the body's error says so in its type.

use tenure::{ExitStack, IncidentKind, Verdict, hold, with, with_recovering, with_stack};
use tenure_test::{Act, Fault, Recorder, Seen, both_flavours, panic_quietly};

use crate::support::{Reports, caught, drop_at, entered, message, settled};

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
fn law_08_a_stack_may_suppress_the_bodys_error_only_where_the_type_says_so() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fill = async |stack: &mut ExitStack<Fault>| {
            stack.enter_recovering(recorder.resource("a").recovering(Verdict::Recover)).await?;
            Err::<u8, _>(Fault::new("body"))
        };
        assert_eq!(with_stack(fill).await.unwrap_err().message(), "body");
        assert_eq!(with_recovering(entered(ExitStack::new()), fill).await, Ok(None));
    });
}

/// Law 5. The exit waits for what the body left behind, its caller goes, and it is told `Cancelled`: its verdict is about
/// something else than the body's error.
#[test]
fn law_08_an_exit_that_has_not_seen_the_error_has_not_recovered_from_it() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let forgiving = recorder.resource("forgiving").on_enter(Act::at_once()).recovering(Verdict::Recover);
        let body = async |_: &mut _| {
            let slow = recorder.resource("slow").on_enter(Act::at_once()).on_exit(Act::suspend(2));
            drop(hold(slow).await?);
            Err::<(), _>(Fault::new("body"))
        };
        drop_at(1, with_recovering(forgiving, body)).await;
        settled().await;
        recorder.trace().assert_outcome("forgiving", &Seen::Cancelled);
        reports.assert(&[(IncidentKind::BodyUnclaimed, "body")]);
    });
}
