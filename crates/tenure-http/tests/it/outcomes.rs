//! What decides an outcome besides the status: the handler's own word, what drops the handler, rules of the application.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use tenure::{Outcome, with_local};
use tenure_http::{HandlerLayer, Outcomes, RequestFailed, RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::time::timeout;

use crate::app::listen;
use crate::support::{Events, Log, RawClient, check, log};

#[derive(Debug, PartialEq, Eq)]
struct SoldOut;

async fn sold_out(scope: RequestScope, State(log): State<Log>) -> &'static str {
    let _held = log.two(&scope).await;
    let sees = log.clone();
    let deferred = scope.defer_with_outcome(move |outcome: Outcome<'_>| {
        let same = outcome.error::<SoldOut>() == Some(&SoldOut);
        Box::pin(async move {
            sees.note(format!("the very error: {same}"));
            Ok(())
        })
    });
    assert!(deferred.is_ok());
    scope.fail(SoldOut).unwrap();
    // The first word counts.
    assert_eq!(scope.fail("later"), Err("later"));
    "sorry"
}

async fn two_statements(scope: RequestScope, State(log): State<Log>) -> &'static str {
    let _held = log.two(&scope).await;
    log.note("the first statement");
    std::future::pending::<()>().await;
    "the second statement"
}

/// Drops the handler, and answers as if nothing had happened.
async fn impatient(request: Request, next: Next) -> Response {
    let limited = timeout(Duration::from_millis(20), next.run(request));
    limited.await.unwrap_or_else(|_| (StatusCode::OK, "half of it").into_response())
}

async fn answered(address: std::net::SocketAddr, path: &str, text: &str) {
    let mut client = RawClient::connect(address).await;
    client.get(path).await;
    client.read_until(text).await;
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the test is a closure, written where it is passed")]
fn serving(router: impl Fn() -> Router<Log>, test: impl AsyncFn(std::net::SocketAddr, &mut Events)) {
    check(async || {
        let (log, mut events) = log();
        let router = router().with_state(log);
        let served = with_local(serve(listen().await, router), async |server| {
            test(server.local_addr(), &mut events).await;
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
    });
}

#[test]
fn a_handler_that_fails_its_scope_is_a_failure_whatever_it_answers() {
    serving(
        || Router::new().route("/", get(sold_out)).layer(RequestScopeLayer::new()),
        async |address, events| {
            answered(address, "/", "sorry").await;
            events.expect(&["enter a", "enter b", "the very error: true"]).await;
            events.exited("failed: SoldOut").await;
        },
    );
}

#[test]
fn a_handler_that_a_layer_drops_is_cancelled_whatever_is_answered() {
    let inside = || {
        let router = Router::new().route("/", get(two_statements)).layer(HandlerLayer::new());
        router.layer(from_fn(impatient)).layer(RequestScopeLayer::new())
    };
    let outside = || {
        let router = Router::new().route("/", get(two_statements)).layer(RequestScopeLayer::new());
        router.layer(from_fn(impatient))
    };
    for router in [inside, outside] {
        serving(router, async |address, events| {
            answered(address, "/", "half of it").await;
            events.entered_and("the first statement").await;
            events.exited("cancelled").await;
        });
    }
}

#[test]
fn a_handler_that_is_watched_and_ends_is_judged_by_its_answer() {
    let router = || {
        Router::new()
            .route(
                "/",
                get(async |scope: RequestScope, State(log): State<Log>| {
                    let _held = log.two(&scope).await;
                    "done"
                }),
            )
            .layer(HandlerLayer::new())
            .layer(RequestScopeLayer::new())
    };
    serving(router, async |address, events| {
        answered(address, "/", "done").await;
        events.entered_and_exited("completed").await;
    });
}

#[test]
fn a_rule_of_the_application_sees_status_and_headers() {
    let rule = Outcomes::when(|status, headers| {
        let refused = headers.contains_key("x-refused") && status.is_success();
        refused.then(|| RequestFailed::Other("it was refused".to_owned()))
    });
    let router = move || {
        Router::new()
            .route(
                "/",
                get(async |scope: RequestScope, State(log): State<Log>| {
                    let _held = log.two(&scope).await;
                    ([("x-refused", "yes")], "no")
                }),
            )
            .layer(RequestScopeLayer::new().outcomes(rule.clone()))
    };
    serving(router, async |address, events| {
        answered(address, "/", "no").await;
        events.entered_and_exited("failed: the request failed: it was refused").await;
    });
}
