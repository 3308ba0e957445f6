//! What a scope does for a handler that ends, fails, panics, is dropped, or keeps what it was lent.

use std::convert::Infallible;

use http::{Request, Response};
use tenure::{Ending, closing, with};
use tenure_http::{EnterError, OnDisconnect, RequestScope, RequestScopeLayer, RequestScopeService};
use tower::{Service as _, ServiceExt as _};

use crate::script::{End, Script, Scripted, answered, read, service};
use crate::support::{Log, check, log};

/// A service whose handler enters two resources and does `then`.
fn entering<F, Fut>(layer: &RequestScopeLayer, log: &Log, then: F) -> RequestScopeService<Scripted>
where
    F: Fn(RequestScope, Log) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Script>, String>> + Send + 'static,
{
    service(layer, log, move |scope, log| {
        let then = then.clone();
        async move {
            // The guards live as long as the handler.
            let _held = log.two(&scope).await;
            log.note("begun");
            then(scope, log).await
        }
    })
}

#[test]
fn law_04_a_panic_of_the_handler_resumes_after_the_exits() {
    check(async || {
        let (log, mut events) = log();
        let service = entering(&RequestScopeLayer::new(), &log, async |_, _| panic!("at the handler"));
        let after = log.clone();
        let panicked = tokio::spawn(async move {
            let guard = Noting(after);
            let _ = service.oneshot(Request::new(())).await;
            drop(guard);
        });
        assert!(panicked.await.unwrap_err().is_panic());
        let exits = ["exit b, panicked: at the handler", "exit a, panicked: at the handler"];
        events.expect(&["enter a", "enter b", "begun", exits[0], exits[1], "unwound"]).await;
    });
}

struct Noting(Log);

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.note("unwound");
    }
}

#[test]
fn an_error_of_the_service_comes_out_after_the_exits() {
    check(async || {
        let (log, mut events) = log();
        let service = entering(&RequestScopeLayer::new(), &log, async |_, _| Err("no answer".to_owned()));
        assert_eq!(service.oneshot(Request::new(())).await.unwrap_err(), "no answer");
        let outcome = r#"failed: the service failed: "no answer""#;
        let exits = [format!("exit b, {outcome}"), format!("exit a, {outcome}")];
        assert_eq!(events.rest(), ["enter a", "enter b", "begun", &exits[0], &exits[1]]);
    });
}

#[test]
fn law_13_a_dropped_handler_exits_its_inner_tenures_before_its_scope() {
    check(async || {
        let (log, mut events) = log();
        let service = entering(&RequestScopeLayer::new(), &log, async |_, log| {
            let inner = with(log.slow("inner"), async |_| {
                log.note("inside");
                std::future::pending::<Result<(), Infallible>>().await
            });
            let _: Result<(), Infallible> = inner.await;
            Err("never".to_owned())
        });
        let call = tokio::spawn(service.oneshot(Request::new(())));
        events.expect(&["enter a", "enter b", "begun", "enter inner", "inside"]).await;
        call.abort();
        events.expect(&["exit inner, cancelled", "exit b, cancelled", "exit a, cancelled"]).await;
    });
}

#[test]
fn law_13_also_when_the_scope_is_first_used_inside_another_tenure() {
    check(async || {
        let (log, mut events) = log();
        let service = service(&RequestScopeLayer::new(), &log, async |scope: RequestScope, log: Log| {
            let around: Result<(), Infallible> = with(log.slow("around"), async |_| {
                let _a = scope.enter(log.quick("a")).await.unwrap();
                log.note("begun");
                std::future::pending().await
            })
            .await;
            Err(format!("never: {around:?}"))
        });
        let call = tokio::spawn(service.oneshot(Request::new(())));
        events.expect(&["enter around", "enter a", "begun"]).await;
        call.abort();
        events.expect(&["exit around, cancelled", "exit a, cancelled"]).await;
    });
}

#[test]
fn law_09_a_request_that_is_never_polled_enters_nothing() {
    check(async || {
        let (log, mut events) = log();
        for choice in [OnDisconnect::Cancel, OnDisconnect::Complete] {
            let layer = RequestScopeLayer::new().on_disconnect(choice);
            let mut service = entering(&layer, &log, async |_, _| Err("never".to_owned()));
            drop(service.ready().await.unwrap().call(Request::new(())));
            assert!(events.rest().is_empty() && tenure::counters().entered == 0);
        }
    });
}

#[test]
fn a_handler_may_run_on_without_its_client() {
    check(async || {
        let cases =
            [(200, "completed"), (500, "failed: the request was answered with 500 Internal Server Error")];
        for (status, outcome) in cases {
            let (log, mut events) = log();
            let go = std::sync::Arc::new(tokio::sync::Notify::new());
            let waits = std::sync::Arc::clone(&go);
            let layer = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete);
            let service = entering(&layer, &log, move |_, log| {
                let go = std::sync::Arc::clone(&waits);
                async move {
                    go.notified().await;
                    log.note("went on");
                    // Nobody reads this one to its end.
                    Ok(Response::builder().status(status).body(Script::new(&[], End::Waits)).unwrap())
                }
            });
            let call = tokio::spawn(service.oneshot(Request::new(())));
            events.entered_and("begun").await;
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            assert!(events.rest().is_empty() && !tenure::open().is_empty());
            go.notify_one();
            let exits = [format!("exit b, {outcome}"), format!("exit a, {outcome}")];
            events.expect(&["went on", &exits[0], &exits[1]]).await;
        }
    });
}

#[test]
fn the_scope_waits_for_a_guard_that_is_still_in_use() {
    check(async || {
        let (log, mut events) = log();
        let (send, receive) = tokio::sync::oneshot::channel();
        let send = std::sync::Arc::new(std::sync::Mutex::new(Some(send)));
        let body = answered(&log, move |scope, log| {
            let send = std::sync::Arc::clone(&send);
            async move {
                drop(scope.enter(log.quick("a")).await.unwrap());
                let b = scope.enter(log.quick("b")).await.unwrap();
                send.lock().unwrap().take().unwrap().send((scope, b)).unwrap();
            }
        })
        .await;
        let (scope, b) = receive.await.unwrap();
        assert!(!scope.is_closed());
        read(body).await;
        assert!(scope.is_closed());
        assert_eq!(events.rest(), ["enter a", "enter b"]);
        log.note(format!("drop {}", b.name));
        drop(b);
        events.expect(&["drop b", "exit b, completed", "exit a, completed"]).await;
        // A scope that is closed enters nothing.
        let late = scope.enter(log.quick("late")).await;
        assert_eq!(late.err(), Some(EnterError::Closed));
        assert!(scope.defer(|| ()).is_err() && events.rest().is_empty());
    });
}

#[test]
fn a_guard_can_be_exited_early_and_its_error_has_a_caller() {
    check(async || {
        let (log, mut events) = log();
        let body = answered(&log, async move |scope: RequestScope, log: Log| {
            drop(scope.enter(log.quick("a")).await.unwrap());
            let b = scope.enter(log.slow("b")).await.unwrap();
            assert_eq!(b.exit(Ending::Completed).await, Ok(()));
            let failing = closing(async { Ok::<_, Infallible>(()) }, async |()| Err::<(), _>("no commit"));
            let failing = scope.enter(failing).await.unwrap();
            assert_eq!(failing.exit(Ending::Completed).await, Err("no commit"));
            log.note("answered");
        })
        .await;
        read(body).await;
        events.expect(&["enter a", "enter b", "exit b, completed", "answered", "exit a, completed"]).await;
    });
}

#[test]
fn law_05_an_exit_that_fails_after_the_answer_is_reported_and_seen_by_the_next() {
    check(async || {
        let (log, mut events) = log();
        let sink = log.clone();
        tenure::set_report_sink(move |incident| {
            // Where it was entered, not where this crate reports it.
            assert!(incident.location.file().ends_with("tests/it/handler.rs"), "{incident}");
            sink.note(format!("{}: {}", incident.kind, incident.message));
        });
        for waits in [false, true] {
            let body = answered(&log, move |scope, log| async move {
                drop(scope.enter(log.quick("a")).await.unwrap());
                let failing = closing(async { Ok::<_, Infallible>(()) }, async move |()| {
                    if waits {
                        tokio::task::yield_now().await;
                    }
                    Err::<(), _>("no commit")
                });
                drop(scope.enter(failing).await.unwrap());
            })
            .await;
            read(body).await;
            events.expect(&["enter a"]).await;
            let (exit, report) = (events.next().await, events.next().await);
            assert!(exit.starts_with("exit a, failed: the exit of tenure::resources::Closing"), "{exit}");
            assert!(
                report.starts_with("exit failed: the exit of") && report.ends_with(r#"failed: "no commit""#),
                "{report}"
            );
            assert!(report.contains(file!()), "{report}");
        }
    });
}

#[test]
fn law_05_an_exit_that_fails_or_panics_without_an_answer_is_reported_with_its_place() {
    check(async || {
        for (panics, choice) in
            [(false, OnDisconnect::Cancel), (true, OnDisconnect::Cancel), (false, OnDisconnect::Complete)]
        {
            let (log, mut events) = log();
            let sink = log.clone();
            tenure::set_report_sink(move |incident| {
                sink.note(format!("{}: {}", incident.location.file(), incident.message));
            });
            let go = std::sync::Arc::new(tokio::sync::Notify::new());
            let waits = std::sync::Arc::clone(&go);
            let layer = RequestScopeLayer::new().on_disconnect(choice);
            let service = service(&layer, &log, move |scope: RequestScope, log: Log| {
                let go = std::sync::Arc::clone(&waits);
                async move {
                    let failing = closing(async { Ok::<_, Infallible>(()) }, async move |()| {
                        if panics {
                            tenure_test::panic_quietly("no rollback")
                        }
                        Err::<(), _>("no rollback")
                    });
                    drop(scope.enter(failing).await.unwrap());
                    log.note("begun");
                    go.notified().await;
                    Ok(Response::new(Script::new(&[], End::Ends)))
                }
            });
            let call = tokio::spawn(service.oneshot(Request::new(())));
            events.expect(&["begun"]).await;
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            go.notify_one();
            let report = events.next().await;
            assert!(report.contains("no rollback"), "{report}");
            assert!(report.contains("tests/it/handler.rs:"), "{report}");
        }
    });
}

#[test]
fn open_shows_what_a_request_holds_and_where_it_was_entered() {
    check(async || {
        let (log, mut events) = log();
        let service = entering(&RequestScopeLayer::new(), &log, async |_, _| std::future::pending().await);
        let call = tokio::spawn(service.oneshot(Request::new(())));
        events.entered_and("begun").await;
        let open = tenure::open();
        let held: Vec<_> = open.iter().filter(|tenure| tenure.name.contains("Probe")).collect();
        assert_eq!(held.len(), 2, "{open}");
        assert!(held.iter().all(|tenure| tenure.location.file().ends_with("tests/it/support.rs")), "{open}");
        call.abort();
        events.exited("cancelled").await;
    });
}

#[test]
fn an_exit_is_not_handed_over_because_its_task_has_run_for_long() {
    check(async || {
        let (log, mut events) = log();
        // Far more than tokio lets a task do without a suspension.
        let busy = tokio::spawn(async move {
            for _ in 0..500 {
                let body = answered(&log, async move |scope: RequestScope, log: Log| {
                    drop(scope.enter(log.quick("a")).await.unwrap());
                })
                .await;
                read(body).await;
            }
        });
        busy.await.unwrap();
        assert_eq!((events.rest().len(), tenure::counters().handed_over), (1000, 0));
    });
}
