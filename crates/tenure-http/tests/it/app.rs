//! The service under test: a router of axum, its routes named after what they do.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::StatusCode;
use http_body::{Body as _, Frame};
use tenure::{Held, hold};
use tenure_http::{OnDisconnect, RequestScope, RequestScopeLayer, Scoped, Serve, ServeError, Server, serve};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::support::{Events, Log, Probe, check, log, until};

/// What routes share with their test.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) log: Log,
    /// Lets `/gate` and `/keep` go on.
    pub(crate) gate: Arc<Notify>,
    /// The chunks of `/stream`.
    pub(crate) chunks: Arc<std::sync::Mutex<Option<mpsc::Receiver<Bytes>>>>,
}

impl App {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone(), gate: Arc::default(), chunks: Arc::default() }
    }

    /// Makes `/stream` send what is sent here.
    pub(crate) fn stream(&self) -> mpsc::Sender<Bytes> {
        let (sender, receiver) = mpsc::channel(1);
        *self.chunks.lock().unwrap() = Some(receiver);
        sender
    }

    pub(crate) fn router(&self) -> Router {
        let keep = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete);
        Router::new()
            .route("/hello", get(hello))
            .route("/fail", get(fail))
            .route("/panic", get(panics))
            .route("/body-panics", get(body_panics))
            .route("/gate", get(gate))
            .route("/for-ever", any(for_ever))
            .route("/stream", get(stream))
            .route("/flood", get(flood))
            .route("/upload", post(upload))
            .route("/small", post(small).layer(DefaultBodyLimit::max(SMALL_BYTES_MAX)))
            .route("/keep", get(gate).layer(keep.clone()))
            .route("/keep-upload", post(upload).layer(keep.clone()))
            .route("/keep-for-ever", get(for_ever).layer(keep))
            .layer(RequestScopeLayer::new())
            .with_state(self.clone())
    }
}

type Two = (Scoped<Probe>, Scoped<Probe>);

async fn hello(scope: RequestScope, State(app): State<App>) -> &'static str {
    let _held: Two = app.log.two(&scope).await;
    "hello"
}

async fn fail(scope: RequestScope, State(app): State<App>) -> (StatusCode, &'static str) {
    let _held = app.log.two(&scope).await;
    (StatusCode::INTERNAL_SERVER_ERROR, "failed")
}

async fn panics(scope: RequestScope, State(app): State<App>) -> StatusCode {
    let _held = app.log.two(&scope).await;
    panic!("in the handler")
}

/// A body that panics when its first frame has been sent.
struct Panics {
    polls: u32,
    _held: Two,
}

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        match self.polls {
            1 => std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first"))))),
            2 => {
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            }
            _ => tenure_test::panic_quietly("in the body"),
        }
    }
}

async fn body_panics(scope: RequestScope, State(app): State<App>) -> Response {
    let held = app.log.two(&scope).await;
    Body::new(Panics { polls: 0, _held: held }).into_response()
}

async fn gate(scope: RequestScope, State(app): State<App>) -> &'static str {
    let _held = app.log.two(&scope).await;
    app.log.note("waiting");
    app.gate.notified().await;
    app.log.note("went on");
    "done"
}

async fn for_ever(scope: RequestScope, State(app): State<App>) -> StatusCode {
    let _held = app.log.two(&scope).await;
    app.log.note("waiting");
    std::future::pending().await
}

/// A body that holds a resource of the scope while it is sent.
struct Chunks {
    chunks: mpsc::Receiver<Bytes>,
    _held: Two,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

async fn stream(scope: RequestScope, State(app): State<App>) -> Response {
    let held = app.log.two(&scope).await;
    let chunks = app.chunks.lock().unwrap().take().unwrap();
    Body::new(Chunks { chunks, _held: held }).into_response()
}

/// A body without an end, as fast as it is read.
struct Flood {
    log: Log,
    begun: bool,
    _held: Two,
}

impl http_body::Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.log.note("flooding");
        }
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))))
    }
}

async fn flood(scope: RequestScope, State(app): State<App>) -> Response {
    let held = app.log.two(&scope).await;
    Body::new(Flood { log: app.log, begun: false, _held: held }).into_response()
}

async fn upload(scope: RequestScope, State(app): State<App>, request: Request) -> Response {
    let _held = app.log.two(&scope).await;
    let mut body = std::pin::pin!(request.into_body());
    let mut length = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(frame) = frame else {
            app.log.note("upload broken");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let came = frame.into_data().map_or(0, |data| data.len());
        // HTTP/2 may end it with an empty frame.
        if came > 0 {
            length += came;
            app.log.note("upload goes on");
        }
    }
    length.to_string().into_response()
}

/// The most bytes that `/small` takes.
pub(crate) const SMALL_BYTES_MAX: usize = 1024;

async fn small(scope: RequestScope, State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Response {
    let _held = app.log.two(&scope).await;
    match body {
        Ok(body) => body.len().to_string().into_response(),
        Err(rejection) => rejection.into_response(),
    }
}

pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Runs a test against a server of the app, on both flavours of the runtime; then all is left, and nothing may be open.
#[track_caller]
pub(crate) fn served(test: impl AsyncFn(&mut Server, &App, &mut Events)) {
    served_with(|server| server, test);
}

/// [`served`], with limits of the test's own.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the test is a closure, written where it is passed")]
pub(crate) fn served_with(
    setup: impl Fn(Serve<Router>) -> Serve<Router>,
    test: impl AsyncFn(&mut Server, &App, &mut Events),
) {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let served = tenure::with_local(setup(serve(listen().await, app.router())), async |server| {
            test(server, &app, &mut events).await;
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
    });
}

/// Runs a test that leaves the server itself, within this grace limit.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the test is a closure, written where it is passed")]
pub(crate) fn held(grace: Duration, test: impl AsyncFn(Held<Server>, &App, &mut Events)) {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let server = serve(listen().await, app.router()).grace_limit(grace);
        test(hold(server).await.unwrap(), &app, &mut events).await;
    });
}

/// For what is to be cut: short, since real time has to pass.
pub(crate) const CUT: Duration = Duration::from_millis(100);

/// The URL of a server.
pub(crate) fn url(server: &Server) -> String {
    format!("http://{}", server.local_addr())
}

/// Waits until the server has done with all connections but so many.
///
/// It is the server's to notice that a client is gone, so there is nothing of the test's to wait for.
pub(crate) async fn until_open(server: &Server, but: u64) {
    let stats = server.stats();
    until(|| stats.open() <= but).await;
}
