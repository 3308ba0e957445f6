//! When a scope closes, and what it is told: the response body, polled and dropped by hand.

use std::pin::pin;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use tenure_http::{OnDisconnect, Outcomes, RequestScope, RequestScopeBody, RequestScopeLayer};
use tower::ServiceExt as _;

use crate::script::{End, Script, answered, frame, read, service};
use crate::support::{Log, check, log};

type Answer = RequestScopeBody<Script>;

/// Calls a handler that enters two resources and answers.
async fn answer(
    layer: RequestScopeLayer,
    log: &Log,
    method: Method,
    response: impl FnOnce() -> Response<Script> + Clone + Send + Sync + 'static,
) -> Response<Answer> {
    let service = service(&layer, log, move |scope, log| {
        let response = response.clone();
        async move {
            let (a, b) = log.two(&scope).await;
            assert_eq!((a.name, b.name), ("a", "b"));
            Ok(response())
        }
    });
    let request = Request::builder().method(method).body(()).unwrap();
    service.oneshot(request).await.unwrap()
}

fn ok(
    chunks: &'static [&'static str],
    end: End,
) -> impl FnOnce() -> Response<Script> + Clone + Send + Sync + 'static
where
    End: Send,
{
    let end = std::sync::Arc::new(std::sync::Mutex::new(Some(end)));
    move || Response::new(Script::new(chunks, end.lock().unwrap().take().unwrap()))
}

#[test]
fn exits_after_the_end_of_the_body_in_reverse_order() {
    check(async || {
        let (log, mut events) = log();
        let response = answer(RequestScopeLayer::new(), &log, Method::GET, ok(&["x", "y"], End::Ends)).await;
        let mut body = pin!(response.into_body());
        events.expect(&["enter a", "enter b"]).await;
        for _ in 0..2 {
            assert!(frame(body.as_mut()).await.unwrap().unwrap().is_data());
            assert!(events.rest().is_empty(), "not before the end");
        }
        assert!(frame(body.as_mut()).await.is_none());
        events.expect(&["exit b, completed", "exit a, completed"]).await;
        assert!(frame(body.as_mut()).await.is_none() && body.is_end_stream());
    });
}

#[test]
fn quick_exits_have_run_when_the_end_is_reported() {
    check(async || {
        let (log, mut events) = log();
        let body = answered(&log, async |scope: RequestScope, log: Log| {
            drop(scope.enter(log.quick("a")).await.unwrap());
        });
        read(body.await).await;
        assert_eq!(events.rest(), ["enter a", "exit a, completed"]);
        assert_eq!(tenure::counters().handed_over, 0, "nothing was spawned");
    });
}

#[test]
fn an_error_is_a_failure_by_default_and_a_client_error_is_none_by_choice() {
    check(async || {
        let (client, server) = (
            "failed: the request was answered with 404 Not Found",
            "failed: the request was answered with 502 Bad Gateway",
        );
        let lenient = RequestScopeLayer::new().outcomes(Outcomes::server_errors());
        let cases = [
            (RequestScopeLayer::new(), StatusCode::SEE_OTHER, "completed"),
            (RequestScopeLayer::new(), StatusCode::NOT_FOUND, client),
            (RequestScopeLayer::new(), StatusCode::BAD_GATEWAY, server),
            (lenient.clone(), StatusCode::NOT_FOUND, "completed"),
            (lenient, StatusCode::BAD_GATEWAY, server),
        ];
        for (layer, status, outcome) in cases {
            let (log, mut events) = log();
            let response = answer(layer, &log, Method::GET, move || {
                Response::builder().status(status).body(Script::new(&[], End::Ends)).unwrap()
            });
            assert!(frame(pin!(response.await.into_body())).await.is_none());
            events.entered_and_exited(outcome).await;
        }
    });
}

#[test]
fn the_rule_for_failures_can_be_set() {
    check(async || {
        let (log, mut events) = log();
        let layer = RequestScopeLayer::new().failed_when(|status| status == StatusCode::NOT_FOUND);
        let response = answer(layer, &log, Method::GET, || {
            Response::builder().status(404).body(Script::new(&[], End::Ends)).unwrap()
        });
        assert!(frame(pin!(response.await.into_body())).await.is_none());
        let outcome = "exit b, failed: the request was answered with 404 Not Found";
        events.expect(&["enter a", "enter b", outcome]).await;
    });
}

#[test]
fn a_body_that_fails_is_a_failure() {
    check(async || {
        let (log, mut events) = log();
        let response = answer(RequestScopeLayer::new(), &log, Method::GET, ok(&["x"], End::Fails)).await;
        let mut body = pin!(response.into_body());
        assert!(frame(body.as_mut()).await.unwrap().is_ok());
        assert_eq!(frame(body.as_mut()).await.unwrap().unwrap_err(), "broken");
        let outcome = r#"failed: the response body failed: "broken""#;
        events.entered_and_exited(outcome).await;
    });
}

#[test]
fn a_body_that_panics_is_a_panic_and_resumes() {
    check(async || {
        let (log, mut events) = log();
        let response = answer(RequestScopeLayer::new(), &log, Method::GET, ok(&[], End::Panics)).await;
        let body = response.into_body();
        let panicked = tokio::spawn(async move { frame(pin!(body)).await.is_none() }).await.unwrap_err();
        assert_eq!(*panicked.into_panic().downcast::<&str>().unwrap(), "the body is out of order");
        let exits =
            ["exit b, panicked: the body is out of order", "exit a, panicked: the body is out of order"];
        events.expect(&["enter a", "enter b", exits[0], exits[1]]).await;
    });
}

#[test]
fn a_body_that_is_dropped_before_its_end_is_a_cancelled_request() {
    check(async || {
        let (log, mut events) = log();
        let response = answer(RequestScopeLayer::new(), &log, Method::GET, ok(&["x"], End::Waits)).await;
        {
            let mut body = pin!(response.into_body());
            assert!(frame(body.as_mut()).await.unwrap().is_ok());
        }
        events.entered_and_exited("cancelled").await;
    });
}

#[test]
fn what_no_server_reads_has_ended() {
    check(async || {
        let with_length = || {
            let response = Response::builder().header("content-length", "1");
            response.body(Script::new(&["x"], End::Waits)).unwrap()
        };
        let no_content = || Response::builder().status(204).body(Script::new(&["x"], End::Ends)).unwrap();
        // A server that knows the length reads no further.
        let (events_log, mut events) = log();
        let response = answer(RequestScopeLayer::new(), &events_log, Method::GET, with_length).await;
        {
            let mut body = pin!(response.into_body());
            assert!(frame(body.as_mut()).await.unwrap().is_ok());
        }
        events.entered_and_exited("completed").await;
        // To HEAD, and with some statuses, it sends no body at all.
        drop(answer(RequestScopeLayer::new(), &events_log, Method::HEAD, ok(&["x"], End::Ends)).await);
        events.entered_and_exited("completed").await;
        drop(answer(RequestScopeLayer::new(), &events_log, Method::GET, no_content).await);
        events.entered_and_exited("completed").await;
    });
}

#[test]
fn frames_trailers_and_hints_are_the_inner_bodys() {
    check(async || {
        let (log, mut events) = log();
        let response = answer(RequestScopeLayer::new(), &log, Method::GET, || {
            let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("tag"))]);
            let mut script = Script::new(&["abc"], End::Waits);
            script.frames.insert(0, Frame::trailers(trailers));
            script.hint.set_lower(3);
            script.hint.set_upper(9);
            Response::new(script)
        });
        let body = response.await.into_body();
        let hint = body.size_hint();
        assert_eq!((hint.lower(), hint.upper(), body.is_end_stream()), (3, Some(9), false));
        {
            let mut body = pin!(body);
            assert_eq!(frame(body.as_mut()).await.unwrap().unwrap().into_data().unwrap(), "abc");
            assert_eq!(frame(body.as_mut()).await.unwrap().unwrap().into_trailers().unwrap()["etag"], "tag");
        }
        // Nothing comes after trailers.
        events.entered_and_exited("completed").await;
    });
}

#[test]
fn a_response_nobody_reads_counts_as_its_handler_ended_where_handlers_run_on() {
    check(async || {
        let (log, mut events) = log();
        let layer = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete);
        drop(answer(layer, &log, Method::GET, ok(&["x"], End::Waits)).await);
        events.entered_and_exited("completed").await;
    });
}
