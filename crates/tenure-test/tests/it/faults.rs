//! What `fail_everywhere` injects, and what it catches.

use std::sync::{Arc, Mutex};

use tenure::{AsyncExit, Outcome};
use tenure_test::{
    Fault, FaultKind, Flavour, Proof, Recorder, Violation, fail_everywhere, try_fail_everywhere,
};

/// Right for errors; a panic in the body leaks.
async fn by_hand(recorder: Recorder) -> Result<(), Fault> {
    let db = recorder.resource("db").await?;
    let body = recorder.step("query").await;
    let exit = match &body {
        Ok(()) => db.exit(Outcome::Completed).await,
        Err(fault) => db.exit(Outcome::failed(fault)).await,
    };
    body.and(exit)
}

#[test]
fn errors_at_every_point_are_survived_by_code_that_is_right_for_errors() {
    let report = Proof::new().faults([FaultKind::Error]).fail_everywhere(by_hand);
    // Two polls of the enter, the step, two polls of the exit.
    assert_eq!((report.points, report.faults), (5, 2 * 5));
    // One to which nothing is done, one for each point, and three that find no sixth.
    assert_eq!(report.runs, 2 * (1 + 5 + 3));
    assert_eq!(report.suspensions, 3);
}

#[test]
fn a_panic_that_skips_the_exit_is_caught() {
    let leak = try_fail_everywhere(by_hand).unwrap_err();
    assert_eq!(leak.faults(), [(2, FaultKind::Panic)]);
    assert!(matches!(leak.violations(), [Violation::NeverExited(_)]), "{leak}");
    let text = leak.to_string();
    assert!(text.starts_with("not cancelled, panic at fault point 2, on current_thread"), "{text}");
    assert!(text.contains("inject panic in step query"), "{text}");
}

#[test]
fn an_early_return_that_skips_the_exit_is_caught() {
    let leak = try_fail_everywhere(|recorder| async move {
        let db = recorder.resource("db").await?;
        recorder.step("query").await?;
        db.exit(Outcome::Completed).await
    })
    .unwrap_err();
    assert_eq!(leak.faults(), [(2, FaultKind::Error)]);
}

#[test]
fn pairs_reach_the_exit_of_a_failed_body() {
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let proof = Proof::new().faults([FaultKind::Error]).pairs().check(move |run| {
        if run.faults() == 2 {
            run.trace().assert_order(["exit db: failed: step query", "exit db failed"]);
            *count.lock().unwrap() += 1;
        }
        async { Ok(()) }
    });
    let report = proof.fail_everywhere(by_hand);
    // After the body's failure, either poll of the exit, on either flavour.
    assert_eq!(*seen.lock().unwrap(), 2 * 2);
    // 5 alone; after each of them three runs that find no second (1 each), and the two of the exit (2 each).
    assert_eq!(report.faults, 2 * (5 + 5 * 3 + 2 * 2));
}

#[test]
fn a_hang_is_dropped_and_the_proof_goes_on() {
    let proof = Proof::new().faults([FaultKind::Hang]);
    let report = proof.fail_everywhere(|recorder| async move {
        recorder.step("first").await?;
        recorder.step("second").await
    });
    assert_eq!(report.faults, 2 * 2);
}

#[test]
fn faults_and_cancellation_multiply() {
    let proof = Proof::new().flavour(Flavour::CurrentThread).faults([FaultKind::Error]).and_cancel();
    let leak = proof.try_fail_everywhere(by_hand).unwrap_err();
    // The query fails, and the future is dropped in the exit that follows.
    assert_eq!((leak.faults(), leak.suspension()), (&[(2, FaultKind::Error)][..], Some(2)), "{leak}");
}

#[test]
fn a_point_fails_without_suspending() {
    let report = fail_everywhere(|recorder: Recorder| async move {
        recorder.point("here")?;
        Ok::<_, Fault>(())
    });
    assert_eq!((report.points, report.suspensions, report.faults), (1, 0, 2 * 2));
}
