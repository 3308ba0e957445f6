//! A request's cost in the process: the service is called, its response's body read, nothing sent.
//!
//! The ways are taken in turns, so that what disturbs one disturbs all; the figure of a way is the median of its turns.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tenure_http::{OnDisconnect, RequestScope, RequestScopeLayer};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::median;
use crate::noop::noop;

const TURNS: usize = 41;
const REQUESTS: u32 = 20_000;

/// How many requests go without a suspension.
const SUSPENDS_EVERY: u32 = 16;

type Answer = Response<Full<Bytes>>;

async fn hello(_: Request<()>) -> Result<Answer, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

async fn entering<const COUNT: usize, const WAITS: bool>(request: Request<()>) -> Result<Answer, Infallible> {
    let scope = request.extensions().get::<RequestScope>().cloned().expect("the layer is there");
    for _ in 0..COUNT {
        drop(black_box(scope.enter(noop(WAITS)).await.ok()));
    }
    hello(request).await
}

/// The nanoseconds of a request.
async fn turn<S, B>(service: &S, requests: u32) -> f64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: BodyExt<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let begin = Instant::now();
    for number in 0..requests {
        if number % SUSPENDS_EVERY == 0 {
            // As a connection does; what was handed over runs meanwhile, and belongs to the turn.
            tokio::task::yield_now().await;
        }
        let Ok(response) = service.clone().oneshot(black_box(Request::new(()))).await;
        black_box(response.into_body().collect().await.expect("it does not fail").to_bytes());
    }
    begin.elapsed().as_nanos() as f64 / f64::from(requests)
}

pub(crate) fn measure(share: u32) {
    // A task has an identity that the hub asks for, as in a server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(runtime.spawn(in_turns(REQUESTS / share))).expect("no panic");
    let base = figures[0];
    println!(
        "A request, in the process, nothing sent ({TURNS} turns of {} requests, medians)\n",
        REQUESTS / share
    );
    println!("| handler | ns a request | layer's part, ns |\n|---|---:|---:|");
    let names = [
        "without the layer",
        "with the layer, nothing entered",
        "with the layer, running on without its client",
        "with the layer, one context, exit does not wait",
        "with the layer, five contexts, exits do not wait",
        "with the layer, one context, exit waits",
    ];
    for (name, figure) in names.iter().zip(&figures) {
        println!("| {name} | {figure:.0} | {:.0} |", figure - base);
    }
    println!();
}

async fn in_turns(requests: u32) -> Vec<f64> {
    let layer = RequestScopeLayer::new();
    let bare = service_fn(hello);
    let scoped = layer.layer(service_fn(hello));
    let completing = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete).layer(service_fn(hello));
    let one = layer.layer(service_fn(entering::<1, false>));
    let five = layer.layer(service_fn(entering::<5, false>));
    let waiting = layer.layer(service_fn(entering::<1, true>));
    let mut figures = vec![Vec::new(); 6];
    for _ in 0..TURNS {
        figures[0].push(turn(&bare, requests).await);
        figures[1].push(turn(&scoped, requests).await);
        figures[2].push(turn(&completing, requests).await);
        figures[3].push(turn(&one, requests).await);
        figures[4].push(turn(&five, requests).await);
        figures[5].push(turn(&waiting, requests).await);
        assert!(tenure::drain(Duration::from_secs(10)).await.is_clean(), "all exits go well");
    }
    figures.into_iter().map(median).collect()
}
