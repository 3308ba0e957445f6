//! gRPC as users have it: tonic's service under the request layer, and its client.

use http::{HeaderMap, HeaderValue, Method};
use http_body::Frame;
use tenure::with_local;
use tenure_http::{Outcomes, RequestScope, RequestScopeLayer, ServeError, serve};
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::app::listen;
use crate::support::{Log, check, log};

/// Enters two resources on each request's scope, before gRPC sees it.
async fn entering(
    log: axum::extract::State<Log>,
    scope: RequestScope,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let _held = log.two(&scope).await;
    next.run(request).await
}

#[test]
fn a_grpc_status_decides_in_headers_and_in_trailers() {
    check(async || {
        let (log, mut events) = log();
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("known", ServingStatus::Serving).await;
        let router = tonic::service::Routes::new(health)
            .into_axum_router()
            .layer(axum::middleware::from_fn_with_state(log.clone(), entering))
            .layer(RequestScopeLayer::new().outcomes(Outcomes::grpc()));
        let served = with_local(serve(listen().await, router), async |server| {
            let url = format!("http://{}", server.local_addr());
            let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
            let mut client = HealthClient::new(channel);
            // Ok comes in the trailers.
            client.check(HealthCheckRequest { service: "known".to_owned() }).await.unwrap();
            events.entered_and_exited("completed").await;
            // A failure at once comes in the headers, with the HTTP status 200.
            let failed = client.check(HealthCheckRequest { service: "unknown".to_owned() }).await.unwrap_err();
            assert_eq!(failed.code(), tonic::Code::NotFound);
            events.entered_and_exited("failed: the request was answered with the gRPC status 5").await;
            // A stream that its client leaves.
            let watch = client.watch(HealthCheckRequest { service: "known".to_owned() }).await.unwrap();
            let mut watch = watch.into_inner();
            assert!(watch.message().await.unwrap().is_some());
            drop(watch);
            events.entered_and_exited("cancelled").await;
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
    });
}

#[test]
fn a_grpc_response_without_a_status_has_failed() {
    use crate::script::{End, Script, frame, service};
    use tower::ServiceExt as _;

    check(async || {
        let trailers = |code: &'static str| {
            Frame::trailers(HeaderMap::from_iter([(
                "grpc-status".parse().unwrap(),
                HeaderValue::from_static(code),
            )]))
        };
        let unknown = "failed: the request was answered with the gRPC status 2";
        let cases = [
            ("application/grpc", None, unknown),
            ("application/grpc+proto", Some("0"), "completed"),
            (
                "application/grpc; charset=utf-8",
                Some("13"),
                "failed: the request was answered with the gRPC status 13",
            ),
            ("application/grpc", Some("no number"), unknown),
            // Not gRPC: judged by its HTTP status.
            ("application/grpc-web", None, "completed"),
            ("text/plain", None, "completed"),
        ];
        for (kind, code, outcome) in cases {
            let (log, mut events) = log();
            let layer = RequestScopeLayer::new().outcomes(Outcomes::grpc());
            let service = service(&layer, &log, move |scope: RequestScope, log: Log| async move {
                let _held = log.two(&scope).await;
                let mut script = Script::new(&["x"], End::Ends);
                if let Some(code) = code {
                    script.frames.insert(0, trailers(code));
                }
                Ok(http::Response::builder().header("content-type", kind).body(script).unwrap())
            });
            let request = http::Request::builder().method(Method::POST).body(()).unwrap();
            let mut body = std::pin::pin!(service.oneshot(request).await.unwrap().into_body());
            while frame(body.as_mut()).await.is_some() {}
            events.entered_and_exited(outcome).await;
        }
    });
}
