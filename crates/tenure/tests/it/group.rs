//! Law 34: a task group as a context.

use std::time::Duration;

use tenure::{ExitErrors, IncidentKind, Options, TaskGroup, hold, task_group, with};
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
        assert!(matches!(result, Err(Error::Stopped(tenure::Stopped::ExitLimit(LIMIT)))), "{result:?}");
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
