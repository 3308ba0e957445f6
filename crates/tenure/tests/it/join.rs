//! Laws 32 and 33: several contexts at once.

use std::time::Duration;

use tenure::{AsyncExit, ExitErrors, IncidentKind, Outcome, join, shield, with};
use tenure_test::{Act, Fault, Proof, Recorder, Seen, both_flavours, panic_quietly, paused, suspend};
use tokio::time::{Instant, sleep};

use crate::support::{Error, Reports, caught, drop_at, entered, message, settled};

#[test]
fn law_32_the_enters_run_concurrently() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = |name: &str| recorder.resource(name).on_enter(Act::suspend(3));
        let names = with(join((slow("a"), slow("b"))), async |(a, b)| {
            Ok::<_, Error>(format!("{}{}", a.name(), b.name()))
        });
        assert_eq!(names.await.unwrap(), "ab");
        recorder.trace().assert_order(["entering a", "entering b", "enter a", "enter b"]);
    });
}

/// Takes a second to enter and a second to exit.
struct Slow;

impl Slow {
    async fn enter() -> Result<Self, Fault> {
        sleep(Duration::from_secs(1)).await;
        Ok(Self)
    }
}

impl AsyncExit for Slow {
    type Error = Fault;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

#[test]
fn law_32_law_33_b134_b144_the_longest_counts_and_not_the_sum() {
    paused().block_on(async {
        let begun = Instant::now();
        with(join((Slow::enter(), Slow::enter(), Slow::enter())), async |_| Ok::<_, Error>(())).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2);
        let many: Vec<_> = (0..100).map(|_| Slow::enter()).collect();
        let many = with(join(many), async |slow: &mut Vec<Slow>| Ok::<_, Error>(slow.len()));
        assert_eq!(many.await.unwrap(), 100);
        assert_eq!(begun.elapsed().as_secs(), 4);
    });
}

#[test]
fn law_32_if_one_fails_the_entered_are_exited_and_the_entering_dropped() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let contexts = (
            recorder.resource("entered").on_enter(Act::at_once()),
            recorder.resource("fails").on_enter(Act::suspend(1).then_fail()),
            recorder.resource("entering").on_enter(Act::suspend(1).then_hang()),
        );
        let result = with(join(contexts), async |_| Ok::<_, Error>(recorder.note("body"))).await;
        assert!(matches!(&result, Err(Error::Fault(fault)) if fault.message() == "enter fails"), "{result:?}");
        recorder.note("returned");
        recorder.trace().assert_outcome("entered", &Seen::Failed("enter fails".to_owned()));
        recorder.trace().assert_never_entered("entering");
        // In place: the caller has the failure after the exits.
        recorder.trace().assert_order(["exited entered", "returned"]);
        assert!(recorder.trace().contains("enter entering dropped"));
    });
}

#[test]
fn law_32_b137_a_shielded_one_is_finished_and_exited() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let contexts = (
            shield(recorder.resource("shielded").on_enter(Act::suspend(9))),
            recorder.resource("fails").on_enter(Act::suspend(1).then_fail()),
        );
        let result = with(join(contexts), async |_| Ok::<_, Error>(()));
        assert!(result.await.is_err());
        settled().await;
        recorder.trace().assert_exited_once("shielded");
        recorder.trace().assert_outcome("shielded", &Seen::Cancelled);
    });
}

#[test]
fn law_32_an_enter_that_panics_lets_the_entered_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let contexts = vec![
            recorder.resource("entered").on_enter(Act::at_once()),
            recorder.resource("panics").on_enter(Act::suspend(1).then_panic()),
        ];
        let result = caught(with(join(contexts), async |_| Ok::<_, Error>(())));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: enter panics");
        settled().await;
        recorder.trace().assert_exited_once("entered");
    });
}

#[test]
fn law_32_dropped_half_entered_the_entered_exit_in_the_background() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let contexts = (
            recorder.resource("entered").on_enter(Act::at_once()),
            recorder.resource("entering").on_enter(Act::suspend(3)),
        );
        drop_at(1, with(join(contexts), async |_| Ok::<_, Error>(()))).await;
        settled().await;
        recorder.trace().assert_outcome("entered", &Seen::Cancelled);
        recorder.trace().assert_never_entered("entering");
    });
}

#[test]
fn law_32_what_goes_wrong_with_those_exits_is_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let contexts = vec![
            recorder.resource("entered").on_enter(Act::at_once()).on_exit(Act::suspend(1).then_fail()),
            recorder.resource("fails").on_enter(Act::suspend(1).then_fail()),
        ];
        let result = with(join(contexts), async |_| Ok::<_, Error>(())).await;
        assert!(matches!(&result, Err(Error::Fault(fault)) if fault.message() == "enter fails"));
        let found = reports.all();
        assert!(matches!(&found[..], [incident] if incident.kind == IncidentKind::ExitFailed), "{found:?}");
        assert!(found[0].message.contains("exit entered"), "{found:?}");
    });
}

#[test]
fn law_33_the_exits_run_concurrently_and_see_the_same_outcome() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = |name: &str| recorder.resource(name).on_exit(Act::suspend(3));
        let fault = Fault::new("body");
        let result =
            with(join((slow("a"), slow("b"), slow("c"))), async |_| Err::<(), Error>(fault.clone().into()));
        assert!(matches!(result.await, Err(Error::Fault(error)) if error == fault));
        let told = "failed: Fault(body)";
        recorder.trace().assert_order([
            &format!("exit a: {told}"),
            &format!("exit b: {told}"),
            &format!("exit c: {told}"),
            "exited a",
            "exited b",
            "exited c",
        ]);
    });
}

#[test]
fn law_33_b138_each_outcome_reaches_all() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(join((recorder.resource("a"), recorder.resource("a"))), async |_| Ok::<_, Error>(()))
            .await
            .unwrap();
        recorder.trace().assert_outcome("a", &Seen::Completed);
        let both = join(vec![recorder.resource("b"), recorder.resource("b")]);
        drop_at(2, with(both, async |_| Ok::<_, Error>(recorder.step("body").await?))).await;
        settled().await;
        recorder.trace().assert_outcome("b", &Seen::Cancelled);
        let both = join((recorder.resource("c"), recorder.resource("c")));
        let body = async |_: &mut _| -> Result<(), Error> { panic_quietly("body") };
        caught(with(both, body)).await.unwrap_err();
        recorder.trace().assert_outcome("c", &Seen::Panicked("injected panic: body".to_owned()));
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_33_all_exits_run_and_their_errors_come_as_a_list() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fails = |name: &str| recorder.resource(name).on_exit(Act::suspend(1).then_fail());
        let one = with(join((fails("a"), recorder.resource("b"))), async |_| Ok::<_, Error>(())).await;
        assert!(
            matches!(&one, Err(Error::Exits(ExitErrors::One(fault))) if fault.message() == "exit a"),
            "{one:?}"
        );
        let two =
            with(join(vec![fails("c"), recorder.resource("d"), fails("e")]), async |_| Ok::<_, Error>(()));
        let Err(Error::Exits(errors)) = two.await else { panic!("two exits fail") };
        assert_eq!(errors.to_string(), "2 went wrong; exit c; exit e");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_33_an_exit_that_panics_keeps_the_others_from_nothing() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let panics = recorder.resource("a").on_exit(Act::at_once().then_panic());
        let result = caught(with(join((panics, recorder.resource("b"))), async |_| Ok::<_, Error>(())));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: exit a");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_32_law_33_everywhere() {
    let make = |recorder: Recorder| async move {
        let three = (recorder.resource("a"), shield(recorder.resource("b")), recorder.resource("c"));
        with(join(three), async |_| Ok::<_, Error>(recorder.step("body").await?)).await
    };
    assert!(Proof::new().unordered().cancel_everywhere(make).suspensions >= 3);
    assert!(Proof::new().unordered().pairs().fail_everywhere(make).faults >= 100);
}

#[test]
fn b020_nothing_to_enter_is_a_context_too() {
    both_flavours(|_| async {
        let none = with(entered(None::<tenure_test::Recorded>), async |none| Ok::<_, Fault>(none.is_none()));
        assert!(none.await.unwrap());
        let recorder = Recorder::new();
        let some = async { Ok::<_, Fault>(Some(recorder.resource("a").await?)) };
        with(some, async |some| Ok::<_, Fault>(assert!(some.is_some()))).await.unwrap();
        recorder.trace().assert_exited_once("a");
        let empty = with(join(Vec::<tenure_test::Resource>::new()), async |none| Ok::<_, Error>(none.len()));
        assert_eq!(empty.await.unwrap(), 0);
    });
}

#[test]
fn law_32_an_enter_that_panics_exits_the_others_in_place_and_then_resumes() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let panics = async {
            suspend(2).await;
            if true {
                panic_quietly("the enter");
            }
            Ok::<_, Fault>(recorder.resource("never").await.unwrap())
        };
        let shielded = shield(recorder.resource("shielded").on_enter(Act::suspend(9)).on_exit(Act::suspend(2)));
        let a = recorder.resource("a").on_exit(Act::suspend(3));
        let payload =
            caught(with(join((a, panics, shielded)), async |_| Ok::<_, Error>(()))).await.err().unwrap();
        assert_eq!(message(&*payload), "injected panic: the enter");
        recorder.note("the panic is out");
        recorder.trace().assert_order([
            "exit a: panicked: injected panic: the enter",
            "exited a",
            "the panic is out",
        ]);
        // Finished and exited, and awaited as well.
        recorder.trace().assert_order(["exited shielded", "the panic is out"]);
        settled().await;
    });
}
