//! Law 34: a task group as a context.

use std::time::Duration;

use tenure::{
    Closing, ExitErrors, ExitStack, IncidentKind, Options, Stopped, TaskGroup, entered, hold, join, task_group,
    with, with_stack,
};
use tenure_test::{Act, Fault, Proof, Recorder, Seen, both_flavours, hang, panic_quietly, paused, suspend};
use tokio::time::{Instant, sleep};

use crate::support::{Error, Reports, caught, drained, drop_at, message};

type Result<T = (), E = ExitErrors<Fault>> = std::result::Result<T, E>;

/// A body's end, with the error of a group.
fn done<T>(value: T) -> Result<T> {
    Ok(value)
}

/// A child that holds a resource for ever.
fn holding(recorder: &Recorder, name: &'static str) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
    let recorder = recorder.clone();
    async move {
        let slow = recorder.resource(name).on_enter(Act::at_once()).on_exit(Act::suspend(3));
        with(slow, async |_| hang::<Result<(), Fault>>().await).await
    }
}

/// Lets the children run until a resource of this name is entered.
async fn until_entered(recorder: &Recorder, name: &str) {
    while recorder.trace().entered(name) == 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn law_34_b214_leaving_awaits_the_children() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(task_group(), async |group: &mut TaskGroup<Fault>| {
            for name in ["a", "b"] {
                let recorder = recorder.clone();
                group.spawn(async move {
                    with(recorder.resource(name), async |_| recorder.step("child").await).await
                });
            }
            recorder.note("body ends");
            done(())
        })
        .await
        .unwrap();
        recorder.note("left");
        recorder.trace().assert_order(["body ends", "exited a", "left"]);
        recorder.trace().assert_order(["body ends", "exited b", "left"]);
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_34_b214_in_time() {
    paused().block_on(async {
        let begun = Instant::now();
        with(task_group::<Fault>(), async |group| {
            group.spawn(async { Ok(sleep(Duration::from_secs(1)).await) });
            done(())
        })
        .await
        .unwrap();
        assert_eq!(begun.elapsed().as_secs(), 1);
    });
}

#[test]
fn law_34_b216_an_error_in_one_cancels_the_others_and_awaits_them() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let fault = Fault::new("child");
        let result = with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.spawn(holding(&recorder, "a"));
            group.spawn(holding(&recorder, "b"));
            until_entered(&recorder, "a").await;
            until_entered(&recorder, "b").await;
            let fault = fault.clone();
            group.spawn(async move { Err(fault) });
            done(())
        });
        let error = result.await.unwrap_err();
        recorder.note("left");
        assert!(matches!(&error, ExitErrors::One(error) if *error == fault), "{error:?}");
        for name in ["a", "b"] {
            recorder.trace().assert_outcome(name, &Seen::Cancelled);
            recorder.trace().assert_order([format!("exited {name}"), "left".to_owned()]);
        }
    });
}

#[test]
fn law_34_b068_the_first_error_comes_first_and_the_others_are_kept() {
    both_flavours(|_| async {
        let result = with(task_group(), async |group: &mut TaskGroup<Fault>| {
            let (go, mut went) = tokio::sync::mpsc::channel::<()>(1);
            group.spawn(async move {
                let _go = go;
                Err(Fault::new("first"))
            });
            // It fails while it is being cancelled: in its drop it can say nothing, before its next suspension it can.
            let _ = went.recv().await;
            Err::<(), _>(ExitErrors::One(Fault::new("body")))
        });
        let error = result.await.unwrap_err();
        assert!(matches!(&error, ExitErrors::One(fault) if fault.message() == "body"), "{error:?}");
    });
    // Both ready in one poll of the runtime.
    paused().block_on(async {
        let result = with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.spawn(async { Err(Fault::new("first")) });
            let token = group.token().clone();
            group.spawn(async move {
                token.cancelled().await;
                Err(Fault::new("second"))
            });
            done(())
        });
        let error = result.await.unwrap_err();
        let first = match &error {
            ExitErrors::One(fault) => fault.message().to_owned(),
            ExitErrors::Several(_) => error.to_string(),
        };
        assert!(first == "first" || first.contains("first; second"), "{first}");
    });
}

#[test]
fn law_34_a_panic_in_one_cancels_the_others_awaits_them_and_resumes() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = caught(with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.spawn(holding(&recorder, "a"));
            until_entered(&recorder, "a").await;
            group.spawn(async { panic_quietly("child") });
            done(())
        }));
        assert_eq!(message(&*result.await.unwrap_err()), "injected panic: child");
        recorder.trace().assert_outcome("a", &Seen::Cancelled);
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_34_b213_a_body_that_fails_cancels_the_children_and_awaits_them() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.spawn(holding(&recorder, "a"));
            until_entered(&recorder, "a").await;
            Err::<(), _>(ExitErrors::One(Fault::new("body")))
        });
        assert!(matches!(result.await, Err(ExitErrors::One(fault)) if fault.message() == "body"));
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_34_a_cancelled_body_cancels_the_children_and_they_are_awaited() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let mut future = Box::pin(with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.spawn(holding(&recorder, "a"));
            hang::<Result<()>>().await
        }));
        crate::support::suspend_to(1, future.as_mut()).await;
        until_entered(&recorder, "a").await;
        drop(future);
        let report = drained().await;
        assert!(report.is_clean(), "{report}");
        recorder.trace().assert_outcome("a", &Seen::Cancelled);
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_34_b220_a_closed_group_gives_the_future_back() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let spawner =
            with(task_group(), async |group: &mut TaskGroup<Fault>| done(group.spawner())).await.unwrap();
        let refused = spawner.spawn(holding(&recorder, "a")).unwrap_err();
        assert!(refused.to_string().contains("closed"), "{refused}");
        assert!(recorder.trace().events().is_empty(), "not polled once");
        // It is whole: it still runs.
        drop_at(1, refused.future).await;
        assert_eq!(recorder.trace().entered("a"), 1);
    });
}

#[test]
fn law_34_b221_children_may_spawn_while_the_group_is_left() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(task_group(), async |group: &mut TaskGroup<Fault>| {
            let (spawner, recorder) = (group.spawner(), recorder.clone());
            group.spawn(async move {
                suspend(3).await;
                let grandchild = recorder.clone();
                let spawned =
                    spawner.spawn(async move { with(grandchild.resource("late"), async |_| Ok(())).await });
                spawned.map_err(|refused| Fault::new(refused.to_string()))
            });
            done(())
        })
        .await
        .unwrap();
        recorder.trace().assert_exited_once("late");
    });
}

#[test]
fn law_34_a_child_spawned_on_a_cancelled_group_does_not_begin() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.cancel();
            group.spawn(holding(&recorder, "a"));
            done(())
        })
        .await
        .unwrap();
        recorder.trace().assert_never_entered("a");
    });
}

#[test]
fn law_13_what_a_child_hands_over_ends_before_the_group() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            with(task_group(), async |group: &mut TaskGroup<Fault>| {
                let recorder = recorder.clone();
                let child = async move {
                    drop(hold(recorder.resource("dropped by the child").on_exit(Act::suspend(9))).await?);
                    Ok(())
                };
                group.spawn(child);
                done(())
            })
            .await
            .map_err(|errors| errors.into_first().unwrap_or_else(|| Fault::new("panics")))
        })
        .await
        .unwrap();
        recorder.trace().assert_nested("dropped by the child", "outer");
    });
}

#[test]
fn b218_at_the_time_limit_of_the_exit_the_children_are_aborted() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        const LIMIT: Duration = Duration::from_millis(20);
        let result = Options::new()
            .exit_limit(LIMIT)
            .with(async { Ok::<_, Error>(task_group::<Fault>().await?) }, async |group| {
                group.spawn(holding(&recorder, "a"));
                until_entered(&recorder, "a").await;
                Ok::<_, Error>(())
            })
            .await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::ExitLimit(LIMIT)))), "{result:?}");
        assert_eq!(reports.all()[0].kind, IncidentKind::ExitTimedOut);
        // The abort drops the child, whose resource is handed over.
        while recorder.trace().exited("a") == 0 {
            tokio::task::yield_now().await;
        }
        assert!(drained().await.is_clean());
    });
}

#[test]
fn law_34_everywhere() {
    let make = |recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| {
            with(task_group(), async |group: &mut TaskGroup<Fault>| {
                for name in ["a", "b"] {
                    let recorder = recorder.clone();
                    let child = async move {
                        with(recorder.resource(name), async |_| recorder.step("child").await).await
                    };
                    group.spawn(child);
                }
                recorder.step("body").await.map_err(ExitErrors::One)
            })
            .await
            .map_err(|errors| errors.into_first().unwrap_or_else(|| Fault::new("panics")))
        })
        .await
    };
    let nested = || {
        Proof::new().check(|run| async move {
            for name in ["a", "b"].into_iter().filter(|name| run.trace().entered(name) > 0) {
                run.trace().assert_nested(name, "outer");
            }
            Ok(())
        })
    };
    assert!(nested().cancel_everywhere(make).suspensions >= 3);
    assert!(nested().fail_everywhere(make).points >= 10);
}

#[test]
fn law_34_a_child_that_fails_stops_the_body() {
    for panics in [false, true] {
        both_flavours(|_| async move {
            let recorder = Recorder::new();
            let inside = recorder.clone();
            let whole = with(task_group(), async |group: &mut TaskGroup<Fault>| {
                group.spawn(async move {
                    suspend(2).await;
                    if panics { panic_quietly("child") } else { Err(Fault::new("child")) }
                });
                with(inside.resource("in the body"), async |_| hang::<Result>().await).await
            });
            match caught(whole).await {
                Ok(result) => assert_eq!(result.unwrap_err().into_first().unwrap().message(), "child"),
                Err(payload) => assert_eq!((message(&*payload), panics), ("injected panic: child", true)),
            }
            // In place, before the caller goes on.
            recorder.trace().assert_order(["exit in the body: cancelled", "exited in the body"]);
        });
    }
}

#[test]
fn law_34_a_child_that_fails_stops_the_body_around_a_stack_and_a_join() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let result = with_stack(async |stack: &mut ExitStack<ExitErrors<Fault>>| {
            stack.enter(recorder.resource("below")).await?;
            let group = stack.enter(task_group::<Fault>()).await?;
            stack.enter(recorder.resource("above")).await?;
            group.spawn(async {
                suspend(2).await;
                Err(Fault::new("child"))
            });
            hang::<Result>().await
        })
        .await;
        assert_eq!(result.unwrap_err().into_first().unwrap().message(), "child");
        // As nested by hand: what lies below the group sees its failure.
        recorder.trace().assert_order(["exit above: cancelled", "exit below: failed: One(child)"]);

        let both = join((task_group::<Fault>(), task_group::<Fault>()));
        let result = with(both, async |(_, second)| {
            second.spawn(async { Err(Fault::new("child")) });
            hang::<Result<(), ExitErrors<ExitErrors<Fault>>>>().await
        });
        assert!(result.await.is_err());
    });
}

#[test]
fn law_34_a_group_whose_caller_is_dropped_while_it_waits_cancels_its_children() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let waiting = with(task_group(), async |group: &mut TaskGroup<Fault>| {
            group.spawn(holding(&recorder, "a"));
            until_entered(&recorder, "a").await;
            done(())
        });
        let mut waiting = Box::pin(waiting);
        while recorder.trace().entered("a") == 0 {
            assert!(
                std::future::poll_fn(|task| std::task::Poll::Ready(waiting.as_mut().poll(task)))
                    .await
                    .is_pending()
            );
            tokio::task::yield_now().await;
        }
        drop_at(1, waiting).await;
        drained().await.is_clean().then_some(()).unwrap();
        recorder.trace().assert_order(["exit a: cancelled", "exited a"]);
    });
}

/// gh-155433 of CPython: an outer cancellation in the poll in which a child fails is not lost.
#[test]
fn law_34_an_outer_stop_in_the_same_poll_as_the_failure_of_a_child_is_not_lost() {
    both_flavours(|_| async {
        let outer = tenure::CancelToken::new();
        let asking = outer.clone();
        let result = Options::new()
            .cancel_on(&outer)
            .with(std::future::ready(Ok::<_, Error>(tenure::Released::<_, Error>::of(()))), async |_| {
                with(task_group(), async |group: &mut TaskGroup<Fault>| {
                    group.spawn(async move {
                        asking.cancel();
                        Err(Fault::new("child"))
                    });
                    hang::<std::result::Result<(), Error>>().await
                })
                .await
            })
            .await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::Cancelled) | Error::Exits(_))), "{result:?}");
        assert!(outer.is_cancelled());
    });
}

/// gh-155418 of CPython: a child that cancels its group in its first poll does not hang it.
#[test]
fn law_34_a_child_that_cancels_its_group_in_its_first_poll_does_not_hang_it() {
    both_flavours(|_| async {
        with(task_group(), async |group: &mut TaskGroup<Fault>| {
            let token = group.token().clone();
            group.spawn(async move {
                token.cancel();
                hang().await
            });
            done(())
        })
        .await
        .unwrap();
    });
}

/// It never ran, and what was moved into it exits all the same, before what is around the group.
#[test]
fn law_13_a_child_that_was_never_polled_is_dropped_inside_its_group() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let guard = hold(recorder.resource("guard").on_exit(Act::suspend(5))).await.unwrap();
        let whole = with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
            with(task_group(), async |group: &mut TaskGroup<Fault>| {
                group.spawn(async move {
                    let _guard = guard;
                    Ok(())
                });
                group.cancel();
                done(())
            })
            .await
            .map_err(|errors| errors.into_first().unwrap())
        });
        whole.await.unwrap();
        recorder.trace().assert_order(["exited guard", "exit outer: completed"]);
    });
}

#[test]
fn law_34_a_thousand_cancelled_children_exit_side_by_side() {
    paused().block_on(async {
        let begun = Instant::now();
        let result = with(task_group::<Fault>(), async |group| {
            for _ in 0..1_000 {
                let slow = Closing::of((), async |()| Ok::<_, Fault>(sleep(Duration::from_millis(10)).await));
                group.spawn(with(entered(slow), async |_| hang().await));
            }
            sleep(Duration::from_millis(1)).await;
            Err::<(), _>(ExitErrors::One(Fault::new("stop")))
        });
        result.await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    });
}

#[test]
fn law_34_what_users_return_takes_a_groups_errors_by_a_question_mark() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    async fn by_anyhow() -> anyhow::Result<()> {
        with(task_group::<anyhow::Error>(), async |group| {
            group.spawn(async { anyhow::bail!("no connection") });
            Ok::<_, ExitErrors<anyhow::Error>>(())
        })
        .await?;
        let both = join((
            std::future::ready(Ok::<_, String>(tenure::Released::<_, String>::of(1))),
            std::future::ready(Ok::<_, String>(tenure::Released::<_, String>::of(2))),
        ));
        with(both, async |_| Ok::<_, ExitErrors<String>>(())).await?;
        Ok(())
    }
    async fn by_box() -> std::result::Result<(), Boxed> {
        let stack = ExitStack::<Boxed>::new();
        stack.defer_async(async || Err("not closed".into()));
        stack.close().await?;
        with(task_group::<Boxed>(), async |_| Ok::<_, ExitErrors<Boxed>>(())).await?;
        Ok(())
    }
    both_flavours(|_| async {
        assert_eq!(by_anyhow().await.unwrap_err().to_string(), "no connection");
        assert_eq!(by_box().await.unwrap_err().to_string(), "not closed");
    });
}
