//! Laws 5 and 6: exits that fail, and exits that panic. Sinks and errors that go wrong themselves are in `registry`.

use tenure::{Ending, ExitError, ExitStack, IncidentKind, Stopped, Verdict, WithError, with, with_detailed};
use tenure_test::{Act, Fault, Recorder, Seen, both_flavours, panic_quietly};

use crate::support::{Reports, caught, drained, drop_at, message};

#[test]
fn law_05_after_a_completed_body_the_error_of_the_exit_is_the_result() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let broken = recorder.resource("a").on_exit(Act::suspend(1).then_fail());
        let error = with(broken.clone(), async |_| Ok::<_, Fault>(())).await.unwrap_err();
        assert_eq!(error.message(), "exit a");
        let error = with_detailed(broken, async |_| Ok::<_, ()>(())).await.unwrap_err();
        assert!(
            matches!(error, WithError::Exit { error: ExitError::Failed(fault), .. } if fault.message() == "exit a")
        );
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
        assert!(incident.location.file().ends_with("exit_goes_wrong.rs"), "{incident}");
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
fn law_05_what_failed_on_a_stack_before_an_exit_recovered_is_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let stack = ExitStack::<Fault>::new();
        stack.enter_recovering(recorder.resource("recovers").recovering(Verdict::Recover)).await.unwrap();
        stack.enter(recorder.resource("fails").on_exit(Act::suspend(1).then_fail())).await.unwrap();
        assert_eq!(stack.close_with(Ending::failed(Fault::new("work"))).await.unwrap(), Verdict::Recover);
        reports.assert(&[(IncidentKind::ExitFailed, "exit fails")]);
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
fn with_error_prints_each_stage() {
    type Printed = WithError<Fault, Fault, Fault>;
    let fault = || Fault::new("why");
    let enter: Printed = WithError::Enter(fault());
    let both: Printed = WithError::Body { error: fault(), exit: Some(ExitError::Panicked("boom".to_owned())) };
    let stopped: Printed = WithError::Stopped { by: Stopped::Cancelled, exit: None };
    let exit: Printed = WithError::Exit { value: (), error: ExitError::Failed(fault()) };
    assert_eq!(enter.to_string(), "the enter failed");
    assert_eq!(both.to_string(), "the body failed, and the exit panicked: boom");
    assert_eq!(stopped.to_string(), "the body was asked to stop");
    assert_eq!(exit.to_string(), "the exit failed");
    for error in [&enter, &both, &exit] {
        assert_eq!(std::error::Error::source(error).unwrap().to_string(), "why");
    }
}
