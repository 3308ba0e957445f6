//! A stream of server-sent events that ends when its client goes away, and when the server stops.
//!
//! ```console
//! cargo run --example events --features axum,serve
//! curl -N http://127.0.0.1:3000/events
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt as _};
use tenure_http::{EnterError, RequestScope, RequestScopeLayer, ServeError, serve};

/// What a listener holds while it listens, such as a subscription.
#[derive(Debug)]
struct Subscription;

async fn subscribe() -> Result<Subscription, Infallible> {
    Ok(Subscription)
}

async fn events(scope: RequestScope) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    // It exits when the stream has ended, however that happens.
    let failed = |_: EnterError<_>| StatusCode::SERVICE_UNAVAILABLE;
    let subscription = scope.enter(tenure::released(subscribe())).await.map_err(failed)?;
    let ticks = tokio::time::interval(Duration::from_millis(100));
    let events = stream::unfold((ticks, subscription, 0), async |(mut ticks, subscription, count)| {
        ticks.tick().await;
        Some((Ok(Event::default().data(format!("event {count}"))), (ticks, subscription, count + 1)))
    });
    // A stop ends the stream, so that nobody waits for the grace limit. Browsers reconnect by themselves.
    Ok(Sse::new(events.take_until(scope.stopping())).keep_alive(KeepAlive::default()))
}

/// The service.
pub(crate) fn router() -> Router {
    Router::new().route("/events", get(events)).layer(RequestScopeLayer::new())
}

/// Serves it until Ctrl-C.
#[tokio::main]
async fn main() -> std::process::ExitCode {
    tenure::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await.map_err(ServeError::Listener)?;
        tenure::with(serve(listener, router()), async |server| server.forever().await).await
    })
    .await
}
