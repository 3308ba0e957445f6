//! Whose fault it is: each kind of incident names the user's resource and the user's line.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use tenure::{AsyncExit, IncidentKind, Outcome, shield};
use tenure_http::{OnDisconnect, RequestScope, RequestScopeLayer, Scoped};
use tokio::sync::Notify;
use tower::ServiceExt as _;

use crate::script::{End, Script, frame, service};
use crate::support::{check, log};

/// How an exit goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Fails,
    Panics,
}

/// A resource of a user.
#[derive(Debug)]
struct Order {
    wrong: Wrong,
    waits: bool,
}

impl AsyncExit for Order {
    type Error = &'static str;

    async fn exit(self, _: Outcome<'_>) -> Result<(), &'static str> {
        if self.waits {
            tokio::task::yield_now().await;
        }
        match self.wrong {
            Wrong::Fails => Err("out of stock"),
            Wrong::Panics => tenure_test::panic_quietly("out of stock"),
        }
    }
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Answers,
    FailsService,
    IsDropped,
    /// Its body is dropped before its end.
    BodyIsDropped,
    BodyFails,
    /// Its handler goes on without its client.
    GoesOn,
    /// The guard outlives everything.
    GuardIsKept,
}

const ENDS: [Ends; 7] = [
    Ends::Answers,
    Ends::FailsService,
    Ends::IsDropped,
    Ends::BodyIsDropped,
    Ends::BodyFails,
    Ends::GoesOn,
    Ends::GuardIsKept,
];

/// The line on which [`handle`] enters its resource.
static LINE: AtomicU32 = AtomicU32::new(0);

async fn handle(
    scope: RequestScope,
    (wrong, waits, ends): (Wrong, bool, Ends),
    (begun, go): (Arc<Notify>, Arc<Notify>),
    keep: Arc<Mutex<Option<Scoped<Order>>>>,
) -> Result<Response<Script>, String> {
    let order = async move { Ok::<_, Infallible>(Order { wrong, waits }) };
    LINE.store(line!() + 1, Relaxed);
    let held = scope.enter(order).await.unwrap();
    if ends == Ends::GuardIsKept {
        *keep.lock().unwrap() = Some(held);
        return Ok(Response::new(Script::new(&[], End::Ends)));
    }
    begun.notify_one();
    if matches!(ends, Ends::IsDropped | Ends::GoesOn) {
        go.notified().await;
    }
    match ends {
        Ends::FailsService => Err("the service fails".to_owned()),
        Ends::BodyIsDropped => Ok(Response::new(Script::new(&["x"], End::Waits))),
        Ends::BodyFails => Ok(Response::new(Script::new(&["x"], End::Fails))),
        _ => Ok(Response::new(Script::new(&[], End::Ends))),
    }
}

#[test]
fn whatever_becomes_of_a_request_reports_name_the_users_resource_and_line() {
    check(async || {
        for ends in ENDS {
            for (wrong, kind) in
                [(Wrong::Fails, IncidentKind::ExitFailed), (Wrong::Panics, IncidentKind::ExitPanicked)]
            {
                for waits in [false, true] {
                    let case = format!("{ends:?}, {wrong:?}, waits: {waits}");
                    let (log, _events) = log();
                    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
                    let keep = Arc::new(Mutex::new(None));
                    let gates = (Arc::clone(&begun), Arc::clone(&go));
                    let kept = Arc::clone(&keep);
                    let choice =
                        if ends == Ends::GoesOn { OnDisconnect::Complete } else { OnDisconnect::Cancel };
                    let layer = RequestScopeLayer::new().on_disconnect(choice);
                    let service = service(&layer, &log, move |scope, _| {
                        handle(scope, (wrong, waits, ends), gates.clone(), Arc::clone(&kept))
                    });
                    let call = tokio::spawn(service.oneshot(Request::new(())));
                    if matches!(ends, Ends::IsDropped | Ends::GoesOn) {
                        begun.notified().await;
                        call.abort();
                        assert!(call.await.is_err());
                        go.notify_one();
                    } else if let Ok(response) = call.await.unwrap() {
                        match ends {
                            Ends::BodyIsDropped => drop(response),
                            Ends::GuardIsKept => {
                                drop(response);
                                drop(keep.lock().unwrap().take());
                            }
                            _ => {
                                let mut body = std::pin::pin!(response.into_body());
                                while let Some(Ok(_)) = frame(body.as_mut()).await {}
                            }
                        }
                    }
                    let report = tenure::drain(crate::support::HANG).await;
                    assert_eq!(report.incidents.len(), 1, "{case}: {report}");
                    let incident = &report.incidents[0];
                    assert_eq!(incident.kind, kind, "{case}: {incident}");
                    assert!(incident.name.ends_with("reports::Order"), "{case}: {incident}");
                    assert!(incident.location.file().ends_with("tests/it/reports.rs"), "{case}: {incident}");
                    assert_eq!(incident.location.line(), LINE.load(Relaxed), "{case}: {incident}");
                    assert!(incident.message.contains("out of stock"), "{case}: {incident}");
                }
            }
        }
    });
}

#[test]
fn an_enter_that_goes_on_without_its_request_is_reported_by_its_place() {
    check(async || {
        for panics in [false, true] {
            let (log, _events) = log();
            let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let gates = (Arc::clone(&begun), Arc::clone(&go));
            let service = service(&RequestScopeLayer::new(), &log, move |scope: RequestScope, _| {
                let (begun, go) = gates.clone();
                async move {
                    let enter = shield(async move {
                        begun.notify_one();
                        go.notified().await;
                        if panics {
                            tenure_test::panic_quietly("no stock")
                        }
                        Err::<Order, _>("no stock".to_owned())
                    });
                    drop(scope.enter(enter).await);
                    Ok(Response::new(Script::new(&[], End::Ends)))
                }
            });
            let call = tokio::spawn(service.oneshot(Request::new(())));
            begun.notified().await;
            call.abort();
            assert!(call.await.is_err());
            go.notify_one();
            let report = tenure::drain(crate::support::HANG).await;
            assert_eq!(report.incidents.len(), 1, "{report}");
            let incident = &report.incidents[0];
            let kind = if panics { IncidentKind::EnterPanicked } else { IncidentKind::EnterFailed };
            assert_eq!(incident.kind, kind, "{incident}");
            assert!(incident.location.file().ends_with("tests/it/reports.rs"), "{incident}");
            assert!(incident.name.contains("Order"), "{incident}");
        }
    });
}

#[test]
fn what_is_lost_with_its_runtime_is_reported_by_its_place() {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lost);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tenure::set_report_sink(move |incident| told.lock().unwrap().push(incident.clone()));
        let (log, mut events) = log();
        let notes = log.clone();
        let service = service(&RequestScopeLayer::new(), &log, move |scope: RequestScope, _| {
            let notes = notes.clone();
            async move {
                let _held = scope
                    .enter(async { Ok::<_, Infallible>(Order { wrong: Wrong::Fails, waits: true }) })
                    .await;
                notes.note("begun");
                std::future::pending().await
            }
        });
        tokio::spawn(service.oneshot(Request::new(())));
        events.expect(&["begun"]).await;
    });
    drop(runtime);
    let lost = lost.lock().unwrap();
    let orders: Vec<_> = lost.iter().filter(|incident| incident.name.ends_with("reports::Order")).collect();
    assert_eq!(orders.len(), 1, "{lost:?}");
    let here = |location: &std::panic::Location<'_>| location.file().ends_with("tests/it/reports.rs");
    assert!(lost.iter().all(|incident| here(incident.location)), "{lost:?}");
}
