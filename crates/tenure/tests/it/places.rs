//! Laws 13, 16 and 17 where one thread, or one task, meets two runtimes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tenure::{Closing, Held, Options, Stopped, counters, drain, entered, open, set_report_sink, with};
use tenure_test::{Act, Fault, Recorder, hang, suspend};
use tokio::runtime::{Builder, Runtime};
use tokio::task::block_in_place;

use crate::support::{LONG, drained, drop_at, settled};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A body drives another runtime, whose tasks hold and hand over: they are not of that body.
#[test]
fn law_13_a_runtime_driven_inside_a_body_is_not_enclosed_by_it() {
    let outer = multi_thread();
    let inner = current_thread();
    outer.block_on(async {
        tokio::spawn(async move {
            let recorder = Recorder::new();
            let inside = recorder.clone();
            with(recorder.resource("outer").on_enter(Act::at_once()), async |_| {
                block_in_place(|| {
                    let inner = inner;
                    inner.block_on(async {
                        // By the code of `block_on`, in a guard and in a body, and by a task of that runtime.
                        let slow = || Closing::of((), async |()| hang::<Result<(), Fault>>().await);
                        drop(Held::new(slow()));
                        drop_at(1, with(entered(slow()), async |_| hang::<Result<(), Fault>>().await)).await;
                        tokio::spawn(async move { drop(Held::new(slow())) }).await.unwrap();
                        with(inside.resource("inner").on_enter(Act::at_once()), async |_| {
                            drop(Held::new(Closing::of((), async |()| {
                                suspend(2).await;
                                Ok::<_, Fault>(())
                            })));
                            Ok::<_, Fault>(())
                        })
                        .await
                    })
                })
            })
            .await
            .unwrap();
            assert_eq!(recorder.trace().exited("outer"), 1);
        })
        .await
        .unwrap();
        assert!(drain(LONG).await.is_clean());
    });
}

#[test]
fn law_16_the_drain_of_a_runtime_driven_inside_a_task_sees_what_is_its_own() {
    let outer = multi_thread();
    let inner = current_thread();
    outer.block_on(async {
        tokio::spawn(async move {
            // The task's registry is known by now.
            drop(Held::new(Closing::of((), async |()| Ok::<_, Fault>(()))));
            let report = block_in_place(|| {
                let inner = inner;
                inner.block_on(async {
                    drop(Held::new(Closing::of((), async |()| {
                        suspend(3).await;
                        Err::<(), _>(Fault::new("inside"))
                    })));
                    assert_eq!(counters().entered, 1);
                    drain(LONG).await
                })
            });
            assert_eq!((report.ended, report.incidents.len()), (1, 1), "{report}");
            assert_eq!(drained().await.ended, 1);
        })
        .await
        .unwrap();
    });
}

#[test]
fn law_13_tasks_of_a_local_set_are_not_enclosed_by_the_body_that_drives_it() {
    current_thread().block_on(async {
        let recorder = Recorder::new();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(async {
            drop(Held::new(Closing::of((), async |()| hang::<Result<(), Fault>>().await)));
        });
        tenure::with_local(recorder.resource("outer"), async |_| {
            local.run_until(suspend(3)).await;
            Ok::<_, Fault>(())
        })
        .await
        .unwrap();
        assert_eq!(recorder.trace().exited("outer"), 1);
    });
}

#[test]
fn law_13_a_guard_closed_by_hand_on_another_runtime_waits_for_its_younger_sibling() {
    let (home, other) = (multi_thread(), current_thread());
    let recorder = Recorder::new();
    let (older, younger) = home.block_on(async {
        let older = tenure::hold(recorder.resource("older")).await.unwrap();
        let younger = tenure::hold(recorder.resource("younger").on_exit(Act::suspend(5))).await.unwrap();
        (older, younger)
    });
    other.block_on(async {
        drop(younger);
        older.close().await.unwrap();
    });
    home.block_on(settled());
    recorder.trace().assert_nested("younger", "older");
}

#[test]
fn law_12_a_half_polled_exit_with_a_limit_goes_on_where_its_first_runtime_is_gone() {
    let (home, other) = (multi_thread(), current_thread());
    let guard = home.block_on(async {
        let stuck = Closing::of((), async |()| hang::<Result<(), Stopped>>().await);
        let options = Options::new().exit_limit(Duration::from_millis(20));
        options.hold(async { Ok::<_, Stopped>(stuck) }).await.unwrap()
    });
    other.block_on(drop_at(1, guard.close()));
    drop(other);
    let report = home.block_on(drain(LONG));
    assert!(report.open.is_empty(), "{report}");
    assert_eq!(report.incidents.len(), 1, "{report}");
}

#[test]
fn law_16_an_idle_runtime_keeps_its_sink_its_counters_and_its_report_beside_many_others() {
    let runtime = current_thread();
    let told = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let told = Arc::clone(&told);
        set_report_sink(move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        });
        drop(Held::new(Closing::of((), async |()| Err::<(), _>(Fault::new("one")))));
        while !open().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..200 {
        current_thread().block_on(async { drop(Held::new(Closing::of((), async |()| Ok::<_, Fault>(())))) });
    }
    runtime.block_on(async {
        assert_eq!(counters().failed, 1);
        drop(Held::new(Closing::of((), async |()| Err::<(), _>(Fault::new("two")))));
        let report = drain(LONG).await;
        assert_eq!(report.incidents.len(), 2, "{report}");
    });
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn law_17_enters_and_exits_are_counted_where_the_tenure_was_entered() {
    let (home, other) = (multi_thread(), current_thread());
    let guard = home.block_on(async { Held::new(Closing::of((), async |()| Ok::<_, Fault>(()))) });
    other.block_on(async {
        guard.close().await.unwrap();
        assert_eq!(counters().exited, 0);
    });
    home.block_on(async { assert_eq!((counters().entered, counters().exited), (1, 1)) });
}

/// An enter that gives its resource, and panics when it is dropped.
struct PanicsWhenDropped<R>(Option<R>);

impl<R> Unpin for PanicsWhenDropped<R> {}

impl<R> Future for PanicsWhenDropped<R> {
    type Output = Result<R, Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(self.0.take().unwrap()))
    }
}

impl<R> Drop for PanicsWhenDropped<R> {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// The frame of an exit is that of its own task, also where no body was polled before it.
#[test]
fn law_13_an_exit_without_a_body_is_of_its_own_task() {
    current_thread().block_on(async {
        // Another task of the thread has a frame at the same depth before.
        let other = Closing::of((), async |()| Ok::<_, Fault>(()));
        tokio::spawn(with(entered(other), async |_| Ok::<_, Fault>(()))).await.unwrap().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let leaving = Closing::of(ended, async |ended| {
            drop(Held::new(Closing::of(ended, async |ended: Arc<AtomicBool>| {
                suspend(3).await;
                ended.store(true, Ordering::Relaxed);
                Ok::<_, Fault>(())
            })));
            Ok::<_, Fault>(())
        });
        let left = tokio::spawn(with(PanicsWhenDropped(Some(leaving)), async |_| Ok::<_, Fault>(())));
        assert!(left.await.unwrap_err().is_panic());
        assert!(seen.load(Ordering::Relaxed), "the exit has ended before what it has left behind");
    });
}
