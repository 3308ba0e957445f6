//! What has no law of its own: a resource that is there already, a guard that is handed over by will, a report.

use std::time::Duration;

use tenure::{
    Closing, Ending, ExitError, Held, Incident, IncidentKind, WithError, background, committing, entered, open,
    panic_message, report, run_to_completion, shield, with, with_detailed,
};
use tenure_test::{Act, Fault, Proof, Recorder, both_flavours, hang, panic_quietly, suspend};

use crate::support::{LONG, Reports, caught, drained, drop_at, message, settled};

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
        let panics = background(async |_stop| -> Result<(), Fault> { panic_quietly("task") });
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

/// Law 10, for work without a resource. What is around it waits for it (law 13).
#[test]
fn law_10_an_operation_runs_to_completion_wherever_its_caller_is_dropped() {
    let proof = Proof::new().check(|run| async move {
        let trace = run.trace();
        if trace.contains("begun") {
            trace.assert_order(["begun", "ended", "exited outer"]);
        }
        Ok(())
    });
    let report = proof.cancel_everywhere(|recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let operation = recorder.clone();
            let seven = run_to_completion(async move {
                operation.note("begun");
                suspend(3).await;
                operation.note("ended");
                Ok::<_, Fault>(7)
            });
            assert_eq!(seven.await?, 7);
            recorder.step("behind").await
        })
        .await
    });
    assert!(report.suspensions >= 3 + 3, "{report}");
}

#[test]
fn law_10_an_operation_that_was_not_polled_is_not_begun() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let operation = recorder.clone();
        drop(run_to_completion(async move { Ok::<_, Fault>(operation.note("begun")) }));
        assert_eq!(drained().await.ended, 0);
        recorder.trace().assert_exactly::<&str>([]);
    });
}

async fn panicking() -> Result<(), Fault> {
    suspend(2).await;
    panic_quietly("panicked")
}

/// Law 5: with a caller its error and its panic are the caller's; without one they are reported.
#[test]
fn law_05_what_an_operation_fails_with_is_told_to_its_caller_or_reported() {
    both_flavours(|_| async {
        let reports = Reports::here();
        let failing = || async {
            suspend(2).await;
            Err::<(), _>(Fault::new("failed"))
        };
        assert_eq!(format!("{:?}", run_to_completion(failing()).await), "Err(failed)");
        let payload = caught(run_to_completion(panicking())).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: panicked");
        reports.assert(&[]);
        drop_at(1, run_to_completion(failing())).await;
        settled().await;
        drop_at(1, run_to_completion(panicking())).await;
        settled().await;
        reports.assert(&[
            (IncidentKind::EnterFailed, "failed"),
            (IncidentKind::EnterPanicked, "injected panic: panicked"),
        ]);
        assert_eq!(reports.all()[0].name, "operation");
        assert_eq!(reports.all()[0].location.file(), file!());
    });
}

/// Without a runtime it cannot go on (law 17).
#[test]
fn law_17_an_operation_that_could_not_end_is_reported() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reports = runtime.block_on(async {
        let reports = Reports::here();
        drop_at(1, run_to_completion(hang::<Result<(), Fault>>())).await;
        reports
    });
    drop(runtime);
    let kinds: Vec<_> = reports.all().iter().map(|incident| incident.kind).collect();
    assert_eq!(kinds, [IncidentKind::EnterLost]);
}

/// One of the two, once, wherever it is dropped; the commit only after a body that completed.
#[test]
fn law_07_what_was_begun_is_committed_or_rolled_back() {
    let proof = Proof::new().check(|run| async move {
        let trace = run.trace();
        let (committed, rolled_back) = (trace.contains("committed"), trace.contains("rolled back"));
        match (trace.contains("begun"), trace.contains("body ended")) {
            (true, _) if committed == rolled_back => Err("neither, or both".to_owned()),
            (_, false) if committed => Err("committed without a whole body".to_owned()),
            _ => Ok(()),
        }
    });
    let make = |recorder: Recorder| async move {
        let (begin, commit, roll_back) = (recorder.clone(), recorder.clone(), recorder.clone());
        let begin = async move {
            begin.note("begun");
            begin.step("begin").await
        };
        let transaction = committing(
            begin,
            move |()| async move {
                suspend(2).await;
                Ok::<_, Fault>(commit.note("committed"))
            },
            move |()| async move {
                suspend(2).await;
                Ok::<_, Fault>(roll_back.note("rolled back"))
            },
        );
        with(transaction, async |_| {
            recorder.step("body").await?;
            Ok::<_, Fault>(recorder.note("body ended"))
        })
        .await
    };
    // An enter that begins before it has returned is shielded, or it leaks.
    let leak = proof.try_cancel_everywhere(make).unwrap_err();
    assert!(leak.to_string().contains("neither, or both"), "{leak}");
    let shielded = |recorder: Recorder| async move {
        let (begin, commit, roll_back) = (recorder.clone(), recorder.clone(), recorder.clone());
        let transaction = shield(committing(
            async move {
                begin.note("begun");
                suspend(1).await;
                Ok::<_, Fault>(())
            },
            move |()| async move {
                suspend(2).await;
                Ok::<_, Fault>(commit.note("committed"))
            },
            move |()| async move {
                suspend(2).await;
                Ok::<_, Fault>(roll_back.note("rolled back"))
            },
        ));
        with(transaction, async |_| {
            recorder.step("body").await?;
            Ok::<_, Fault>(recorder.note("body ended"))
        })
        .await
    };
    let report = proof.cancel_everywhere(shielded);
    assert!(report.suspensions >= 4, "{report}");
    assert!(proof.fail_everywhere(shielded).faults >= 2);
}
