//! Laws 22 to 27: the exit stack. Law 21 is in `stack_by_hand`.

use tenure::{
    AsyncExit, Closing, Ending, ExitError, ExitErrors, ExitStack, IncidentKind, Released, Verdict, open, with,
    with_stack,
};
use tenure_test::{
    Act, Fault, Recorder, Seen, both_flavours, cancel_everywhere, fail_everywhere, hang, suspend,
};

use crate::support::{Reports, caught, drained, drop_at, message, settled};

fn note(recorder: &Recorder, text: &'static str) -> impl FnOnce() + Send + use<> {
    let recorder = recorder.clone();
    move || recorder.note(text)
}

#[test]
fn law_21_b069_an_empty_stack_passes_value_and_error() {
    both_flavours(|_| async {
        assert_eq!(with_stack(async |_| Ok::<_, Fault>(7)).await, Ok(7));
        let fault = Fault::new("body");
        assert_eq!(with_stack(async |_| Err::<(), _>(fault.clone())).await, Err(fault));
        assert!(ExitStack::<Fault>::new().close().await.is_ok());
    });
}

#[test]
fn law_21_b076_entered_values_are_usable_at_once_and_exited_in_reverse() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let names = with_stack(async |stack| {
            let a = stack.enter(recorder.resource("a")).await?;
            let b = stack.enter(recorder.resource("b")).await?;
            Ok::<_, Fault>(format!("{}{}{}", a.name(), b.name(), a.name()))
        });
        assert_eq!(names.await.unwrap(), "aba");
        recorder.trace().assert_exactly(["enter a", "enter b", "exit b: completed", "exit a: completed"]);
    });
}

#[test]
fn law_22_all_kinds_share_one_strict_order() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.defer(note(&recorder, "1 sync"));
        stack.enter(recorder.resource("2").on_exit(Act::suspend(3))).await.unwrap();
        stack.defer_async({
            let recorder = recorder.clone();
            async move || {
                suspend(2).await;
                recorder.note("3 async");
                Ok(())
            }
        });
        stack.defer_with_outcome({
            let recorder = recorder.clone();
            move |outcome| {
                Box::pin(async move {
                    suspend(2).await;
                    recorder.note(format!("4 sees {}", Seen::from(outcome)));
                    Ok(())
                })
            }
        });
        stack.enter_recovering(recorder.resource("5").recovering(Verdict::Propagate)).await.unwrap();
        stack.push(recorder.resource("6").await.unwrap());
        stack.push_recovering(recorder.resource("7").recovering(Verdict::Propagate).await.unwrap());
        stack.push(Closing::of(recorder.clone(), async |recorder: Recorder| {
            recorder.note("8 closing");
            Ok::<_, Fault>(())
        }));
        stack.defer(note(&recorder, "9 sync"));
        assert_eq!(stack.len(), 9);
        let ending = Ending::failed(Fault::new("work"));
        assert_eq!(stack.close_with(ending).await.unwrap(), Verdict::Propagate);
        recorder.trace().assert_order([
            "9 sync",
            "8 closing",
            "exit 7: failed: work",
            "exited 7",
            "exit 6: failed: work",
            "exited 6",
            "exit 5: failed: work",
            "exited 5",
            "4 sees failed: work",
            "3 async",
            "exit 2: failed: work",
            "exited 2",
            "1 sync",
        ]);
    });
}

#[test]
fn law_22_b075_the_last_pushed_sees_the_error_first_and_recovers_for_those_below() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("below")).await.unwrap();
        stack.enter_recovering(recorder.resource("recovers").recovering(Verdict::Recover)).await.unwrap();
        stack.enter(recorder.resource("above")).await.unwrap();
        assert_eq!(stack.close_with(Ending::failed(Fault::new("work"))).await.unwrap(), Verdict::Recover);
        recorder.trace().assert_order([
            "exit above: failed: work",
            "exit recovers: failed: work",
            "exit below: completed",
        ]);
    });
}

#[test]
fn b051_a_recovering_exit_below_recovers_from_the_error_of_one_above() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter_recovering(recorder.resource("recovers").recovering(Verdict::Recover)).await.unwrap();
        stack.enter(recorder.resource("fails").on_exit(Act::suspend(1).then_fail())).await.unwrap();
        stack.close().await.unwrap();
        recorder.trace().assert_outcome("recovers", &Seen::Failed("exit fails".to_owned()));
    });
}

#[test]
fn law_23_b078_an_enter_that_fails_registers_nothing_and_the_rest_is_exited() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = with_stack(async |stack: &mut ExitStack<Fault>| {
            stack.enter(recorder.resource("a")).await?;
            let refused = stack.enter(recorder.resource("b").on_enter(Act::suspend(1).then_fail())).await;
            assert_eq!((refused.is_err(), stack.len()), (true, 1));
            let broken = stack.enter(recorder.resource("c").on_enter(Act::suspend(1).then_panic()));
            assert!(caught(broken).await.is_err());
            assert_eq!(stack.len(), 1);
            stack.enter(recorder.resource("d")).await?;
            Ok(())
        });
        result.await.unwrap();
        recorder.trace().assert_exactly([
            "enter a",
            "enter b failed",
            "enter c panicked",
            "enter d",
            "exit d: completed",
            "exit a: completed",
        ]);
    });
}

#[test]
fn law_23_an_enter_that_is_dropped_registers_nothing() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        drop_at(1, stack.enter(recorder.resource("a"))).await;
        assert!(stack.is_empty());
        stack.close().await.unwrap();
        recorder.trace().assert_exactly(["enter a dropped"]);
    });
}

#[test]
fn law_24_b105_pop_all_moves_everything_in_order_and_leaves_the_source_usable() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let mut source = ExitStack::<Fault>::new();
        source.enter(recorder.resource("a")).await.unwrap();
        source.enter(recorder.resource("b")).await.unwrap();
        let moved = source.pop_all();
        assert_eq!((source.len(), moved.len()), (0, 2));
        source.enter(recorder.resource("c")).await.unwrap();
        source.close().await.unwrap();
        // The transfer is the only owner: nothing of it has gone with the source.
        recorder.trace().assert_exactly(["enter a", "enter b", "enter c", "exit c: completed"]);
        moved.enter(recorder.resource("d")).await.unwrap();
        moved.close().await.unwrap();
        recorder.trace().assert_all_exited_once();
        recorder.trace().assert_order(["exit d: completed", "exit b: completed", "exit a: completed"]);
    });
}

#[test]
fn law_24_what_a_function_keeps_survives_its_stack() {
    let report = cancel_everywhere(|recorder| async move {
        let kept = with_stack(async |stack| {
            stack.enter(recorder.resource("a")).await?;
            stack.enter(recorder.resource("b")).await?;
            Ok::<_, Fault>(stack.pop_all())
        });
        let kept = kept.await?;
        recorder.step("use").await?;
        assert_eq!(kept.len(), 2);
        kept.close().await.map_err(|_| Fault::new("no exit fails"))
    });
    assert_eq!(report.suspensions, 5);
}

#[test]
fn law_25_b059_one_failure_comes_out_as_it_is() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a")).await.unwrap();
        stack.enter(recorder.resource("b").on_exit(Act::suspend(1).then_fail())).await.unwrap();
        stack.enter(recorder.resource("c")).await.unwrap();
        let error = stack.close().await.unwrap_err();
        assert!(matches!(&error, ExitErrors::One(fault) if fault.message() == "exit b"), "{error:?}");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_25_b037_b055_several_failures_come_out_as_an_ordered_list() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let stack = ExitStack::<Fault>::new();
        for name in ["a", "b", "c"] {
            stack.enter(recorder.resource(name).on_exit(Act::suspend(1).then_fail())).await.unwrap();
        }
        stack.enter(recorder.resource("d")).await.unwrap();
        let error = stack.close().await.unwrap_err();
        assert_eq!(error.to_string(), "3 went wrong; exit c; exit b; exit a");
        let ExitErrors::Several(errors) = error else { panic!("{error:?}") };
        let order: Vec<_> =
            errors.iter().map(|error| std::error::Error::source(error).unwrap().to_string()).collect();
        assert_eq!(order, ["exit c", "exit b", "exit a"]);
        recorder.trace().assert_all_exited_once();
        reports.assert(&[]);
    });
}

#[test]
fn law_25_b065_panics_keep_no_exit_from_running() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a").on_exit(Act::suspend(1).then_fail())).await.unwrap();
        stack.defer(|| tenure_test::panic_quietly("sync"));
        stack.enter(recorder.resource("b").on_exit(Act::suspend(1).then_panic())).await.unwrap();
        let payload = caught(stack.close()).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: exit b");
        recorder.trace().assert_all_exited_once();
        recorder.trace().assert_outcome("a", &Seen::Panicked("injected panic: exit b".to_owned()));
        reports.assert(&[
            (IncidentKind::ExitPanicked, "injected panic: sync"),
            (IncidentKind::ExitFailed, "exit a"),
        ]);
    });
}

#[test]
fn law_25_a_panic_after_a_failure_is_in_the_list() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a").on_exit(Act::suspend(1).then_panic())).await.unwrap();
        stack.enter(recorder.resource("b").on_exit(Act::suspend(1).then_fail())).await.unwrap();
        let Err(ExitErrors::Several(errors)) = stack.close().await else { panic!("two went wrong") };
        assert!(matches!(&errors[0], ExitError::Failed(fault) if fault.message() == "exit b"));
        assert!(matches!(&errors[1], ExitError::Panicked(text) if text == "injected panic: exit a"));
    });
}

#[test]
fn law_25_a_drop_that_panics_keeps_no_exit_from_running() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a")).await.unwrap();
        stack.enter(recorder.resource("b").on_drop(Act::at_once().then_panic())).await.unwrap();
        let payload = caught(stack.close()).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: drop b");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_26_ten_thousand_entries_need_no_deep_stack_and_one_poll_each() {
    const ENTRIES: u64 = 10_000;
    // A recursion of that depth would need megabytes.
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let closed = small.spawn(|| {
        both_flavours(|_| async {
            let stack = ExitStack::<Fault>::new();
            for _ in 0..ENTRIES {
                stack.defer_async(async || {
                    suspend(1).await;
                    Ok(())
                });
            }
            let mut close = Box::pin(stack.close());
            let mut polls = 0;
            std::future::poll_fn(|task| {
                polls += 1;
                close.as_mut().poll(task)
            })
            .await
            .unwrap();
            assert_eq!(polls, ENTRIES + 1);
            assert_eq!(tenure::counters().exited, ENTRIES);

            // Dropped, too.
            let dropped = ExitStack::<Fault>::new();
            for _ in 0..ENTRIES {
                dropped.defer(|| ());
            }
            drop(dropped);
            settled().await;
            assert_eq!(tenure::counters().exited, 2 * ENTRIES);
        });
    });
    closed.unwrap().join().unwrap();
}

#[test]
fn law_27_dropped_unclosed_it_is_handed_over() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a").on_exit(Act::suspend(3))).await.unwrap();
        stack.enter(recorder.resource("b").on_exit(Act::suspend(3))).await.unwrap();
        drop(stack);
        let report = drained().await;
        assert!(report.is_clean() && report.ended == 1, "{report}");
        recorder.trace().assert_exactly(["enter a", "enter b", "exit b: cancelled", "exit a: cancelled"]);
        recorder.trace().assert_lifo();
    });
}

#[test]
fn law_27_what_fails_then_is_reported_under_its_own_place() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a").on_exit(Act::suspend(1).then_fail())).await.unwrap();
        let line = line!() - 1;
        stack.enter(recorder.resource("b").on_exit(Act::suspend(1).then_panic())).await.unwrap();
        drop(stack);
        assert_eq!(drained().await.incidents.len(), 2);
        reports.assert(&[
            (IncidentKind::ExitPanicked, "injected panic: exit b"),
            (IncidentKind::ExitFailed, "exit a"),
        ]);
        assert_eq!(reports.all()[1].location.line(), line);
    });
}

#[test]
fn law_27_cancelled_and_failed_everywhere() {
    let make = |recorder: Recorder| async move {
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a")).await?;
        stack.enter(recorder.resource("b")).await?;
        stack.defer(note(&recorder, "deferred"));
        recorder.step("body").await?;
        stack.close().await.map_err(|errors| errors.into_first().unwrap_or_else(|| Fault::new("panics")))
    };
    assert_eq!(cancel_everywhere(make).suspensions, 5);
    assert_eq!(fail_everywhere(make).points, 9);
}

#[test]
fn law_27_a_stack_in_a_body_that_goes_on_is_a_child() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            let stack = ExitStack::<Fault>::new();
            stack.enter(recorder.resource("on the stack").on_exit(Act::suspend(5))).await?;
            drop(stack);
            Ok::<_, Fault>(())
        })
        .await
        .unwrap();
        recorder.trace().assert_nested("on the stack", "outer");
    });
}

#[test]
fn b092_b093_values_are_adopted_with_a_function_that_closes_them() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        let value = stack.push(Closing::of(vec![1], {
            let recorder = recorder.clone();
            async move |value: Vec<u8>| {
                recorder.note(format!("close {value:?}"));
                Ok::<_, Fault>(())
            }
        }));
        value.push(2);
        let lent = stack.push(Released::<_, Fault>::of(5));
        **lent += 1;
        assert_eq!(**lent, 6);
        stack.close().await.unwrap();
        recorder.trace().assert_exactly(["close [1, 2]"]);
    });
}

#[test]
fn what_is_on_a_stack_is_seen_one_by_one() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Fault>::new();
        stack.enter(recorder.resource("a")).await.unwrap();
        stack.defer(|| ());
        let tree = open();
        let names: Vec<_> = tree.iter().map(|tenure| tenure.name).collect();
        assert_eq!((tree.len(), names[0]), (3, "ExitStack"), "{tree}");
        assert!(tree.iter().skip(1).all(|tenure| tenure.parent == Some(tree.iter().next().unwrap().id)));
        stack.close().await.unwrap();
        assert!(open().is_empty());
    });
}

#[test]
fn b040_a_stack_on_a_stack_exits_inside_out() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let (outer, inner) = (ExitStack::<Fault>::new(), ExitStack::<Fault>::new());
        outer.enter(recorder.resource("a")).await.unwrap();
        inner.enter(recorder.resource("b")).await.unwrap();
        inner.enter(recorder.resource("c")).await.unwrap();
        outer.push(inner);
        outer.enter(recorder.resource("d")).await.unwrap();
        outer.close().await.unwrap();
        recorder.trace().assert_order(["exited d", "exited c", "exited b", "exited a"]);
        assert_eq!(tenure::counters().handed_over, 0);
    });
}

#[test]
fn law_12_a_stack_inside_a_with_goes_on_from_its_half_polled_exit() {
    let report = cancel_everywhere(|recorder| async move {
        with(recorder.resource("outer"), async |_| {
            with_stack(async |stack: &mut ExitStack<Fault>| {
                stack.enter(recorder.resource("a").on_exit(Act::suspend(3))).await?;
                stack.enter(recorder.resource("b").on_exit(Act::suspend(3))).await?;
                Ok(())
            })
            .await
        })
        .await
    });
    assert_eq!(report.suspensions, 1 + 2 + 6 + 1);
}

/// A resource whose exit needs another that was entered before it.
struct Dependent(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl AsyncExit for Dependent {
    type Error = Fault;

    async fn exit(self, _: tenure::Outcome<'_>) -> Result<(), Fault> {
        suspend(2).await;
        assert!(self.0.load(std::sync::atomic::Ordering::SeqCst), "what it stands on is gone");
        Ok(())
    }
}

#[test]
fn b038_what_an_exit_stands_on_is_still_alive() {
    both_flavours(|_| async {
        let alive = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let stack = ExitStack::<Fault>::new();
        let ends = alive.clone();
        stack.defer(move || ends.store(false, std::sync::atomic::Ordering::SeqCst));
        stack.push(Dependent(alive));
        stack.close().await.unwrap();
    });
}

#[test]
fn a_body_that_hangs_with_a_stack_is_dropped_in_order() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let future = with_stack(async |stack: &mut ExitStack<Fault>| {
            stack.enter(recorder.resource("a").on_enter(Act::at_once())).await?;
            stack.enter(recorder.resource("b").on_enter(Act::at_once())).await?;
            hang::<Result<(), Fault>>().await
        });
        drop_at(1, future).await;
        settled().await;
        recorder.trace().assert_exactly(["enter a", "enter b", "exit b: cancelled", "exit a: cancelled"]);
    });
}
