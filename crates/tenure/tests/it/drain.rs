//! Laws 16 and 18: waiting for what runs in the background, and exits that do so themselves.

use std::time::Duration;

use tenure::{
    AsyncExit, ExitErrors, ExitStack, IncidentKind, Options, Outcome, Phase, context, drain, hold, open,
    shield, task_group, with,
};
use tenure_test::{Act, Fault, Recorder, both_flavours, hang, paused, suspend};
use tokio::time::{Instant, sleep};

use crate::support::{Error, LONG, drained, drop_at, entered, settled};

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn law_16_it_waits_for_every_exit_that_was_handed_over() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        for number in 1..=20 {
            let slow = recorder.resource(format!("{number}")).on_exit(Act::suspend(number));
            drop(hold(slow).await.unwrap());
        }
        let report = drain(LONG).await;
        assert!(report.is_clean() && report.ended == 20, "{report}");
        recorder.trace().assert_all_exited_once();
        assert!(drain(LONG).await.ended == 0, "what was told is not told again");
    });
}

#[test]
fn law_16_those_handed_over_meanwhile_are_waited_for_too() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let held = hold(recorder.resource("late").on_exit(Act::suspend(5))).await.unwrap();
        let slow = recorder.resource("slow").on_exit(Act::suspend(9));
        drop(hold(slow).await.unwrap());
        let dropping = tokio::spawn(async move {
            suspend(3).await;
            drop(held);
        });
        let report = drain(LONG).await;
        // On one thread the drop comes before the end of the slow one; on several it may come after.
        dropping.await.unwrap();
        let later = drain(LONG).await;
        assert_eq!(report.ended + later.ended, 2);
        recorder.trace().assert_all_exited_once();
    });
    // An exit that hands over, which hands over.
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop(hold(entered(HandsOver { recorder: recorder.clone(), more: 5 })).await.unwrap());
        assert_eq!(drained().await.ended, 6);
        recorder.trace().assert_exactly(["exit 5", "exit 4", "exit 3", "exit 2", "exit 1", "exit 0"]);
    });
}

/// Its exit hands another over, after a while.
struct HandsOver {
    recorder: Recorder,
    more: u32,
}

impl AsyncExit for HandsOver {
    type Error = Fault;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
        suspend(3).await;
        self.recorder.note(format!("exit {}", self.more));
        if let Some(more) = self.more.checked_sub(1) {
            drop(hold(entered(Self { recorder: self.recorder, more })).await?);
        }
        Ok(())
    }
}

#[test]
fn law_16_the_report_says_what_failed_what_ran_out_of_time_and_what_is_open() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let options = |name| Options::new().name(name);
        let fails = recorder.resource("fails").on_exit(Act::suspend(1).then_fail());
        drop(options("fails").hold(async { Ok::<_, Error>(fails.await?) }).await.unwrap());
        let panics = recorder.resource("panics").on_exit(Act::suspend(1).then_panic());
        drop(options("panics").hold(async { Ok::<_, Error>(panics.await?) }).await.unwrap());
        settled_all_but(&recorder).await;
        let slow = recorder.resource("slow").on_exit(Act::at_once().then_hang());
        drop(options("slow").exit_limit(SHORT / 5).hold(async { Ok::<_, Error>(slow.await?) }).await.unwrap());
        let report = drain(LONG).await;
        let kinds = [IncidentKind::ExitFailed, IncidentKind::ExitPanicked, IncidentKind::ExitTimedOut];
        for (kind, name) in kinds.into_iter().zip(["fails", "panics", "slow"]) {
            let names: Vec<_> = report.of_kind(kind).map(|incident| incident.name).collect();
            assert_eq!(names, [name], "{report}");
        }
        assert_eq!((report.ended, report.open.len()), (3, 0));
        assert!(!report.is_clean());
        let text = report.to_string();
        assert!(text.contains("exit failed: fails, entered at crates/tenure/tests/it/drain.rs:"), "{text}");
    });
}

/// Lets the exits that fail at once end, without taking their report.
async fn settled_all_but(recorder: &Recorder) {
    while !recorder.trace().contains("drop fails") || !recorder.trace().contains("drop panics") {
        tokio::task::yield_now().await;
    }
}

#[test]
fn law_16_at_the_deadline_it_says_what_is_open_by_name_location_age_and_phase() {
    both_flavours(|flavour| async move {
        let recorder = Recorder::new();
        let gate = std::sync::Arc::new(tokio::sync::Notify::new());
        let younger = {
            let gate = gate.clone();
            tenure::Closing::of((), async move |()| {
                gate.notified().await;
                Ok::<_, Fault>(())
            })
        };
        let older = hold(recorder.resource("older")).await.unwrap();
        let line = line!() + 1;
        let hanging = Options::new().name("hanging").hold(std::future::ready(Ok::<_, Error>(younger))).await;
        drop((older, hanging));
        let begun = Instant::now();
        let report = drain(SHORT).await;
        assert!(begun.elapsed() >= SHORT);
        let open: Vec<_> = report.open.iter().collect();
        assert_eq!((open.len(), report.ended), (2, 0), "{report}");
        assert_eq!((open[0].phase, open[1].phase), (Phase::Waiting, Phase::Exiting), "{report}");
        assert!(open.iter().all(|tenure| tenure.handed_over));
        assert_eq!((open[1].name, open[1].location.line()), ("hanging", line));
        assert!(open[1].location.file().ends_with("drain.rs"));
        // Under a paused clock a limit of any length passes in no time.
        if flavour == tenure_test::Flavour::MultiThread {
            assert!(open[1].age >= SHORT, "{report}");
        }
        assert!(report.to_string().contains("hanging, entered at"), "{report}");
        gate.notify_one();
        assert_eq!(drained().await.ended, 2);
    });
}

#[test]
fn law_16_what_bodies_and_guards_hold_is_not_waited_for() {
    paused().block_on(async {
        let recorder = Recorder::new();
        let held = hold(recorder.resource("a")).await.unwrap();
        let begun = Instant::now();
        assert!(drain(LONG).await.is_clean());
        assert_eq!((begun.elapsed(), open().len()), (Duration::ZERO, 1));
        held.close().await.unwrap();
    });
}

#[test]
fn law_16_a_drain_that_is_dropped_has_taken_nothing() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop(hold(recorder.resource("a").on_exit(Act::suspend(3).then_fail())).await.unwrap());
        drop_at(1, drain(LONG)).await;
        let report = drained().await;
        assert_eq!((report.ended, report.incidents.len()), (1, 1));
    });
}

#[test]
fn law_16_a_shielded_enter_is_waited_for_with_its_exit() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = recorder.resource("a").on_enter(Act::suspend(9)).on_exit(Act::suspend(9));
        drop_at(1, hold(shield(slow))).await;
        assert_eq!(drained().await.ended, 2);
        recorder.trace().assert_all_exited_once();
    });
}

/// Its exit waits for everything else.
struct Drains(Recorder);

impl AsyncExit for Drains {
    type Error = Fault;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
        suspend(1).await;
        let begun = Instant::now();
        let report = drain(LONG).await;
        // With a real clock a deadlock would last for an hour, with a paused one it takes one.
        assert!(begun.elapsed() < LONG, "it waited for itself: {report}");
        self.0.note("drained");
        Ok(())
    }
}

#[test]
fn law_18_an_exit_that_drains_inline() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            with(entered(Drains(recorder.clone())), async |_| {
                drop(hold(recorder.resource("other").on_exit(Act::suspend(5))).await?);
                Ok::<_, Fault>(())
            })
            .await
        })
        .await
        .unwrap();
        recorder.trace().assert_order(["exited other", "drained", "exit outer: completed"]);
    });
}

#[test]
fn law_18_an_exit_that_drains_after_a_hand_over() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop_at(1, with(entered(Drains(recorder.clone())), async |_| hang::<Result<(), Fault>>().await)).await;
        assert!(drained().await.open.is_empty());
        recorder.trace().assert_exactly(["drained"]);
    });
}

#[test]
fn law_18_a_handed_over_exit_that_drains_while_others_wait_for_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let nested = with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
            let _older = hold(recorder.resource("older").on_enter(Act::at_once())).await?;
            with(entered(Drains(recorder.clone())), async |_| {
                let _inner =
                    hold(recorder.resource("inner").on_enter(Act::at_once()).on_exit(Act::suspend(5))).await?;
                hang::<Result<(), Fault>>().await
            })
            .await
        });
        drop_at(1, nested).await;
        settled().await;
        recorder.trace().assert_order(["exited inner", "drained", "exited older", "exited outer"]);
    });
}

#[test]
fn law_18_a_drain_waits_for_what_is_not_behind_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let other = hold(recorder.resource("other").on_exit(Act::suspend(9))).await.unwrap();
        let drains = hold(entered(Drains(recorder.clone()))).await.unwrap();
        // Another task's: no sibling, so nobody waits for anybody.
        tokio::spawn(async move { drop(other) }).await.unwrap();
        drop(drains);
        settled().await;
        recorder.trace().assert_order(["exited other", "drained"]);
    });
}

#[test]
fn law_18_an_entry_of_a_stack_that_drains() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("below")).await.unwrap();
        stack.push(Drains(recorder.clone()));
        drop(stack);
        settled().await;
        recorder.trace().assert_order(["drained", "exited below"]);
    });
}

#[test]
fn law_18_b099_an_exit_that_closes_what_it_is_part_of() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let token = tenure::CancelToken::new();
        // The exit asks its own scope to stop, and waits for what it enters itself.
        let closing = {
            let (token, recorder) = (token.clone(), recorder.clone());
            tenure::Closing::of((), async move |()| {
                token.cancel();
                with(recorder.resource("inside the exit"), async |_| Ok::<_, Fault>(())).await?;
                drop(hold(recorder.resource("handed over by the exit")).await?);
                Ok::<_, Fault>(())
            })
        };
        let result = Options::new()
            .cancel_on(&token)
            .with(std::future::ready(Ok::<_, Error>(closing)), async |_| Ok::<_, Error>(()));
        result.await.unwrap();
        settled().await;
        recorder.trace().assert_all_exited_once();
        assert_eq!(recorder.trace().entered_in_all(), 2);
    });
}

#[test]
fn law_18_a_generator_that_drains_after_its_lend() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let noting = recorder.clone();
        let drains = context(async move |lender: tenure::Lender<()>| {
            lender.lend(()).await;
            drain(LONG).await.open.is_empty().then_some(()).ok_or(Fault::new("it waited for itself"))?;
            noting.note("drained");
            Ok::<_, Error>(())
        });
        drop_at(1, with(drains, async |_| hang::<Result<(), Error>>().await)).await;
        // It is open itself while it drains: what it says of that is not what counts here.
        settled().await;
        sleep(Duration::ZERO).await;
        assert!(tenure::counters().exited == 1);
    });
}

/// The drain looks before the group's exit has begun, which it has to leave out as soon as that waits for the child.
#[test]
fn law_18_a_drain_in_a_child_of_a_group_whose_exit_begins_later() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let whole = with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
            with(task_group(), async |group| {
                let drains = Drains(recorder.clone());
                group.spawn(async move {
                    drop(hold(entered(drains)).await?);
                    Ok(())
                });
                let slow = recorder.resource("slow").on_enter(Act::at_once()).on_exit(Act::suspend(3));
                let _slow = hold(slow).await.map_err(ExitErrors::One)?;
                Ok::<_, ExitErrors<Fault>>(())
            })
            .await
            .map_err(|_| Fault::new("group"))
        });
        drop_at(1, whole).await;
        settled().await;
        // On several threads the child may have drained before the other was entered.
        recorder.trace().assert_order(["drained", "exited outer"]);
        recorder.trace().assert_order(["exited slow", "exited outer"]);
    });
}
