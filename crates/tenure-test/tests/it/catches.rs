//! What `cancel_everywhere` has to catch, and how it names it.

use tenure::{AsyncExit, Outcome};
use tenure_test::{
    Act, CancelBy, Fault, Flavour, Proof, Recorded, Recorder, Violation, hang, suspend, try_cancel_everywhere,
};
use tokio::runtime::Handle;

/// Exits on every path but one: being dropped.
async fn forgetful(recorder: Recorder) -> Result<(), Fault> {
    let db = recorder.resource("db").await?;
    let queried = recorder.step("query").await;
    db.exit(Outcome::Completed).await?;
    queried
}

#[test]
fn a_forgotten_exit_is_named_with_its_suspension_and_step() {
    let leak = try_cancel_everywhere(forgetful).unwrap_err();
    // 0: nothing entered. 1: in the enter. 2: in the query.
    assert_eq!(leak.suspension(), Some(2));
    assert_eq!(leak.flavour(), Flavour::CurrentThread);
    assert_eq!(leak.cancelled_by(), Some(CancelBy::Drop));
    assert!(matches!(&leak.violations(), [Violation::NeverExited(who)] if who.name() == "db"));

    let text = leak.to_string();
    assert!(text.starts_with("dropped at suspension 2, on current_thread\n"), "{text}");
    assert!(text.contains("in \"query\" at crates/tenure-test/tests/it/catches.rs:"), "{text}");
    assert!(text.contains("\"db\" (entered at crates/tenure-test/tests/it/catches.rs:"), "{text}");
    assert!(text.contains("was never exited"), "{text}");
    assert!(text.contains("cancel at suspension 2"), "{text}");
}

#[test]
fn every_way_and_flavour_catches_it() {
    for flavour in Flavour::ALL {
        for way in CancelBy::ALL {
            let proof = Proof::new().flavour(flavour).cancel_by([way]);
            let leak = proof.try_cancel_everywhere(forgetful).unwrap_err();
            assert_eq!(
                (leak.suspension(), leak.cancelled_by(), leak.flavour()),
                (Some(2), Some(way), flavour),
                "{leak}"
            );
        }
    }
}

#[test]
fn an_exit_dropped_half_way_is_a_leak() {
    // The body never suspends: the first suspension with anything entered is that of the exit.
    let leak = try_cancel_everywhere(|recorder| async move {
        let db = recorder.resource("db").on_enter(Act::at_once()).await?;
        db.exit(Outcome::Completed).await
    })
    .unwrap_err();
    assert_eq!(leak.suspension(), Some(1));
    assert!(matches!(leak.violations(), [Violation::ExitDropped(_)]), "{leak}");
}

#[test]
fn the_await_is_named_without_a_label() {
    let leak = try_cancel_everywhere(|recorder| async move {
        let _db = recorder.resource("db").on_enter(Act::at_once()).await?;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await; // the await
        Ok::<_, Fault>(())
    })
    .unwrap_err();
    assert_eq!(leak.suspension(), Some(1));
    let line = include_str!("catches.rs").lines().position(|line| line.ends_with("// the await"));
    let place = format!("tests/it/catches.rs:{}:", line.unwrap() + 1);
    assert!(matches!(leak.awaits(), [await_] if await_.contains(&place)), "{leak}");
    assert!(leak.to_string().contains("awaiting at "), "{leak}");
}

/// What people write: the exit is spawned from `Drop`.
struct Spawning(Option<Recorded>);

impl Drop for Spawning {
    fn drop(&mut self) {
        let resource = self.0.take().unwrap();
        Handle::current().spawn(async move { resource.exit(Outcome::Cancelled).await });
    }
}

async fn two_spawned(recorder: Recorder) -> Result<(), Fault> {
    let _outer = Spawning(Some(recorder.resource("outer").await?));
    let _inner = Spawning(Some(recorder.resource("inner").await?));
    recorder.step("query").await
}

#[test]
fn law_13_exits_that_are_merely_spawned_overlap_and_it_is_seen() {
    let proof = Proof::new().flavour(Flavour::CurrentThread);
    let leak = proof.try_cancel_everywhere(two_spawned).unwrap_err();
    // Before that, the outer alone is held, and nothing can overlap.
    assert_eq!(leak.suspension(), Some(3));
    let [Violation::OutOfOrder { inner, outer }] = leak.violations() else { panic!("{leak}") };
    assert_eq!((inner.name(), outer.name()), ("inner", "outer"));
    assert!(leak.to_string().contains("which it encloses, had ended"), "{leak}");
}

#[test]
fn law_16_an_exit_that_the_drain_does_not_know_of_is_seen() {
    let leak = try_cancel_everywhere(|recorder| async move {
        let slow = recorder.resource("db").on_exit(Act::suspend(100));
        let _db = Spawning(Some(slow.await?));
        recorder.step("query").await
    })
    .unwrap_err();
    assert!(matches!(leak.violations(), [Violation::NotDrained(who)] if who.name() == "db"), "{leak}");
    assert!(leak.to_string().contains("spawned, not handed over"), "{leak}");
}

#[test]
fn one_suspension_can_be_looked_at_alone() {
    let proof = Proof::new().flavour(Flavour::CurrentThread).cancel_by([CancelBy::Drop]);
    assert_eq!(proof.try_cancel_at(1, forgetful).unwrap().runs, 1);
    assert_eq!(proof.try_cancel_at(2, forgetful).unwrap_err().suspension(), Some(2));
}

#[test]
fn a_hang_is_a_failure_unless_allowed() {
    let hangs = |recorder: Recorder| async move {
        recorder.step("first").await?;
        hang::<Result<(), Fault>>().await
    };
    let leak = try_cancel_everywhere(hangs).unwrap_err();
    assert!(matches!(leak.violations(), [Violation::Hung { suspension: 2, .. }]), "{leak}");
    assert_eq!(leak.suspension(), None);
    assert!(leak.to_string().contains("in \"hang\" at "), "{leak}");
    let report = Proof::new().allow_hang().cancel_everywhere(hangs);
    assert_eq!(report.suspensions, 2);
}

#[test]
fn a_future_without_end_meets_the_limit() {
    let proof = Proof::new().flavour(Flavour::CurrentThread).max_steps(10);
    let leak = proof.try_cancel_everywhere(|_| suspend(u32::MAX)).unwrap_err();
    assert_eq!(leak.violations(), [Violation::Endless { limit: 10 }]);
}

#[test]
fn as_many_fault_points_as_the_limit_are_not_too_many() {
    let proof = Proof::new().flavour(Flavour::CurrentThread).max_steps(2).pairs();
    let report = proof.fail_everywhere(|recorder| async move {
        // What fails here is passed over, so that two faults fit in.
        let _ = recorder.step("first").await;
        recorder.step("second").await
    });
    assert_eq!(report.points, 2);
}

#[test]
fn what_never_suspends_is_cut_before_its_first_poll_alone() {
    let report = Proof::new().min_suspensions(0).cancel_everywhere(|_| async {});
    assert_eq!((report.suspensions, report.entered), (0, 0));
    // By each way, on each flavour.
    assert_eq!(report.cut, 4 * 2);
    // And to the end: once first, and three times behind the last place.
    assert_eq!(report.runs, (1 + (1 + 3) * 4) * 2);
}

#[test]
#[should_panic(expected = "the assertion of the test")]
fn a_failed_assertion_goes_on_through_the_proof() {
    let _ = try_cancel_everywhere(|_| async {
        suspend(1).await;
        panic!("the assertion of the test");
    });
}

#[test]
fn a_check_sees_each_run_and_its_complaint_is_reported() {
    let proof = Proof::new().check(|run| async move {
        assert_ne!(run.suspension(), Some(1), "not there");
        Ok(())
    });
    let leak = proof.try_cancel_everywhere(|_| suspend(2)).unwrap_err();
    assert!(matches!(leak.violations(), [Violation::Check(text)] if text.contains("not there")), "{leak}");

    let proof = Proof::new()
        .check(|run| async move { if run.is_completed() { Err("too good".to_owned()) } else { Ok(()) } });
    let leak = proof.try_cancel_everywhere(|_| suspend(2)).unwrap_err();
    assert_eq!(leak.violations(), [Violation::Check("too good".to_owned())]);
}

#[test]
fn the_panic_of_a_proof_names_the_caller_and_prints_the_report() {
    let panic = std::panic::catch_unwind(|| tenure_test::cancel_everywhere(forgetful)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("cancel_everywhere: dropped at suspension 2"), "{text}");
    assert!(text.contains("trace:\n   0  entering db\n"), "{text}");
}
