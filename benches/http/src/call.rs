//! A request's cost in the process: the service is called, its response's body read, nothing sent.
//!
//! The ways are taken in turns, so that what disturbs one disturbs all; the figure of a way is the median of its turns.

use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;
use std::process::Command;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::TryFutureExt as _;
use http::{Request, Response};
use http_body_util::combinators::MapErr;
use http_body_util::{BodyExt, Full};
use tenure_http::{OnDisconnect, RequestScope, RequestScopeLayer};
use tower::{Layer, Service, ServiceExt as _, service_fn};

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

/// The ways, by number.
const NAMES: [&str; 9] = [
    "without the layer",
    "with the layer, nothing entered",
    "with the layer, running on without its client",
    "with the layer, one context, exit does not wait",
    "with the layer, five contexts, exits do not wait",
    "with the layer, one context, exit waits",
    "axum, without the layer",
    "axum, with a layer that does nothing",
    "axum, with the layer, nothing entered",
];

/// From here on the ways are those of a router.
const AXUM: usize = 6;

pub(crate) fn measure(share: u32) {
    let requests = REQUESTS / share;
    let figures = on_runtime(in_turns(requests));
    let instructions = instructions();
    println!("A request, in the process, nothing sent ({TURNS} turns of {requests} requests, medians)\n");
    println!("| handler | ns a request | more than without, ns | instructions | more than without |");
    println!("|---|---:|---:|---:|---:|");
    for (way, name) in NAMES.iter().enumerate() {
        let base = if way < AXUM { 0 } else { AXUM };
        let (figure, part) = (figures[way], figures[way] - figures[base]);
        match &instructions {
            Some(counted) => {
                let part_counted = counted[way] - counted[base];
                println!("| {name} | {figure:.0} | {part:.0} | {:.0} | {part_counted:.0} |", counted[way]);
            }
            None => println!("| {name} | {figure:.0} | {part:.0} | | |"),
        }
    }
    println!();
    if instructions.is_none() {
        println!("Instructions are counted where there is valgrind.\n");
    }
}

/// Runs in a task, since one has an identity that the hub asks for, as in a server.
fn on_runtime<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(runtime.spawn(future)).expect("no panic")
}

/// Instructions a request, by way: what more requests cost more.
fn instructions() -> Option<Vec<f64>> {
    const FEW: u32 = 1_000;
    const MANY: u32 = 5_000;
    let program = std::env::current_exe().ok()?;
    let count = |way: usize, requests: u32| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .args(["--calls", &way.to_string(), &requests.to_string()])
            .output()
            .ok()?;
        let said = String::from_utf8(output.stderr).ok()?;
        let collected = said.lines().find_map(|line| line.split_once("Collected : "))?.1;
        collected.trim().parse::<f64>().ok()
    };
    (0..NAMES.len()).map(|way| Some((count(way, MANY)? - count(way, FEW)?) / f64::from(MANY - FEW))).collect()
}

/// Requests of one way alone, to be looked at with valgrind.
pub(crate) fn calls(way: &str, requests: &str) -> Result<(), Box<dyn Error>> {
    let (way, requests) = (way.parse()?, requests.parse()?);
    on_runtime(async move {
        Ways::new().turn(way, requests).await;
        assert!(tenure::drain(DRAIN_LIMIT).await.is_clean(), "all exits go well");
    });
    Ok(())
}

const DRAIN_LIMIT: Duration = Duration::from_secs(10);

async fn in_turns(requests: u32) -> Vec<f64> {
    let ways = Ways::new();
    let mut figures = vec![Vec::new(); NAMES.len()];
    for _ in 0..TURNS {
        for (way, figures) in figures.iter_mut().enumerate() {
            figures.push(ways.turn(way, requests).await);
        }
        assert!(tenure::drain(DRAIN_LIMIT).await.is_clean(), "all exits go well");
    }
    figures.into_iter().map(median).collect()
}

/// The layers. What they are put around is made anew for each turn, which costs nothing.
struct Ways {
    usual: RequestScopeLayer,
    completing: RequestScopeLayer,
}

impl Ways {
    fn new() -> Self {
        let completing = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete);
        Self { usual: RequestScopeLayer::new(), completing }
    }

    async fn turn(&self, way: usize, requests: u32) -> f64 {
        match way {
            0 => turn(&service_fn(hello), requests).await,
            1 => turn(&self.usual.layer(service_fn(hello)), requests).await,
            2 => turn(&self.completing.layer(service_fn(hello)), requests).await,
            3 => turn(&self.usual.layer(service_fn(entering::<1, false>)), requests).await,
            4 => turn(&self.usual.layer(service_fn(entering::<5, false>)), requests).await,
            5 => turn(&self.usual.layer(service_fn(entering::<1, true>)), requests).await,
            6 => turn(&Axum(Router::new().route("/", get(text))), requests).await,
            7 => turn(&Axum(Router::new().route("/", get(text)).layer(Nothing)), requests).await,
            _ => turn(&Axum(Router::new().route("/", get(text)).layer(self.usual.clone())), requests).await,
        }
    }
}

async fn text() -> &'static str {
    "hello"
}

/// A router as a service of requests without a body.
#[derive(Clone)]
struct Axum(Router);

impl Service<Request<()>> for Axum {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.0.call(request.map(|()| Body::empty()))
    }
}

/// A layer that does nothing but be there, with types of its own for what it passes on, as the layer has.
#[derive(Clone)]
pub(crate) struct Nothing;

impl<S> Layer<S> for Nothing {
    type Service = Passing<S>;

    fn layer(&self, inner: S) -> Passing<S> {
        Passing(inner)
    }
}

#[derive(Clone)]
pub(crate) struct Passing<S>(S);

impl<S, A, B> Service<Request<A>> for Passing<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: BodyExt,
{
    type Response = Response<MapErr<B, fn(B::Error) -> B::Error>>;
    type Error = S::Error;
    type Future = futures_util::future::MapOk<S::Future, fn(Response<B>) -> Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        self.0
            .call(request)
            .map_ok(|response| response.map(|body| body.map_err((|error| error) as fn(B::Error) -> B::Error)))
    }
}
