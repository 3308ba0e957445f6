//! What has no law of its own: a resource that is there already, a guard that is handed over by will, a report.

use std::time::Duration;

use tenure::{
    Closing, Ending, ExitError, Held, Incident, IncidentKind, WithError, background, entered, open,
    panic_message, report, with, with_detailed,
};
use tenure_test::{Act, Fault, Proof, Recorder, both_flavours, hang, suspend};

use crate::support::{LONG, Reports, caught, drained, settled};

#[test]
fn law_07_a_resource_that_is_there_already_is_held_and_exits() {
    let make = |recorder: Recorder| async move {
        let resource = recorder.resource("a").on_enter(Act::at_once()).await?;
        let held = Held::new(resource);
        recorder.step("held").await?;
        let resource = recorder.resource("b").on_enter(Act::at_once()).await?;
        with(entered(resource), async |_| recorder.step("body").await).await?;
        held.close().await
    };
    assert!(Proof::new().cancel_everywhere(make).suspensions >= 3);
    assert!(Proof::new().fail_everywhere(make).faults >= 4);
}

#[test]
fn law_11_a_guard_that_is_handed_over_by_will_is_told_what_its_holder_knows() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let held = Held::new(recorder.resource("a").await.unwrap());
        held.detach(Ending::Completed);
        assert_eq!(drained().await.ended, 1);
        recorder.trace().assert_order(["exit a: completed"]);
    });
}

#[test]
fn law_05_what_has_no_caller_is_told_to_the_sink_and_to_the_next_drain() {
    both_flavours(|_| async {
        let reports = Reports::here();
        report(Incident::new(IncidentKind::ExitFailed, "upload", "the part is still there"));
        reports.assert(&[(IncidentKind::ExitFailed, "the part is still there")]);
        let incident = &drained().await.incidents[0];
        assert_eq!((incident.name, incident.location.file()), ("upload", file!()));
    });
}

#[test]
fn law_05_a_value_is_kept_where_only_the_exit_failed() {
    both_flavours(|_| async {
        let fails = Closing::of((), async |()| Err::<(), _>("close"));
        let result = with_detailed(entered(fails), async |_| Ok::<_, &str>(7)).await;
        let Err(WithError::Exit { value: 7, error: ExitError::Failed("close") }) = result else {
            panic!("{result:?}");
        };
    });
}

#[test]
fn law_35_a_background_task_is_asked_to_stop_awaited_and_cut_off_at_its_limit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let inside = recorder.clone();
        let obeys = background(async move |stop| {
            stop.cancelled().await;
            inside.note("asked");
            suspend(3).await;
            inside.note("flushed");
            Ok::<_, Fault>(())
        });
        with(obeys, async |_| Ok::<_, Fault>(recorder.note("body"))).await.unwrap();
        recorder.note("left");
        recorder.trace().assert_order(["body", "asked", "flushed", "left"]);

        let reports = Reports::here();
        let inside = recorder.clone();
        let ignores = background(async move |_stop| {
            with(inside.resource("held by the task"), async |_| hang::<Result<(), Fault>>().await).await
        });
        with(ignores, async |task| {
            task.stop_timeout(Duration::from_millis(20));
            while recorder.trace().entered("held by the task") == 0 {
                suspend(1).await;
            }
            Ok::<_, Fault>(())
        })
        .await
        .unwrap();
        recorder.trace().assert_order(["exit held by the task: cancelled", "exited held by the task"]);
        assert_eq!(reports.all()[0].kind, IncidentKind::ExitTimedOut);
    });
}

#[test]
fn law_35_a_background_tasks_end_can_be_awaited_and_its_error_is_the_exits() {
    both_flavours(|_| async {
        let fails = background(async |_stop| Err::<(), _>(Fault::new("task")));
        let result = with(fails, async |task| {
            tokio::time::timeout(LONG, task.ended()).await.expect("it has ended");
            Ok::<_, Fault>(())
        });
        assert_eq!(result.await.unwrap_err().message(), "task");
        let panics = background(async |_stop| -> Result<(), Fault> { tenure_test::panic_quietly("task") });
        let payload = caught(with(panics, async |_| Ok::<_, Fault>(()))).await.unwrap_err();
        assert_eq!(panic_message(&*payload), "injected panic: task");
        settled().await;
        assert!(open().is_empty());
    });
}

#[test]
fn law_35_a_background_task_dropped_with_its_body_exits_before_what_is_around_it() {
    let report = Proof::new().unordered().cancel_everywhere(|recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let inside = recorder.clone();
            let task = background(async move |stop| {
                with(inside.resource("inner"), async |_| {
                    stop.cancelled().await;
                    Ok::<_, Fault>(())
                })
                .await
            });
            with(task, async |_| recorder.step("body").await).await
        })
        .await
    });
    assert!(report.suspensions >= 4, "{report}");
}
