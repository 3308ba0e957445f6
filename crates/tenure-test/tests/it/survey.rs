//! Surveys and controls, and where a future stood.

use std::time::Duration;

use tenure::{AsyncExit, Outcome, hold};
use tenure_test::{CancelBy, Fault, Flavour, Proof, Recorder, Violation, suspend};
use tokio::sync::Semaphore;

fn simple() -> Proof {
    Proof::new().flavour(Flavour::CurrentThread).cancel_by([CancelBy::Drop])
}

/// Leaks in each of two steps, and in its exit.
async fn forgetful(recorder: Recorder) -> Result<(), Fault> {
    let db = recorder.resource("db").await?;
    recorder.at("first", suspend(2)).await;
    recorder.at("second", suspend(1)).await;
    db.exit(Outcome::Completed).await
}

#[test]
fn a_survey_finds_all_leaks_and_groups_them_by_place() {
    let survey = Proof::new().survey(forgetful);
    let found: Vec<_> = survey
        .findings()
        .iter()
        .map(|finding| (finding.hits(), finding.suspensions().collect::<Vec<_>>()))
        .collect();
    // The two of the first step are one place; each in four ways, on two flavours.
    assert_eq!(found, [(16, vec![2, 3]), (8, vec![4]), (8, vec![5])], "{survey}");
    for finding in survey.findings() {
        assert_eq!((finding.cancelled_by().len(), finding.flavours().len()), (4, 2));
        assert!(!finding.example().violations().is_empty());
    }
    let text = survey.to_string();
    assert!(text.starts_with("3 leaks in 74 runs, 48 of them cut, 5 suspensions"), "{text}");
    assert!(text.contains("hits  cut by"), "{text}");
    assert!(text.contains("dropped, aborted, dropped when woken, timed out  2, 3"), "{text}");
    assert!(text.contains("was never exited"), "{text}");
}

#[test]
fn a_survey_is_json_too() {
    let survey = simple().survey(forgetful);
    let json: serde_json::Value = serde_json::from_str(&survey.to_json()).unwrap();
    assert_eq!(json["report"]["cut"], 6);
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 3);
    assert_eq!(findings[0]["suspensions"], serde_json::json!([2, 3]));
    assert_eq!(findings[0]["cancelled_by"], serde_json::json!(["dropped"]));
    assert!(findings[0]["violations"][0].as_str().unwrap().contains("never exited"));
    assert!(findings[0]["place"].as_str().unwrap().contains("tests/it/survey.rs:"), "{json}");
}

#[test]
fn a_clean_survey_says_so() {
    let survey = simple().survey(|recorder| async move {
        let db = hold(recorder.resource("db")).await?;
        db.close().await
    });
    assert!(survey.is_clean());
    assert!(survey.to_string().starts_with("no leak in "), "{survey}");
}

#[test]
fn a_survey_without_a_trial_is_not_clean() {
    let survey = simple().survey(|_| async {});
    assert!(!survey.is_clean());
    assert!(survey.to_string().contains("min_suspensions"), "{survey}");
    let survey = simple().survey_faults(|_| suspend(1));
    assert!(survey.to_string().contains("min_points"), "{survey}");
}

#[test]
fn numbers_in_complaints_do_not_make_them_different() {
    let runs = std::sync::atomic::AtomicU64::new(0);
    let proof = simple().check(move |run| {
        let number = runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::ready(run.is_completed().then_some(()).ok_or(format!("session {number} is open")))
    });
    let survey = proof.survey(|recorder| recorder.at("both", suspend(2)));
    let hits: Vec<_> = survey.findings().iter().map(tenure_test::Finding::hits).collect();
    // Before the first poll, and in the step.
    assert_eq!(hits, [1, 2], "{survey}");
}

#[test]
fn a_survey_of_faults_names_their_kinds() {
    let survey = Proof::new().survey_faults(forgetful_with_points);
    assert!(survey.findings().iter().any(|finding| !finding.faults().is_empty()), "{survey}");
    assert!(survey.to_string().contains("error"), "{survey}");
}

async fn forgetful_with_points(recorder: Recorder) -> Result<(), Fault> {
    let db = recorder.resource("db").await?;
    recorder.step("query").await?;
    db.exit(Outcome::Completed).await
}

#[test]
fn a_control_that_leaks_is_expected_to() {
    let leak = Proof::new().expect_leak(forgetful);
    assert!(matches!(leak.violations(), [Violation::NeverExited(_)]), "{leak}");
}

fn refusal(control: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(control).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn a_control_that_does_not_leak_or_fails_anyway_is_refused() {
    let clean = refusal(|| _ = Proof::new().expect_leak(|_| suspend(1)));
    assert!(clean.contains("nothing leaked"), "{clean}");
    let failing = refusal(|| {
        let _ = Proof::new().expect_leak(|_| async { Err::<(), _>("refused") });
    });
    assert!(failing.contains("not by a leak of a run that was cut"), "{failing}");
    let blind = refusal(|| {
        let proof = Proof::new().check(|_| std::future::ready(Err("always".to_owned())));
        let _ = proof.expect_leak(|_| suspend(1));
    });
    assert!(blind.contains("is it right?"), "{blind}");
    let idle = refusal(|| _ = Proof::new().expect_leak(|_| async {}));
    assert!(idle.contains("min_suspensions"), "{idle}");
}

fn line_of(mark: &str) -> usize {
    include_str!("survey.rs").lines().position(|line| line.ends_with(mark)).unwrap() + 1
}

#[test]
fn the_await_that_was_cut_is_told_from_one_that_ended_in_the_same_poll() {
    let leak = simple()
        .try_cancel_at(1, |recorder| async move {
            let _db = recorder.resource("db").on_enter(tenure_test::Act::at_once()).await?;
            passes_at_once().await;
            tokio::time::sleep(Duration::from_secs(1)).await; // the cut
            Ok::<_, Fault>(())
        })
        .unwrap_err();
    let cut = format!("tests/it/survey.rs:{}:", line_of("// the cut"));
    let passed = format!("tests/it/survey.rs:{}:", line_of("// the passed"));
    assert!(leak.cut_await().unwrap().contains(&cut), "{leak}");
    assert!(leak.awaits()[0].contains(&passed), "{leak}");
    let text = leak.to_string();
    assert!(
        text.contains("  awaiting at crates/tenure-test/tests/it/survey.rs") || text.contains("  awaiting at ")
    );
    let (cut_line, passed_line) = (text.find(&cut).unwrap(), text.find("in the same poll at").unwrap());
    assert!(cut_line < passed_line, "{text}");
}

/// Takes a waker, and is ready at its next look in the same poll.
async fn passes_at_once() {
    let mut first = true;
    std::future::poll_fn(|cx| {
        while std::mem::take(&mut first) {
            drop(cx.waker().clone()); // the passed
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[test]
fn of_many_awaits_in_one_poll_the_last_is_kept() {
    let leak = simple()
        .try_cancel_at(1, |recorder| async move {
            let _db = recorder.resource("db").on_enter(tenure_test::Act::at_once()).await?;
            for _ in 0..10 {
                passes_at_once().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await; // the last of many
            Ok::<_, Fault>(())
        })
        .unwrap_err();
    let last = format!("tests/it/survey.rs:{}:", line_of("// the last of many"));
    assert!(leak.cut_await().unwrap().contains(&last), "{leak}");
}

#[test]
fn the_frames_of_a_library_are_named_if_asked_for() {
    let uses_a_library = |recorder: Recorder| async move {
        let _db = recorder.resource("db").on_enter(tenure_test::Act::at_once()).await?;
        futures_util::future::join(suspend(1), suspend(1)).await;
        Ok::<_, Fault>(())
    };
    let leak = simple().library_frames().try_cancel_at(1, uses_a_library).unwrap_err();
    assert!(leak.library_frames().iter().any(|frame| frame.starts_with("futures-util-")), "{leak}");
    assert!(leak.to_string().contains("    within futures-util-"), "{leak}");
    assert!(simple().try_cancel_at(1, uses_a_library).unwrap_err().library_frames().is_empty());
}

#[test]
fn with_suspend_often_each_resource_of_the_runtime_suspends() {
    // Everything is ready: no await of these suspends by itself.
    let ready = |_: Recorder| async {
        let permits = Semaphore::new(8);
        for _ in 0..8 {
            permits.acquire().await.expect("nobody closes it").forget();
        }
    };
    for flavour in Flavour::ALL {
        let proof = Proof::new().flavour(flavour);
        let leak = proof.try_cancel_everywhere(ready).unwrap_err();
        assert!(matches!(leak.violations(), [Violation::TooFewSuspensions { .. }]), "{leak}");
        let report = Proof::new().flavour(flavour).suspend_often().cancel_everywhere(ready);
        assert_eq!((report.suspensions, report.skipped), (8, 0), "{report}");
    }
}

#[test]
fn suspend_often_ends_though_a_poll_needs_several_units() {
    let greedy = |_: Recorder| async {
        let permits = Semaphore::new(1_000);
        std::future::poll_fn(|cx| {
            // Three units in one poll, and none is kept for the next.
            for _ in 0..3 {
                let acquiring = std::pin::pin!(permits.acquire());
                std::task::ready!(acquiring.poll(cx)).expect("nobody closes it").forget();
                permits.add_permits(1);
            }
            std::task::Poll::Ready(())
        })
        .await;
    };
    let report = simple().suspend_often().try_cancel_at(1, greedy).unwrap();
    assert_eq!(report.cut, 1);
    let runtime = simple().suspend_often().max_steps(300).cancel_everywhere(greedy);
    assert_eq!(runtime.suspensions, 1 + 256);
}
