//! The options of a proof: each changes what it says, and nothing else.

use std::panic::catch_unwind;
use std::time::Duration;

use tenure::{Options, hold, with};
use tenure_test::{
    Act, CancelBy, Fault, FaultKind, Flavour, Proof, Recorder, Violation, cancel_everywhere, suspend,
};
use tokio::sync::oneshot;

fn simple() -> Proof {
    Proof::new().flavour(Flavour::CurrentThread).cancel_by([CancelBy::Drop])
}

#[test]
fn the_clock_is_paused_unless_it_is_to_be_real() {
    // Pausing a clock twice panics.
    let pauses = |_: Recorder| async {
        tokio::time::pause();
        tokio::time::resume();
    };
    let simple = || simple().min_suspensions(0);
    let _ = simple().real_clock().cancel_everywhere(pauses);
    let _ = catch_unwind(|| simple().cancel_everywhere(pauses)).unwrap_err();
}

#[test]
fn a_day_of_timers_passes_at_once() {
    let report = simple().cancel_everywhere(|_| async {
        for _ in 0..24 {
            tokio::time::sleep(Duration::from_secs(3_599)).await;
        }
    });
    assert_eq!(report.suspensions, 24);
}

#[test]
fn wakes_from_other_tasks_and_threads_arrive() {
    let report = cancel_everywhere(|recorder| async move {
        with(recorder.resource("db"), async |_| {
            let (from_task, in_task) = oneshot::channel();
            tokio::spawn(async move { from_task.send(()) });
            recorder.at("the task", in_task).await.map_err(|_| Fault::new("no message"))?;
            let in_thread = tokio::task::spawn_blocking(|| ());
            recorder.at("the thread", in_thread).await.map_err(|_| Fault::new("no thread"))
        })
        .await
    });
    assert!(report.suspensions >= 3, "{report}");
}

/// Closes the outer first: allowed, and not the order of a stack.
async fn crossed(recorder: Recorder) -> Result<(), Fault> {
    let outer = hold(recorder.resource("outer")).await?;
    let inner = hold(recorder.resource("inner")).await?;
    outer.close().await?;
    inner.close().await
}

#[test]
fn crossed_exits_are_out_of_order_unless_said_so() {
    let leak = simple().try_cancel_everywhere(crossed).unwrap_err();
    assert!(leak.violations().iter().any(|found| matches!(found, Violation::OutOfOrder { .. })), "{leak}");
    let report = simple().unordered().cancel_everywhere(crossed);
    assert_eq!(report.suspensions, 4);
}

async fn cut_at_its_limit(recorder: Recorder) -> Result<(), Fault> {
    let hanging = recorder.resource("db").on_exit(Act::at_once().then_hang());
    let limited = Options::new().exit_limit(Duration::from_secs(1));
    limited.with(hanging, async |_| recorder.step("query").await).await
}

#[test]
fn law_15_an_exit_cut_at_its_limit_is_a_leak_unless_said_so() {
    // The exit that was cut is the error of the uncut run.
    let leak = simple().allow_errors().try_cancel_everywhere(cut_at_its_limit).unwrap_err();
    assert_eq!(leak.suspension(), Some(2));
    assert!(matches!(leak.violations(), [Violation::ExitDropped(_)]), "{leak}");
    let report = simple().allow_errors().allow_cut_exits().cancel_everywhere(cut_at_its_limit);
    assert_eq!(report.suspensions, 3);
}

#[test]
fn law_04_a_panic_of_its_own_passes_if_allowed() {
    let panics = |recorder: Recorder| async move {
        with(recorder.resource("db"), async |_| -> Result<(), Fault> {
            suspend(1).await;
            panic!("as allowed")
        })
        .await
    };
    let report = simple().allow_panics().cancel_everywhere(panics);
    assert_eq!(report.suspensions, 3);
    let _ = catch_unwind(|| simple().cancel_everywhere(panics)).unwrap_err();
}

#[test]
fn an_exit_that_outlasts_the_drain_limit_is_named_by_the_registry() {
    let slow = |recorder: Recorder| async move {
        let db = recorder.resource("db").on_exit(Act::at_once().then_hang());
        with(db, async |_| recorder.step("query").await).await
    };
    let proof = simple().drain_limit(Duration::from_secs(1));
    let leak = proof.try_cancel_everywhere(slow).unwrap_err();
    let text = leak.to_string();
    assert!(text.contains("the exit of \"db\" (entered at"), "{text}");
    assert!(text.contains("still open:\n") && text.contains("its caller is gone"), "{text}");
}

#[test]
fn what_would_try_nothing_is_refused() {
    let _ = catch_unwind(|| Proof::new().cancel_by([])).unwrap_err();
    let _ = catch_unwind(|| Proof::new().faults([])).unwrap_err();
}

#[test]
fn a_longer_run_limit_outlasts_a_real_pause() {
    let proof = Proof::new().flavour(Flavour::MultiThread).cancel_by([CancelBy::Drop]);
    let waits = |_: Recorder| tokio::task::spawn_blocking(std::thread::yield_now);
    let report = proof.run_limit(Duration::from_secs(60)).cancel_everywhere(waits);
    assert!(report.runs >= 2, "{report}");
}

#[test]
fn faults_are_chosen() {
    let body = |recorder: Recorder| async move { recorder.step("only").await };
    let report = simple().faults([FaultKind::Panic]).fail_everywhere(body);
    assert_eq!((report.cut, report.faults), (0, 1));
}
