//! No proof passes that has tried nothing: errors count, short proofs fail, everything that waits has a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tenure_test::{
    CancelBy, Fault, FaultKind, Flavour, Proof, Recorder, Violation, cancel_everywhere, suspend,
    try_cancel_everywhere, try_fail_everywhere,
};

fn simple() -> Proof {
    Proof::new().flavour(Flavour::CurrentThread).cancel_by([CancelBy::Drop])
}

/// A database that refuses the connection.
async fn refused() -> Result<(), String> {
    suspend(1).await;
    Err("connection refused".to_owned())
}

#[test]
fn an_error_of_a_run_that_nothing_was_done_to_fails_the_proof() {
    for flavour in Flavour::ALL {
        let leak = Proof::new().flavour(flavour).try_cancel_everywhere(|_| refused()).unwrap_err();
        let [Violation::Failed(text)] = leak.violations() else { panic!("{leak}") };
        assert!(text.contains("connection refused"), "{leak}");
        assert_eq!(leak.suspension(), None);
        let leak = Proof::new().flavour(flavour).try_fail_everywhere(|_| refused()).unwrap_err();
        assert!(matches!(leak.violations(), [Violation::Failed(_)]), "{leak}");
    }
}

#[test]
fn errors_are_counted_where_they_are_allowed() {
    let report = simple().allow_errors().cancel_everywhere(|_| refused());
    // The first run, and three that find no further place.
    assert_eq!((report.failed, report.cut), (1 + 3, 2));
    assert!(report.to_string().contains("4 runs failed by themselves"), "{report}");
}

#[test]
fn an_error_within_a_joined_task_or_a_list_counts() {
    let joined = try_cancel_everywhere(|_| tokio::spawn(refused()));
    assert!(matches!(joined.unwrap_err().violations(), [Violation::Failed(_)]));
    let listed = try_cancel_everywhere(|_| async { vec![Ok(1), refused().await.map(|()| 2)] });
    assert!(matches!(listed.unwrap_err().violations(), [Violation::Failed(_)]));
    let paired = try_cancel_everywhere(|_| async { (true, Some(refused().await)) });
    assert!(matches!(paired.unwrap_err().violations(), [Violation::Failed(_)]));
}

#[test]
fn an_error_that_was_injected_is_none() {
    let step = |recorder: Recorder| async move { recorder.step("only").await };
    let report = simple().faults([FaultKind::Error]).fail_everywhere(step);
    assert_eq!((report.faults, report.failed), (1, 0));
}

#[test]
fn an_error_of_a_test_on_both_flavours_fails_it() {
    let failing = || tenure_test::both_flavours(|_| refused());
    let panic = std::panic::catch_unwind(failing).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("connection refused"));
}

/// A driver that gives up after a while: under a paused clock at once.
async fn driver() -> Result<u32, std::io::Error> {
    let (client, _server) = tokio::io::duplex(1);
    let answer = tokio::time::timeout(Duration::from_secs(30), async { client.readable_for_ever().await });
    answer.await.map_err(|_| std::io::Error::other("the database does not answer"))
}

trait ForEver {
    async fn readable_for_ever(&self) -> u32;
}

impl ForEver for tokio::io::DuplexStream {
    async fn readable_for_ever(&self) -> u32 {
        // A socket that becomes ready outside of the runtime: a paused clock does not wait for it.
        std::future::pending().await
    }
}

#[test]
fn a_forgotten_real_clock_is_hinted_at() {
    let leak = simple().try_cancel_everywhere(|_| driver()).unwrap_err();
    assert!(matches!(leak.violations(), [Violation::Failed(_)]), "{leak}");
    assert!(leak.to_string().contains("needs `real_clock`"), "{leak}");
    assert!(leak.to_string().contains("ran ahead by 30s"), "{leak}");

    let report = simple().allow_errors().cancel_everywhere(|_| driver());
    assert!(report.clock_ahead >= Duration::from_secs(29), "{report}");
    assert!(report.to_string().contains("the paused clock ran ahead by 30s"), "{report}");
}

#[test]
fn a_proof_without_suspensions_or_points_fails() {
    let leak = try_cancel_everywhere(|_| async {}).unwrap_err();
    assert!(matches!(leak.violations(), [Violation::TooFewSuspensions { reached: 0, min: 1, .. }]), "{leak}");
    let leak = try_fail_everywhere(|_| suspend(3)).unwrap_err();
    assert_eq!(leak.violations(), [Violation::TooFewPoints { reached: 0, min: 1 }]);
    let report = Proof::new().min_points(0).fail_everywhere(|_| suspend(3));
    assert_eq!(report.points, 0);
}

#[test]
fn fewer_suspensions_or_points_than_asked_for_fail() {
    let two = |recorder: Recorder| async move {
        recorder.step("first").await?;
        recorder.step("second").await
    };
    assert_eq!(Proof::new().min_suspensions(2).min_points(2).cancel_everywhere(two).suspensions, 2);
    assert_eq!(Proof::new().min_suspensions(2).min_points(2).fail_everywhere(two).points, 2);
    let leak = Proof::new().min_suspensions(3).try_cancel_everywhere(two).unwrap_err();
    assert_eq!(leak.violations(), [Violation::TooFewSuspensions { by: CancelBy::Drop, reached: 2, min: 3 }]);
    let leak = Proof::new().min_points(3).try_fail_everywhere(two).unwrap_err();
    assert_eq!(leak.violations(), [Violation::TooFewPoints { reached: 2, min: 3 }]);
}

#[test]
fn a_suspension_that_no_run_comes_to_is_no_proof() {
    assert_eq!(simple().try_cancel_at(2, |_| suspend(2)).unwrap().cut, 1);
    let leak = simple().try_cancel_at(3, |_| suspend(2)).unwrap_err();
    assert_eq!(leak.violations(), [Violation::NotReached { step: 3 }]);
}

/// Suspends as often as the next number says, as real I/O does: each run has its own number.
fn irregular(pattern: &'static [u32]) -> impl Fn(Recorder) -> tenure_test::Suspend {
    let runs = AtomicU64::new(0);
    move |_| {
        let run = runs.fetch_add(1, SeqCst);
        suspend(pattern[usize::try_from(run).unwrap() % pattern.len()])
    }
}

#[test]
fn short_runs_do_not_end_the_enumeration() {
    for pattern in [&[8, 1][..], &[8, 1, 2][..], &[2, 8, 5, 1][..], &[1, 1, 8][..]] {
        let report = simple().cancel_everywhere(irregular(pattern));
        assert_eq!((report.suspensions, report.skipped), (8, 0), "{pattern:?}: {report}");
        // Before the first poll, and at each of the eight.
        assert_eq!(report.cut, 9, "{pattern:?}: {report}");
        assert_eq!(report.fewest_suspensions, pattern.iter().min().map(|least| u64::from(*least)));
        // No way knows less than another.
        let report = Proof::new().cancel_everywhere(irregular(pattern));
        assert_eq!(report.cut, 9 * 4 * 2, "{pattern:?}: {report}");
    }
}

#[test]
fn more_short_runs_find_what_is_rarer() {
    // Nine of ten runs answer in one poll.
    let rare = &[1, 1, 1, 1, 1, 1, 1, 1, 1, 8];
    let report = simple().max_short_runs(10).cancel_everywhere(irregular(rare));
    assert_eq!((report.cut, report.skipped), (9, 0), "{report}");
}

#[test]
fn a_place_that_is_not_reached_again_is_counted_and_passed_by() {
    // One run in a hundred is long.
    let mut pattern = vec![2; 100];
    pattern[0] = 4;
    let report = simple().cancel_everywhere(irregular(pattern.leak()));
    assert_eq!((report.cut, report.skipped), (3, 2), "{report}");
    assert!(report.to_string().contains("2 places not reached again"), "{report}");
    assert!(report.to_string().contains("2 to 4 suspensions"), "{report}");
}

#[test]
fn fault_points_that_come_and_go_are_all_tried() {
    let runs = AtomicU64::new(0);
    let report = simple().faults([FaultKind::Error]).fail_everywhere(move |recorder| {
        let points = if runs.fetch_add(1, SeqCst).is_multiple_of(2) { 5 } else { 1 };
        async move {
            for _ in 0..points {
                recorder.point("one of them")?;
            }
            Ok::<_, Fault>(())
        }
    });
    assert_eq!((report.points, report.faults), (5, 5), "{report}");
}

#[test]
fn places_are_repeated() {
    let report = simple().repeat(10).cancel_everywhere(|_| suspend(2));
    assert_eq!(report.cut, 3 * 10);
    assert_eq!(report.runs, 1 + 3 * 10 + 3);
}

#[test]
fn a_check_that_hangs_is_ended_and_told() {
    for flavour in Flavour::ALL {
        for clock in [Proof::new(), Proof::new().real_clock()] {
            let begun = Instant::now();
            let proof = clock
                .flavour(flavour)
                .check_timeout(Duration::from_millis(50))
                .check(|_| std::future::pending());
            let leak = proof.try_cancel_everywhere(|_| suspend(1)).unwrap_err();
            assert!(matches!(leak.violations(), [Violation::CheckTimedOut { .. }]), "{leak}");
            assert!(leak.to_string().contains("is it right?"), "{leak}");
            assert!(begun.elapsed() >= Duration::from_millis(50));
        }
    }
}

#[test]
fn a_set_up_that_hangs_is_ended_and_told() {
    for proof in [Proof::new(), Proof::new().real_clock()] {
        let proof = proof.set_up_timeout(Duration::from_millis(50));
        let proof = proof.set_up(std::future::pending::<u32>);
        let leak = proof.try_cancel_everywhere(|_, _| suspend(1)).unwrap_err();
        assert!(matches!(leak.violations(), [Violation::SetUpTimedOut { .. }]), "{leak}");
    }
    let proof = Proof::new().set_up_timeout(Duration::from_millis(50));
    let survey = proof.set_up_once(std::future::pending::<u32>).survey(|_, _| suspend(1));
    assert_eq!(survey.findings().len(), 1, "{survey}");
}

#[test]
fn a_check_that_fails_without_a_cut_is_asked_whether_it_is_right() {
    let proof = simple().check(|_| std::future::ready(Err("two rows".to_owned())));
    let leak = proof.try_cancel_everywhere(|_| suspend(1)).unwrap_err();
    let text = leak.to_string();
    assert!(text.contains("the check fails on a run that was not cut: is it right?"), "{text}");
    // Not so where the check is right, and the cut is to blame.
    let proof = simple()
        .check(|run| std::future::ready(if run.is_completed() { Ok(()) } else { Err("two rows".to_owned()) }));
    let text = proof.try_cancel_everywhere(|_| suspend(1)).unwrap_err().to_string();
    assert!(!text.contains("is it right"), "{text}");
}

/// A world that needs some calls of the check until it is as it should be, or until it no longer is.
fn world(until: u64, becomes: bool) -> impl Fn() -> Result<(), String> + Clone {
    let calls = Arc::new(AtomicU64::new(0));
    move || {
        let is_later = calls.fetch_add(1, SeqCst) >= until;
        if is_later == becomes { Ok(()) } else { Err("not as it should be".to_owned()) }
    }
}

#[test]
fn a_check_may_become_true_within_a_time() {
    for proof in [simple(), simple().real_clock()] {
        let rolled_back = world(3, true);
        let proof =
            proof.check_within(Duration::from_secs(5)).check(move |_| std::future::ready(rolled_back()));
        assert!(proof.try_cancel_everywhere(|_| suspend(1)).is_ok());
    }
    let never = simple()
        .check_within(Duration::from_secs(5))
        .check(|_| std::future::ready(Err("still open".to_owned())));
    let leak = never.try_cancel_everywhere(|_| suspend(1)).unwrap_err();
    assert!(leak.to_string().contains("still open (not true within 5s)"), "{leak}");
}

#[test]
fn a_check_has_to_stay_true_for_a_time() {
    let begun_late = world(2, false);
    let proof = simple().check_for(Duration::from_secs(1)).check(move |_| std::future::ready(begun_late()));
    let leak = proof.try_cancel_everywhere(|_| suspend(1)).unwrap_err();
    assert!(leak.to_string().contains("(true at first, and not for 1s)"), "{leak}");
    let proof = simple().check_for(Duration::from_secs(1)).check(|_| std::future::ready(Ok(())));
    let _ = proof.cancel_everywhere(|_| suspend(1));
}

#[test]
fn a_check_that_wavers_settles_within_its_time() {
    let calls = Arc::new(AtomicU64::new(0));
    let proof = simple().check_within(Duration::from_secs(5)).check_for(Duration::from_millis(100));
    let proof = proof.check(move |_| {
        // True, false, true, false, and true from then on.
        let call = calls.fetch_add(1, SeqCst);
        std::future::ready(if call < 4 && call % 2 == 1 { Err("wavers".to_owned()) } else { Ok(()) })
    });
    let _ = proof.cancel_everywhere(|_| suspend(1));
}

#[test]
fn a_future_that_blocks_its_thread_is_told_as_hung() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let proof = Proof::new().flavour(Flavour::MultiThread).run_limit(Duration::from_millis(50));
    let leak = proof
        .try_cancel_everywhere(|_| {
            let held = Arc::clone(&held);
            async move {
                suspend(1).await;
                let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
            }
        })
        .unwrap_err();
    drop(release);
    assert!(matches!(leak.violations(), [Violation::Hung { suspension: 1, .. }]), "{leak}");
}

#[test]
fn each_run_has_a_number_of_its_own() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let checked = Arc::clone(&seen);
    let proof = Proof::new().check(move |run| {
        assert_eq!(checked.lock().unwrap().last(), Some(&run.id()));
        std::future::ready(Ok(()))
    });
    let report = proof.cancel_everywhere(|recorder| {
        seen.lock().unwrap().push(recorder.run_id());
        suspend(2)
    });
    let mut numbers = seen.lock().unwrap().clone();
    assert!(numbers.iter().all(|number| i64::try_from(*number).is_ok()));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len() as u64, report.runs);
}

#[test]
fn a_report_says_nothing_of_resources_that_it_cannot_see() {
    let text = cancel_everywhere(|_| suspend(1)).to_string();
    assert!(!text.contains("entered"), "{text}");
    let real = |_| {
        tenure::with(async { Ok::<_, Fault>(Real) }, async |_| {
            suspend(1).await;
            Ok::<_, Fault>(())
        })
    };
    let report = cancel_everywhere(real);
    assert!(report.tenures > 0 && report.entered == 0, "{report:?}");
    assert!(report.to_string().contains("enters counted by the hub"), "{report}");
}

/// A resource that records nothing.
struct Real;

impl tenure::AsyncExit for Real {
    type Error = Fault;

    async fn exit(self, _: tenure::Outcome<'_>) -> Result<(), Fault> {
        Ok(())
    }
}
