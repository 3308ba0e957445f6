//! Laws 6 and 7 under code of users that panics while things are settled: drops, conversions, requests to stop, wakers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tenure::{
    AsyncExit, Closing, ExitStack, Held, IncidentKind, Options, Outcome, Stopped, counters, entered, hold,
    join, released, set_report_sink, shield, task_group, with, with_stack,
};
use tenure_test::{Act, Fault, Recorder, both_flavours, hang, panic_quietly, suspend};

use crate::support::{Error, Reports, caught, drop_at, message, settled};

/// An error, a payload, a field: whatever it is, its drop panics.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_quietly("the bomb");
        }
    }
}

impl From<Fault> for Bomb {
    fn from(_: Fault) -> Self {
        Self
    }
}

#[track_caller]
fn balanced() {
    let counters = counters();
    assert_eq!(counters.entered, counters.exited + counters.lost + counters.disarmed, "{counters:?}");
    assert!(tenure::open().is_empty(), "{}", tenure::open());
}

/// Each exit that is handed over and drops a bomb while it is settled: the outer one runs, and nothing waits for ever.
#[test]
fn law_06_what_is_dropped_while_a_handed_over_exit_is_settled_may_panic() {
    type Enter = fn() -> Box<dyn FnOnce() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
    let cases: [(&str, Enter); 3] = [
        ("the exit's error", || {
            Box::new(|| {
                Box::pin(async {
                    drop(Held::new(Closing::of((), async |()| Err::<(), _>(Bomb))));
                })
            })
        }),
        ("the payload of the exit's panic", || {
            Box::new(|| {
                Box::pin(async {
                    drop(Held::new(Closing::of((), async |()| -> Result<(), Fault> {
                        std::panic::resume_unwind(Box::new(Bomb))
                    })));
                })
            })
        }),
        ("the body's unclaimed error", || {
            Box::new(|| {
                Box::pin(async {
                    let slow = Closing::of((), async |()| {
                        suspend(3).await;
                        Ok::<_, Fault>(())
                    });
                    drop_at(1, with(entered(slow), async |_| Err::<(), _>(Bomb))).await;
                })
            })
        }),
    ];
    for (name, enter) in cases {
        both_flavours(|_| async move {
            let recorder = Recorder::new();
            let drop_inside = enter();
            with(recorder.resource("outer"), async |_| {
                drop_inside().await;
                Ok::<_, Fault>(())
            })
            .await
            .unwrap();
            settled().await;
            assert_eq!(recorder.trace().exited("outer"), 1, "{name}");
            balanced();
        });
    }
}

#[test]
fn law_06_a_request_to_stop_that_panics_when_it_is_dropped_changes_nothing() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let bomb = Bomb;
        let request = async move {
            let _bomb = bomb;
            std::future::pending::<()>().await;
        };
        let options = Options::new().stop_when(request);
        let result = options.with(recorder.resource("a"), async |_| Ok::<_, Error>(7)).await;
        assert!(matches!(result, Ok(7)), "{result:?}");
        recorder.trace().assert_order(["exit a: completed"]);
        balanced();
    });
}

#[test]
fn law_06_a_request_to_stop_that_panics_when_it_is_polled_is_a_panic_of_the_body() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let mut polls = 0;
        let request = std::future::poll_fn(move |_| {
            polls += 1;
            if polls > 2 { panic_quietly("the request") } else { Poll::Pending }
        });
        let options = Options::new().stop_when(request);
        let slow = recorder.resource("a").on_enter(Act::at_once());
        let body = async |_: &mut _| {
            suspend(5).await;
            Ok::<_, Error>(())
        };
        let payload = caught(options.with(slow, body)).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: the request");
        recorder.trace().assert_order(["exit a: panicked: injected panic: the request"]);
        balanced();
    });
}

/// An enter whose future panics when it is dropped, behind its end: what it has entered exits, told of the panic.
#[test]
fn law_07_an_enter_that_panics_when_it_is_dropped_has_entered() {
    struct Enter<R>(Option<R>);
    impl<R> Drop for Enter<R> {
        fn drop(&mut self) {
            if self.0.is_none() && !std::thread::panicking() {
                panic_quietly("the enter");
            }
        }
    }
    impl<R: Unpin> Future for Enter<R> {
        type Output = Result<R, Fault>;
        fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(self.0.take().expect("polled once")))
        }
    }
    both_flavours(|_| async {
        for kind in ["with", "shield", "hold", "stack", "join"] {
            let recorder = Recorder::new();
            let inside = recorder.clone();
            let closing = Closing::of((), |()| async { Ok::<_, Fault>(()) });
            let exits = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&exits);
            let resource = Counted(counted, closing);
            let enter = Enter(Some(resource));
            let payload = match kind {
                "with" => caught(with(enter, async |_| Ok::<_, Fault>(inside.note("body")))).await.err(),
                "shield" => {
                    caught(with(shield(enter), async |_| Ok::<_, Fault>(inside.note("body")))).await.err()
                }
                "hold" => caught(async { hold(enter).await.map(drop) }).await.err(),
                "stack" => {
                    let on_stack = with_stack(async |stack: &mut ExitStack<Fault>| {
                        stack.enter(enter).await?;
                        Ok(inside.note("body"))
                    });
                    caught(on_stack).await.err()
                }
                _ => caught(with(join((enter,)), async |_| Ok::<_, Error>(inside.note("body")))).await.err(),
            };
            assert_eq!(payload.as_deref().map(message), Some("injected panic: the enter"), "{kind}");
            settled().await;
            assert_eq!(exits.load(Ordering::Relaxed), 1, "{kind}");
            assert!(!recorder.trace().contains("body"), "{kind}");
            balanced();
        }
    });
}

/// Counts its exits, and insists that they are told of the panic.
struct Counted<R>(Arc<AtomicUsize>, R);

impl<R: AsyncExit<Error = Fault>> AsyncExit for Counted<R> {
    type Error = Fault;
    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Fault> {
        if outcome.is_panicked() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        self.1.exit(outcome).await
    }
}

#[test]
fn law_25_a_conversion_that_panics_in_a_stack_is_the_panic_of_that_exit() {
    #[derive(Debug)]
    struct Odd;
    impl From<Stopped> for Odd {
        fn from(_: Stopped) -> Self {
            panic_quietly("the conversion")
        }
    }
    impl From<Fault> for Odd {
        fn from(_: Fault) -> Self {
            Self
        }
    }
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let stack = ExitStack::<Odd>::new().exit_limit(Duration::from_millis(5));
        stack.push(recorder.resource("below").await.unwrap());
        stack.defer_async(async || hang().await);
        let payload = caught(stack.close()).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: the conversion");
        recorder.trace().assert_order(["exit below: panicked: injected panic: the conversion"]);
        balanced();
    });
}

/// A waker that uses the library: none is called under a lock.
#[test]
fn law_07_wakers_run_outside_of_locks() {
    struct Entering(tokio::runtime::Handle);
    impl Wake for Entering {
        fn wake(self: Arc<Self>) {
            let _runtime = self.0.enter();
            let _ = tenure::open();
            drop(Held::new(Closing::of((), async |()| Ok::<_, Fault>(()))));
        }
    }
    both_flavours(|_| async {
        let waker = Waker::from(Arc::new(Entering(tokio::runtime::Handle::current())));
        let mut task = Context::from_waker(&waker);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let older = Held::new(Closing::of((), async |()| Ok::<_, Fault>(())));
        drop(Held::new(Closing::of((), async move |()| {
            let _ = wait.await;
            Ok::<_, Fault>(())
        })));
        let mut closing = Box::pin(older.close());
        assert!(closing.as_mut().poll(&mut task).is_pending());
        go.send(()).unwrap();
        settled().await;
        assert!(closing.as_mut().poll(&mut task).is_ready());
        settled().await;
        balanced();
    });
}

/// A sink, and a child of a group, whose drops use the library: none is dropped under a lock.
#[test]
fn law_07_what_is_replaced_or_refused_is_dropped_outside_of_locks() {
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            let _ = counters();
            drop(Held::new(Closing::of((), async |()| Ok::<_, Fault>(()))));
            set_report_sink(|_| {});
        }
    }
    both_flavours(|_| async {
        let uses = Uses;
        set_report_sink(move |_| {
            let _ = &uses;
        });
        set_report_sink(|_| {});
        settled().await;
        balanced();
    });
    // A child on a runtime that is gone is dropped where it is spawned.
    let gone = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let group = gone.block_on(task_group::<Fault>()).unwrap();
    let spawner = group.spawner();
    drop(gone);
    struct Spawns(tenure::Spawner<Fault>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let _ = self.0.spawn(async { Ok(()) });
        }
    }
    let spawns = Spawns(spawner.clone());
    spawner
        .spawn(async move {
            let _spawns = spawns;
            Ok(())
        })
        .unwrap();
}

#[test]
fn law_05_a_join_whose_first_fault_is_a_panic_reports_the_others() {
    both_flavours(|_| async {
        let reports = Reports::here();
        let panics = Closing::of((), async |()| -> Result<(), Fault> { panic_quietly("first") });
        let fails = Closing::of((), async |()| {
            suspend(1).await;
            Err::<(), _>(Fault::new("second"))
        });
        let both = join((entered(panics), entered(fails)));
        let payload = caught(with(both, async |_| Ok::<_, Error>(()))).await.unwrap_err();
        assert_eq!(message(&*payload), "injected panic: first");
        let kinds: Vec<_> = reports.all().iter().map(|incident| incident.kind).collect();
        assert_eq!(kinds, [IncidentKind::ExitFailed]);
        settled().await;
    });
}

#[test]
fn law_05_the_first_fault_of_a_join_is_the_first_in_time() {
    both_flavours(|_| async {
        let fails = |message: &'static str, after| {
            Closing::of((), async move |()| {
                suspend(after).await;
                Err::<(), _>(Fault::new(message))
            })
        };
        let both = join((entered(fails("late", 3)), entered(fails("early", 0))));
        let error = with(both, async |_| Ok::<_, Error>(())).await.unwrap_err();
        let Error::Exits(errors) = error else { panic!("{error:?}") };
        assert_eq!(errors.into_first().unwrap().message(), "early");
    });
}

#[test]
fn law_15_a_stack_cut_off_by_the_limit_around_it_names_and_counts_the_entry_that_was_exiting() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let reports = Reports::here();
        let limit = Options::new().exit_limit(Duration::from_millis(20));
        let stack = async { Ok::<_, Error>(ExitStack::<Error>::new()) };
        let result = limit.with(stack, async |stack| {
            stack.push(released(async { Ok::<_, Error>(()) }).await?);
            stack.defer_async(async || hang().await);
            Ok::<_, Error>(recorder.note("body"))
        });
        assert!(matches!(result.await, Err(Error::Stopped(Stopped::ExitLimit(_)))));
        settled().await;
        let names: Vec<_> = reports.all().iter().map(|incident| (incident.kind, incident.name)).collect();
        assert!(names.contains(&(IncidentKind::ExitTimedOut, "defer_async")), "{names:?}");
        balanced();
    });
}

#[test]
fn law_15_the_limit_covers_the_wait_for_what_the_body_left_and_names_it() {
    both_flavours(|_| async {
        let reports = Reports::here();
        let begun = tokio::time::Instant::now();
        let stuck = Closing::of((), async |()| hang::<Result<(), Fault>>().await);
        let limit = Options::new().name("outer").exit_limit(Duration::from_millis(50));
        let result = limit
            .with(released(async { Ok::<_, Error>(()) }), async |_| {
                // It ends at a limit of its own, later.
                let options = Options::new().name("stuck").exit_limit(Duration::from_millis(500));
                drop(options.hold(async { Ok::<_, Error>(stuck) }).await?);
                Ok::<_, Error>(())
            })
            .await;
        assert!(matches!(result, Err(Error::Stopped(Stopped::ExitLimit(_)))), "{result:?}");
        assert!(begun.elapsed() < Duration::from_secs(1));
        let report = &reports.all()[0];
        assert_eq!((report.kind, report.name), (IncidentKind::ExitTimedOut, "outer"));
        assert!(report.message.contains("it waited for stuck"), "{}", report.message);
        settled().await;
    });
}

#[test]
fn law_17_a_job_that_is_lost_while_its_resource_panics_is_reported() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reports = runtime.block_on(async {
        let bomb = Bomb;
        drop(Held::new(Closing::of(bomb, async |_bomb| hang::<Result<(), Fault>>().await)));
        tokio::task::yield_now().await;
        Reports::here()
    });
    drop(runtime);
    let kinds: Vec<_> = reports.all().iter().map(|incident| incident.kind).collect();
    assert_eq!(kinds, [IncidentKind::ExitLost]);
}
