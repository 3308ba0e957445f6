//! Web sockets and other upgrades, over both versions: counted, told of a stop, closed as the protocol has it.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use http::Request;
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tenure::{Held, Stopped, hold, with};
use tenure_http::{RequestScope, RequestScopeLayer, Serve, Server, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Message as Received, Role};

use crate::app::{CUT, listen, until_open};
use crate::support::{Events, HANG, Log, RawClient, check, log};

pub(crate) type Client = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

/// Connects a web socket, as a browser does.
pub(crate) async fn connect(server: &Server, version: Version, path: &str) -> Client {
    let stream = TokioIo::new(TcpStream::connect(server.local_addr()).await.unwrap());
    let request = Request::builder().header("sec-websocket-version", "13");
    let response = match version {
        Version::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection.with_upgrades());
            let request = request.uri(path).header("host", "test").header("connection", "upgrade");
            let request =
                request.header("upgrade", "websocket").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            sender.send_request(request.body(Empty::<&[u8]>::new()).unwrap()).await.unwrap()
        }
        Version::Http2 => {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            let request = request.method("CONNECT").uri(format!("http://test{path}"));
            let request = request.extension(Protocol::from_static("websocket"));
            sender.send_request(request.body(Empty::<&[u8]>::new()).unwrap()).await.unwrap()
        }
    };
    assert!(matches!(response.status().as_u16(), 101 | 200), "{response:?}");
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// What comes next: a text, or why the server closed.
pub(crate) async fn next(client: &mut Client) -> Result<String, Option<CloseCode>> {
    let next = std::future::poll_fn(|context| {
        futures_core::Stream::poll_next(std::pin::Pin::new(&mut *client), context)
    });
    match tokio::time::timeout(HANG, next).await.expect("nothing comes") {
        Some(Ok(Received::Text(text))) => Ok(text.to_string()),
        Some(Ok(Received::Close(frame))) => Err(frame.map(|frame| frame.code)),
        _ => Err(None),
    }
}

/// A socket that holds something for as long as it is open, and what it does there.
#[derive(Clone, Copy)]
enum Does {
    /// Greets, and waits for the stop.
    Heeds,
    /// Greets, and waits for ever.
    Ignores,
    /// Greets and returns.
    Returns,
    /// Greets and panics.
    Panics,
}

fn router(log: &Log) -> Router {
    let route = |does: Does| {
        let log = log.clone();
        any(async move |upgrade: WebSocketUpgrade, scope: RequestScope| -> Response {
            let stopping = scope.stopping();
            scope.web_socket(upgrade, async move |socket| {
                let used = with(log.slow("session"), async |_| {
                    socket.send(Message::text("welcome")).await.unwrap();
                    match does {
                        Does::Heeds => stopping.await,
                        Does::Ignores => std::future::pending().await,
                        Does::Returns => {}
                        Does::Panics => tenure_test::panic_quietly("in the socket"),
                    }
                    Ok::<_, std::convert::Infallible>(())
                });
                used.await.unwrap();
            })
        })
    };
    Router::new()
        .route("/heeds", route(Does::Heeds))
        .route("/ignores", route(Does::Ignores))
        .route("/returns", route(Does::Returns))
        .route("/panics", route(Does::Panics))
        .layer(RequestScopeLayer::new())
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the test is a closure, written where it is passed")]
fn serving(setup: impl Fn(Serve<Router>) -> Serve<Router>, test: impl AsyncFn(Held<Server>, &mut Events)) {
    check(async || {
        let (log, mut events) = log();
        let server = setup(serve(listen().await, router(&log)).grace_limit(CUT));
        test(hold(server).await.unwrap(), &mut events).await;
    });
}

#[test]
fn a_socket_whose_body_ends_is_closed_in_order() {
    serving(
        |server| server,
        async |server, events| {
            for version in BOTH {
                for (path, code, outcome) in [
                    ("/returns", CloseCode::Normal, "completed"),
                    ("/panics", CloseCode::Error, "panicked: injected panic: in the socket"),
                ] {
                    let mut client = connect(&server, version, path).await;
                    assert_eq!(next(&mut client).await, Ok("welcome".to_owned()));
                    assert_eq!(next(&mut client).await, Err(Some(code)), "{version:?} {path}");
                    assert_eq!(next(&mut client).await, Err(None));
                    let exit = format!("exit session, {outcome}");
                    events.expect(&["enter session", &exit]).await;
                }
            }
            server.close().await.unwrap();
        },
    );
}

#[test]
fn leaving_the_server_tells_its_sockets_and_awaits_their_exits() {
    for version in BOTH {
        serving(
            |server| server.grace_limit(HANG),
            async |server, events| {
                let mut client = connect(&server, version, "/heeds").await;
                assert_eq!(next(&mut client).await, Ok("welcome".to_owned()));
                events.expect(&["enter session"]).await;
                let leaving = tokio::spawn(server.close());
                assert_eq!(next(&mut client).await, Err(Some(CloseCode::Away)), "{version:?}");
                assert_eq!(next(&mut client).await, Err(None));
                leaving.await.unwrap().unwrap();
                assert_eq!(events.rest(), ["exit session, completed"]);
            },
        );
    }
}

#[test]
fn at_the_grace_limit_a_socket_is_cut_off_with_a_close_frame() {
    for version in BOTH {
        serving(
            |server| server,
            async |server, events| {
                let stats = server.stats();
                let mut client = connect(&server, version, "/ignores").await;
                assert_eq!(next(&mut client).await, Ok("welcome".to_owned()));
                events.expect(&["enter session"]).await;
                let leaving = tokio::spawn(server.close());
                assert_eq!(next(&mut client).await, Err(Some(CloseCode::Away)), "{version:?}");
                leaving.await.unwrap().unwrap();
                assert_eq!(events.rest(), ["exit session, cancelled"]);
                assert_eq!(stats.open(), 0);
            },
        );
    }
}

#[test]
fn a_socket_whose_client_says_nothing_any_more_is_left_in_time() {
    serving(
        |server| server,
        async |server, events| {
            // It answers no close frame.
            let mut client = RawClient::of(&server).await;
            client
                .send(
                    "GET /ignores HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                )
                .await;
            client.read_until("welcome").await;
            events.expect(&["enter session"]).await;
            let began = std::time::Instant::now();
            server.close().await.unwrap();
            assert!(began.elapsed() < CUT + Duration::from_secs(2), "{:?}", began.elapsed());
            assert_eq!(events.rest(), ["exit session, cancelled"]);
        },
    );
}

#[test]
fn sockets_count_as_connections() {
    serving(
        |server| server.max_connections(2).peer_lost_limit(Duration::from_secs(1)),
        async |server, events| {
            let stats = server.stats();
            let mut first = connect(&server, Version::Http1, "/heeds").await;
            let _second = connect(&server, Version::Http1, "/heeds").await;
            assert_eq!(next(&mut first).await, Ok("welcome".to_owned()));
            events.expect(&["enter session", "enter session"]).await;
            assert_eq!((stats.open(), stats.upgraded(), stats.accepted()), (2, 2, 2));
            let mut third = RawClient::of(&server).await;
            third.get("/heeds").await;
            assert_eq!(stats.accepted(), 2);
            // One that goes makes room, though nobody reads of it.
            drop(first);
            events.expect(&["exit session, cancelled"]).await;
            let answer = third.read_until("\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            server.close().await.unwrap();
        },
    );
}

#[test]
fn an_upgrade_that_nobody_ties_to_the_server_is_counted_and_cut() {
    check(async || {
        let (upgraded, mut is_upgraded) = mpsc::unbounded_channel();
        let handler = async move |request: axum::extract::Request| {
            let upgraded = upgraded.clone();
            tokio::spawn(async move {
                let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                stream.write_all(b"begun").await.unwrap();
                upgraded.send("upgraded").unwrap();
                // Never ends by itself.
                let mut rest = Vec::new();
                let read = stream.read_to_end(&mut rest).await;
                upgraded.send(if read.is_ok() { "ended" } else { "broken" }).unwrap();
            });
            let head = [("connection", "upgrade"), ("upgrade", "raw")];
            (http::StatusCode::SWITCHING_PROTOCOLS, head)
        };
        let router = Router::new().route("/", any(handler)).layer(RequestScopeLayer::new());
        let server = hold(serve(listen().await, router).grace_limit(CUT)).await.unwrap();
        let stats = server.stats();
        let mut client = RawClient::of(&server).await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n").await;
        client.read_until("begun").await;
        assert_eq!(is_upgraded.recv().await, Some("upgraded"));
        assert_eq!((stats.open(), stats.upgraded()), (1, 1));
        let began = std::time::Instant::now();
        server.close().await.unwrap();
        assert!(began.elapsed() < CUT + Duration::from_secs(2));
        assert_eq!(is_upgraded.recv().await, Some("ended"));
        assert_eq!((stats.open(), stats.cut()), (0, 1));
        assert_eq!(client.read_to_end().await, "");
    });
}

#[test]
fn a_context_on_an_upgrade_says_its_last_words_after_the_cut() {
    check(async || {
        struct Tunnel(TokioIo<hyper::upgrade::Upgraded>, Log);
        impl tenure::AsyncExit for Tunnel {
            type Error = Stopped;
            async fn exit(mut self, outcome: tenure::Outcome<'_>) -> Result<(), Stopped> {
                assert!(outcome.is_cancelled());
                self.0.write_all(b"farewell").await.unwrap();
                self.0.shutdown().await.unwrap();
                self.1.note("exited");
                Ok(())
            }
        }
        let (log, mut events) = log();
        let notes = log.clone();
        let handler = async move |scope: RequestScope, request: axum::extract::Request| {
            let (used, log) = (scope.upgrade(), notes.clone());
            let entered = async move {
                let stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                log.note("upgraded");
                Ok::<_, Stopped>(Tunnel(stream, log))
            };
            tokio::spawn(used.run(entered, async |_| std::future::pending::<Result<(), Stopped>>().await));
            (http::StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "raw")])
        };
        let router = Router::new().route("/", any(handler)).layer(RequestScopeLayer::new());
        let server = hold(serve(listen().await, router).grace_limit(CUT)).await.unwrap();
        let mut client = RawClient::of(&server).await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        events.expect(&["upgraded"]).await;
        until_open(&server, 1).await;
        server.close().await.unwrap();
        assert_eq!(events.rest(), ["exited"]);
        assert_eq!(client.read_to_end().await, "farewell");
    });
}
