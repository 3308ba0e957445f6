//! Every stage at which a client can go × HTTP/1.1 and HTTP/2 × plain and TLS × its two ways of going: one table.
//!
//! The scope is told that the request was cancelled if anything was still to be done, and all of it exits in order.

use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tenure::with_local;
use tenure_http::{Listener, RequestScope, RequestScopeLayer, ServeError, Server, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{App, listen, until_open};
use crate::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS};
use crate::sockets::Version;
use crate::support::{Events, Log, check, log};
use crate::tls_peer::Signed;

/// What the server does for the request when the client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The connection is open, and nothing was said.
    Silent,
    AmidHead,
    /// The handler awaits something.
    Awaits,
    /// It reads an upload.
    Uploads,
    /// It leaves an upload unread.
    LeavesUnread,
    /// It has answered, and the body waits for something.
    Streams,
    /// It has answered, and nobody takes the body.
    Floods,
    /// A guard of its scope is in another task.
    HoldsElsewhere,
    /// It is in an exit of its own, which has to wait.
    Exits,
    /// It goes on without its client.
    Keeps,
}

const STAGES: [Stage; 10] = [
    Stage::Silent,
    Stage::AmidHead,
    Stage::Awaits,
    Stage::Uploads,
    Stage::LeavesUnread,
    Stage::Streams,
    Stage::Floods,
    Stage::HoldsElsewhere,
    Stage::Exits,
    Stage::Keeps,
];

impl Stage {
    /// The request, whether it has a body, and whether it is whole.
    fn request(self) -> (&'static str, &'static str, bool) {
        match self {
            Self::Silent | Self::AmidHead => ("GET", "/hello", false),
            Self::Awaits => ("GET", "/for-ever", false),
            Self::Uploads => ("POST", "/upload", true),
            Self::LeavesUnread => ("POST", "/for-ever", true),
            Self::Streams => ("GET", "/stream", false),
            Self::Floods => ("GET", "/flood", false),
            Self::HoldsElsewhere => ("GET", "/elsewhere", false),
            Self::Exits => ("GET", "/exits", false),
            Self::Keeps => ("GET", "/keep", false),
        }
    }

    /// What a handler notes when it is there.
    fn note(self) -> Option<&'static str> {
        match self {
            Self::Silent | Self::AmidHead | Self::Streams => None,
            Self::Awaits | Self::LeavesUnread | Self::Keeps => Some("waiting"),
            Self::Uploads => Some("upload goes on"),
            Self::Floods => Some("flooding"),
            Self::HoldsElsewhere => Some("elsewhere"),
            Self::Exits => Some("exiting"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

struct Client {
    stream: Box<dyn Stream>,
    version: Version,
}

impl Client {
    async fn new(server: &Server, version: Version, signed: Option<&Signed>, resets: bool) -> Self {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        if resets {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let alpn = if version == Version::Http2 { "h2" } else { "http/1.1" };
        let stream: Box<dyn Stream> = match signed {
            None => Box::new(stream),
            Some(signed) => Box::new(signed.connect_as(stream, Some(alpn)).await),
        };
        Self { stream, version }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn ask(&mut self, stage: Stage) {
        if stage == Stage::Silent {
            return;
        }
        let (method, path, has_body) = stage.request();
        let (head, body) = match self.version {
            Version::Http1 => {
                let length = if has_body { "content-length: 10\r\n" } else { "" };
                let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{length}\r\n");
                (head.into_bytes(), b"half.".to_vec())
            }
            Version::Http2 => {
                let end = if has_body { 0 } else { END_STREAM };
                let head = frames::frame(HEADERS, END_HEADERS | end, 1, &frames::head(method, path));
                ([frames::hello(), head].concat(), frames::frame(DATA, 0, 1, b"half."))
            }
        };
        if stage == Stage::AmidHead {
            return self.send(&head[..head.len() - 3]).await;
        }
        self.send(&head).await;
        if has_body {
            self.send(&body).await;
        }
    }

    /// Reads until these bytes have come.
    async fn read_until(&mut self, end: &[u8]) {
        let mut read = Vec::new();
        while !read.windows(end.len()).any(|window| window == end) {
            assert!(self.stream.read_buf(&mut read).await.unwrap() > 0, "the server has closed");
        }
    }
}

/// Hands a guard over to a task of nobody's, which holds it until it is told.
async fn elsewhere(scope: RequestScope, axum::extract::State(app): axum::extract::State<App>) {
    let (a, b) = app.log.two(&scope).await;
    let gate = std::sync::Arc::clone(&app.gate);
    tokio::spawn(async move {
        gate.notified().await;
        drop(b);
    });
    app.log.note("elsewhere");
    let _a = a;
    std::future::pending::<()>().await;
}

/// Exits what it has in the handler, which has to wait.
async fn exits(scope: RequestScope, axum::extract::State(app): axum::extract::State<App>) {
    let _held = app.log.two(&scope).await;
    let (gate, log) = (std::sync::Arc::clone(&app.gate), app.log.clone());
    let waits = tenure::closing(async { Ok::<_, std::io::Error>(()) }, async move |()| {
        log.note("exiting");
        gate.notified().await;
        log.note("exited");
        Ok::<_, std::io::Error>(())
    });
    tenure::with(waits, async |_| Ok::<_, std::io::Error>(())).await.unwrap();
    std::future::pending::<()>().await;
}

fn router(app: &App) -> axum::Router {
    let more = axum::Router::new()
        .route("/elsewhere", axum::routing::get(elsewhere))
        .route("/exits", axum::routing::get(exits))
        .layer(RequestScopeLayer::new())
        .with_state(app.clone());
    app.router().merge(more)
}

/// What has to follow once the client is gone.
async fn follows(stage: Stage, app: &App, events: &mut Events, case: &str) {
    match stage {
        Stage::Silent | Stage::AmidHead => {}
        Stage::HoldsElsewhere => {
            // The scope waits for its guard.
            assert!(events.rest().is_empty(), "{case}");
            app.gate.notify_one();
            events.exited("cancelled").await;
        }
        Stage::Exits => {
            assert!(events.rest().is_empty(), "{case}");
            app.gate.notify_one();
            // What had begun goes on where it was, before what lies around it.
            events.expect(&["exited"]).await;
            events.exited("cancelled").await;
        }
        Stage::Keeps => {
            assert!(events.rest().is_empty(), "{case}");
            app.gate.notify_one();
            events.expect(&["went on"]).await;
            events.exited("completed").await;
        }
        _ => events.exited("cancelled").await,
    }
}

async fn leave_at(
    stage: Stage,
    version: Version,
    signed: Option<&Signed>,
    resets: bool,
    log: &Log,
    events: &mut Events,
) {
    let case = format!("{stage:?}, {version:?}, TLS: {}, resets: {resets}", signed.is_some());
    let app = App::new(log);
    let listener = Listener::from(listen().await);
    let listener = match signed {
        None => listener,
        Some(signed) => listener.tls(&signed.tls()),
    };
    let served = with_local(serve(listener, router(&app)), async |server| {
        let chunks = app.stream();
        let mut client = Client::new(server, version, signed, resets).await;
        client.ask(stage).await;
        if let Some(note) = stage.note() {
            events.entered_and(note).await;
        }
        if stage == Stage::Streams {
            chunks.send(Bytes::from_static(b"first")).await.unwrap();
            client.read_until(b"first").await;
            events.entered().await;
        }
        let stats = server.stats();
        crate::support::until(|| stats.accepted() == 1).await;
        assert!(events.rest().is_empty(), "{case}");
        drop(client);
        follows(stage, &app, events, &case).await;
        until_open(server, 0).await;
        assert!(events.rest().is_empty(), "{case}");
        let came = u64::from(stage.note().is_some() || stage == Stage::Streams);
        assert_eq!((stats.requests(), stats.panicked(), stats.cut()), (came, 0, 0), "{case}");
        Ok::<_, ServeError>(())
    });
    served.await.unwrap();
}

#[test]
fn at_whatever_stage_a_client_goes_all_that_was_entered_exits() {
    let signed = Signed::new();
    check(async || {
        for version in [Version::Http1, Version::Http2] {
            for signed in [None, Some(&signed)] {
                for stage in STAGES {
                    for resets in [false, true] {
                        let (log, mut events) = log();
                        leave_at(stage, version, signed, resets, &log, &mut events).await;
                    }
                }
            }
        }
    });
}
