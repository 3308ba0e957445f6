//! Futures that the hub makes right: the harness has to let them pass, and to have tried them everywhere.

use tenure::{Verdict, hold, shield, with, with_recovering};
use tenure_test::{Fault, FaultKind, Flavour, Proof, Recorder, Seen, cancel_everywhere, fail_everywhere};

async fn nested(recorder: Recorder) -> Result<u32, Fault> {
    with(recorder.resource("outer"), async |_| {
        recorder.step("between").await?;
        with(recorder.resource("inner"), async |_| {
            recorder.step("inside").await?;
            Ok(5)
        })
        .await
    })
    .await
}

#[test]
fn law_13_nested_tenures_are_cancelled_everywhere() {
    let proof = Proof::new().check(|run| async move {
        let trace = run.trace();
        if run.suspension() == Some(4) {
            trace.assert_nested("inner", "outer");
            trace.assert_outcome("inner", &Seen::Cancelled);
        }
        Ok(())
    });
    let report = proof.cancel_everywhere(nested);
    // Two enters, two steps, two exits; and each of them in four ways on two flavours, and before the first poll.
    assert_eq!((report.suspensions, report.cut), (6, 7 * 4 * 2));
}

#[test]
fn law_07_nested_tenures_are_failed_everywhere() {
    let report = fail_everywhere(nested);
    // Two polls of each enter and exit, and two steps; an error and a panic at each, on two flavours.
    assert_eq!((report.points, report.faults), (10, 10 * 2 * 2));
}

#[test]
fn law_07_pairs_of_faults_and_faults_with_cancellation() {
    let report = Proof::new().pairs().and_cancel().fail_everywhere(nested);
    assert!(report.runs > 1_000, "{report}");
}

#[test]
fn law_10_a_shielded_enter_is_finished_and_exited() {
    let report = cancel_everywhere(|recorder| async move {
        with(shield(recorder.resource("db")), async |_| recorder.step("query").await).await
    });
    assert!(report.suspensions >= 3, "{report}");
}

#[test]
fn law_07_a_held_resource_is_exited_when_dropped() {
    let report = cancel_everywhere(|recorder| async move {
        let db = hold(recorder.resource("db")).await?;
        let queried = recorder.step("query").await;
        db.exit_with(queried).await
    });
    assert_eq!(report.suspensions, 3);
}

#[test]
fn law_08_a_recovering_resource_recovers() {
    let proof = Proof::new().faults([FaultKind::Error]).check(|run| async move {
        let trace = run.trace();
        if trace.contains("inject error in step query") {
            trace.assert_order(["exit db: failed: step query", "none"]);
        }
        Ok(())
    });
    let report = proof.fail_everywhere(|recorder| async move {
        let db = recorder.resource("db").recovering(Verdict::Recover);
        let result: Result<_, Fault> = with_recovering(db, async |_| recorder.step("query").await).await;
        if result?.is_none() {
            recorder.note("none");
        }
        Ok::<_, Fault>(())
    });
    assert_eq!((report.points, report.faults), (5, 5 * 2));
}

#[test]
fn what_is_held_for_ever_is_named_by_the_registry() {
    // A task that holds a tenure and that nobody ends.
    let proof = Proof::new().flavour(Flavour::CurrentThread);
    let leak = proof
        .try_cancel_everywhere(|recorder| async move {
            tokio::spawn(async move {
                with(recorder.resource("db"), async |_| std::future::pending::<Result<(), Fault>>().await).await
            });
            tokio::task::yield_now().await;
        })
        .unwrap_err();
    let text = leak.to_string();
    assert!(text.contains("still open:\n") && text.contains("tests/it/hub.rs:"), "{text}");
    assert!(text.contains("\"db\" (entered at crates/tenure-test/tests/it/hub.rs:"), "{text}");
}

#[test]
fn law_13_siblings_exit_in_reverse_order() {
    let report = cancel_everywhere(|recorder| async move {
        let first = hold(recorder.resource("first")).await?;
        let second = hold(recorder.resource("second")).await?;
        recorder.step("query").await?;
        second.close().await?;
        first.close().await
    });
    assert_eq!(report.suspensions, 5);
}
