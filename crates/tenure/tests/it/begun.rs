//! Law 13 c, d, e and law 18: who waits for whom when exits meet exits.

use std::sync::Arc;
use std::time::Duration;

use tenure::{
    AsyncExit, Closing, Ending, ExitStack, Held, Lender, Outcome, context, drain, entered, hold, released,
    with, with_stack,
};
use tenure_test::{Act, Fault, Proof, Recorder, both_flavours, cancel_everywhere, hang, suspend};
use tokio::sync::{Mutex, Notify};

use crate::support::{LONG, drained, drop_at, settled, suspend_to};

/// A resource whose exit takes a lock, and suspends while it has it.
fn locking(
    recorder: &Recorder,
    name: &'static str,
    lock: &Arc<Mutex<()>>,
) -> impl AsyncExit<Error = Fault> + use<> {
    let (recorder, lock) = (recorder.clone(), Arc::clone(lock));
    Closing::of((), async move |()| {
        let _locked = lock.lock().await;
        recorder.note(format!("{name} exits"));
        suspend(3).await;
        recorder.note(format!("{name} exited"));
        Ok::<_, Fault>(())
    })
}

/// A resource with another in a field, and what its exit does with it.
struct Session<R: AsyncExit> {
    inner: Option<Held<R>>,
    recorder: Recorder,
    how: How,
    told: Arc<Notify>,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Drop,
    Close,
    DropAndWait,
    Drain,
}

impl<R: AsyncExit<Error = Fault>> AsyncExit for Session<R> {
    type Error = Fault;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Fault> {
        self.recorder.note(format!("session exits: {outcome:?}"));
        let inner = self.inner.take();
        match (self.how, inner) {
            (How::Close, Some(inner)) => inner.close().await?,
            (How::DropAndWait, inner) => {
                drop(inner);
                self.told.notified().await;
            }
            (How::Drain, inner) => {
                drop(inner);
                let report = drain(LONG).await;
                self.recorder.note(format!("drained {}", report.ended));
            }
            (How::Drop | How::Close, inner) => drop(inner),
        }
        self.recorder.note("session returns");
        Ok(())
    }
}

fn session<R: AsyncExit>(recorder: &Recorder, inner: Held<R>, how: How) -> Session<R> {
    Session { inner: Some(inner), recorder: recorder.clone(), how, told: Arc::default() }
}

#[test]
fn law_13d_a_begun_exit_is_not_put_behind_a_younger_guard_that_needs_its_lock() {
    let make = |recorder: Recorder| async move {
        let lock = Arc::default();
        let older = Held::new(locking(&recorder, "older", &lock));
        let _younger = Held::new(locking(&recorder, "younger", &lock));
        older.close().await
    };
    assert!(cancel_everywhere(make).suspensions >= 3);
    // In a body, and in two branches of a join.
    let in_a_body = move |recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| make(recorder.clone()).await).await
    };
    assert!(cancel_everywhere(in_a_body).suspensions >= 4);
    let in_branches = move |recorder: Recorder| async move {
        let lock = Arc::default();
        let branch = |name| {
            with(entered(locking(&recorder, name, &lock)), async |_| {
                suspend(1).await;
                Ok::<_, Fault>(())
            })
        };
        tokio::try_join!(branch("one"), branch("two")).map(drop)
    };
    assert!(cancel_everywhere(in_branches).suspensions >= 4);
}

#[test]
fn law_13c_a_thousand_branches_exit_side_by_side() {
    both_flavours(|_| async {
        let begun = tokio::time::Instant::now();
        let slow = || {
            let ten_ms = async |()| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok::<_, Fault>(())
            };
            with(entered(Closing::of((), ten_ms)), async |_| hang::<Result<(), Fault>>().await)
        };
        let branches = futures_util::future::join_all((0..1_000).map(|_| slow()));
        drop_at(1, branches).await;
        assert_eq!(drained().await.ended, 1_000);
        assert!(begun.elapsed() < Duration::from_secs(1), "one after the other: {:?}", begun.elapsed());
    });
}

#[test]
fn law_13e_a_with_returns_when_what_its_exit_dropped_has_exited() {
    let make = |recorder: Recorder| async move {
        let inner = hold(recorder.resource("inner").on_exit(Act::suspend(4))).await?;
        let result = with(entered(session(&recorder, inner, How::Drop)), async |_| Ok::<_, Fault>(())).await;
        recorder.note("left");
        result
    };
    assert!(cancel_everywhere(make).suspensions >= 2);
    both_flavours(|_| async move {
        let recorder = Recorder::new();
        make(recorder.clone()).await.unwrap();
        recorder.trace().assert_order(["session returns", "exited inner", "left"]);
    });
}

#[test]
fn law_13e_what_lies_below_on_a_stack_waits_for_what_an_exit_dropped() {
    for how in [How::Drop, How::Close, How::Drain] {
        let make = move |recorder: Recorder| async move {
            let slow = recorder.resource("inner").on_enter(Act::at_once()).on_exit(Act::suspend(4));
            with_stack(async |stack: &mut ExitStack<Fault>| {
                stack.enter(recorder.resource("below").on_enter(Act::at_once())).await?;
                let inner = hold(slow).await?;
                stack.push(session(&recorder, inner, how));
                recorder.step("body").await
            })
            .await
        };
        let report = cancel_everywhere(make);
        assert!(report.suspensions >= 3, "{how:?}: {report}");
        both_flavours(|_| async move {
            let recorder = Recorder::new();
            make(recorder.clone()).await.unwrap();
            recorder.trace().assert_order(["exited inner", "exit below: completed"]);
        });
    }
}

#[test]
fn law_13e_a_guard_in_a_local_of_a_generator_exits_before_what_is_around_it() {
    let make = |recorder: Recorder| async move {
        let inside = recorder.clone();
        let generator = context(async move |lender: Lender<()>| {
            let _local = hold(inside.resource("local").on_exit(Act::suspend(4))).await?;
            lender.lend(()).await;
            Ok::<_, crate::support::Error>(())
        });
        with(recorder.resource("outer"), async |_| {
            with(generator, async |_| Ok::<_, crate::support::Error>(recorder.step("body").await?)).await
        })
        .await
    };
    assert!(cancel_everywhere(make).suspensions >= 2);
    both_flavours(|_| async move {
        let recorder = Recorder::new();
        make(recorder.clone()).await.unwrap();
        recorder.trace().assert_order(["exited local", "exit outer: completed"]);
    });
}

#[test]
fn law_13e_what_a_released_value_owns_exits_before_what_is_around_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            let inner = hold(recorder.resource("inner").on_exit(Act::suspend(4))).await?;
            with(released(async { Ok::<_, Fault>(vec![inner]) }), async |_| Ok::<_, Fault>(())).await
        })
        .await
        .unwrap();
        recorder.trace().assert_nested("inner", "outer");
    });
}

/// The session's guard is older than the session, and an unrelated one lies between: dropped at each suspension, also of
/// the exits, none waits for ever.
#[test]
fn law_13_a_guard_in_a_field_that_its_owners_exit_closes_is_never_waited_for_in_a_circle() {
    for how in [How::Drop, How::Close, How::Drain] {
        // The inner one belongs to its owner: it is not a sibling of the one between any more.
        let report = Proof::new().unordered().cancel_everywhere(move |recorder: Recorder| async move {
            with(recorder.resource("outer"), async |_| {
                let inner = hold(recorder.resource("inner").on_exit(Act::suspend(2))).await?;
                let between = hold(recorder.resource("between").on_exit(Act::suspend(2))).await?;
                let owner = Held::new(session(&recorder, inner, how));
                drop(between);
                owner.close().await
            })
            .await
        });
        assert!(report.suspensions >= 5, "{how:?}: {report}");
    }
}

#[test]
fn law_13_an_exit_may_wait_for_a_signal_of_the_guard_it_has_dropped() {
    for is_cancelled in [false, true] {
        both_flavours(|_| async move {
            let recorder = Recorder::new();
            let told = Arc::new(Notify::new());
            let telling = Arc::clone(&told);
            let inner = Held::new(Closing::of((), async move |()| {
                telling.notify_one();
                Ok::<_, Fault>(())
            }));
            let session = Session { told, ..session(&recorder, inner, How::DropAndWait) };
            let whole = with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
                with(entered(session), async |_| if is_cancelled { hang().await } else { Ok::<_, Fault>(()) })
                    .await
            });
            if is_cancelled {
                drop_at(1, whole).await;
            } else {
                whole.await.unwrap();
            }
            settled().await;
            let outer = if is_cancelled { "exit outer: cancelled" } else { "exit outer: completed" };
            recorder.trace().assert_order(["session returns", outer]);
        });
    }
}

#[test]
fn law_18_a_drain_inside_an_exit_that_is_handed_over_leaves_out_what_has_come_to_wait_for_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let inside = recorder.clone();
        let begun = tokio::time::Instant::now();
        let older = hold(recorder.resource("older").on_exit(Act::suspend(1))).await.unwrap();
        let whole = with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
            let inner =
                hold(inside.resource("inner").on_enter(Act::at_once()).on_exit(Act::suspend(2))).await?;
            with(entered(session(&inside, inner, How::Drain)), async |_| Ok::<_, Fault>(())).await
        });
        drop_at(1, whole).await;
        drop(older);
        settled().await;
        assert!(begun.elapsed() < LONG, "the drain has waited out its limit");
        recorder.trace().assert_order(["exited inner", "session returns", "exit outer: cancelled"]);
    });
}

#[test]
fn law_18_two_exits_that_both_drain_do_not_wait_for_each_other() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let begun = tokio::time::Instant::now();
        for name in ["one", "two"] {
            let recorder = recorder.clone();
            let draining = Closing::of((), async move |()| {
                suspend(1).await;
                let _ = drain(LONG).await;
                recorder.note(format!("{name} returns"));
                Ok::<_, Fault>(())
            });
            drop_at(1, with(entered(draining), async |_| hang::<Result<(), Fault>>().await)).await;
        }
        settled().await;
        assert!(begun.elapsed() < LONG, "they have waited for each other");
        assert!(recorder.trace().contains("one returns") && recorder.trace().contains("two returns"));
    });
}

/// A guard of an outer body that is closed in an inner one still waits for its younger sibling there.
#[test]
fn law_13b_a_guard_closed_in_an_inner_body_waits_for_a_younger_one_of_the_outer_body() {
    let make = |recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let older = hold(recorder.resource("older").on_exit(Act::suspend(1))).await?;
            let younger = hold(recorder.resource("younger").on_exit(Act::suspend(5))).await?;
            drop(younger);
            with(recorder.resource("inner"), async |_| older.close().await).await
        })
        .await
    };
    // Dropped while it waits, it has left the outer body for good.
    assert!(Proof::new().unordered().cancel_everywhere(make).suspensions >= 2);
    both_flavours(|_| async move {
        let recorder = Recorder::new();
        make(recorder.clone()).await.unwrap();
        recorder.trace().assert_order(["exited younger", "exit older: completed", "exit inner: completed"]);
    });
}

#[test]
fn law_13b_a_guard_that_is_polled_in_place_holds_no_sibling_up() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let a = hold(recorder.resource("a").on_exit(Act::suspend(1))).await.unwrap();
        let b = hold(recorder.resource("b").on_exit(Act::suspend(9))).await.unwrap();
        let mut closing = Box::pin(b.close());
        suspend_to(1, closing.as_mut()).await;
        // What `select!` does between a close and something else.
        a.close().await.unwrap();
        closing.await.unwrap();
        recorder.trace().assert_order(["exited a", "exited b"]);
    });
}

#[test]
fn law_13b_a_body_that_goes_on_entering_and_dropping_does_not_hold_up_a_guard() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            let older = hold(recorder.resource("older")).await?;
            drop(hold(recorder.resource("younger").on_exit(Act::suspend(3))).await?);
            drop(older);
            for _ in 0..10_000 {
                drop(hold(recorder.resource("later").on_exit(Act::suspend(9))).await?);
                tokio::task::yield_now().await;
                if recorder.trace().exited("older") == 1 {
                    return Ok(());
                }
            }
            Err(Fault::new("the older guard was held up"))
        })
        .await
        .unwrap();
    });
}

#[test]
fn law_13_a_close_that_waits_and_is_dropped_is_told_cancelled_and_keeps_its_turn() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let older = hold(recorder.resource("older")).await.unwrap();
        drop(hold(recorder.resource("younger").on_exit(Act::suspend(5))).await.unwrap());
        drop_at(1, older.exit(Ending::Completed)).await;
        settled().await;
        recorder.trace().assert_order(["exited younger", "exit older: cancelled"]);
    });
}

#[test]
fn law_21_an_exit_that_has_not_begun_when_its_caller_is_dropped_commits_nothing() {
    // A body that completed, whose exit waits for what the body left behind.
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let waiting = with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
            let left = recorder.resource("left").on_enter(Act::at_once()).on_exit(Act::suspend(9));
            drop(hold(left).await?);
            Ok::<_, Fault>(())
        });
        drop_at(1, waiting).await;
        settled().await;
        recorder.trace().assert_order(["exited left", "exit outer: cancelled"]);
    });
}

#[test]
fn law_13_ten_thousand_siblings_exit_in_order_and_in_linear_time() {
    both_flavours(|_| async {
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let guards: Vec<_> = (0..10_000)
            .map(|number| {
                let count = Arc::clone(&count);
                Held::new(Closing::of((), async move |()| {
                    suspend(1).await;
                    let before = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if before == 9_999 - number {
                        Ok(())
                    } else {
                        Err(Fault::new(format!("{number} after {before}")))
                    }
                }))
            })
            .collect();
        let whole = with(entered(Closing::of((), async |()| Ok::<_, Fault>(()))), async |_| {
            let _guards = guards;
            hang::<Result<(), Fault>>().await
        });
        drop_at(1, whole).await;
        let report = drained().await;
        assert!(report.is_clean() && report.ended == 10_001, "{report}");
    });
}
