//! Clients that are gone while hyper looks away: behind bytes that nobody reads.

use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tenure::with_local;
use tenure_http::{Listener, Serve, ServeError, Server, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{App, listen, served, served_with, until_open};
use crate::support::{Events, HANG, RawClient, check, log, until};
use crate::tls_peer::Signed;

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Fin,
    Rst,
}

const BOTH: [Leaves; 2] = [Leaves::Fin, Leaves::Rst];

/// What lies behind the request that is handled.
const BEHIND: [(&str, &str); 4] = [
    ("one byte", "GET /for-ever HTTP/1.1\r\nhost: test\r\n\r\nG"),
    (
        "another request",
        "GET /for-ever HTTP/1.1\r\nhost: test\r\n\r\nGET /hello HTTP/1.1\r\nhost: test\r\n\r\n",
    ),
    ("a body", "POST /for-ever HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n0123456789"),
    ("half a body", "POST /for-ever HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234"),
];

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A client, plain or with TLS, that can be reset.
struct Client {
    stream: Box<dyn Stream>,
}

impl Client {
    async fn new(server: &Server, signed: Option<&Signed>, leaves: Leaves) -> Self {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        if leaves == Leaves::Rst {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let stream: Box<dyn Stream> = match signed {
            None => Box::new(stream),
            Some(signed) => Box::new(signed.connect(stream).await),
        };
        Self { stream }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }
}

/// Runs a test against a server without TLS and one with.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "the test is a closure, written where it is passed")]
fn plain_and_tls(
    setup: impl Fn(Serve<axum::Router>) -> Serve<axum::Router>,
    test: impl AsyncFn(&mut Server, &App, &mut Events, Option<&Signed>),
) {
    let signed = Signed::new();
    for signed in [None, Some(&signed)] {
        check(async || {
            let (log, mut events) = log();
            let app = App::new(&log);
            let listener = Listener::from(listen().await);
            let listener = match signed {
                None => listener,
                Some(signed) => listener.tls(&signed.tls()),
            };
            let served = with_local(setup(serve(listener, app.router())), async |server| {
                test(server, &app, &mut events, signed).await;
                Ok::<_, ServeError>(())
            });
            served.await.unwrap();
        });
    }
}

#[test]
fn a_client_gone_behind_unread_bytes_is_noticed_at_once() {
    plain_and_tls(
        // No limit helps.
        |server| server.peer_lost_limit(2 * HANG).body_read_timeout(2 * HANG).write_timeout(2 * HANG),
        async |server, _, events, signed| {
            for (behind, bytes) in BEHIND {
                for leaves in BOTH {
                    let mut client = Client::new(server, signed, leaves).await;
                    client.send(bytes.as_bytes()).await;
                    events.entered_and("waiting").await;
                    assert!(events.rest().is_empty(), "{behind}, {leaves:?}");
                    drop(client);
                    events.exited("cancelled").await;
                    until_open(server, 0).await;
                }
            }
            assert_eq!(server.stats().broken(), 8);
        },
    );
}

#[test]
fn a_client_gone_behind_unread_bytes_amid_a_response_is_noticed_at_once() {
    plain_and_tls(
        |server| server.peer_lost_limit(2 * HANG).write_timeout(2 * HANG),
        async |server, app, events, signed| {
            for behind in ["G", "GET /hello HTTP/1.1\r\nhost: test\r\n\r\n"] {
                for leaves in BOTH {
                    let chunks = app.stream();
                    let mut client = Client::new(server, signed, leaves).await;
                    client.send(format!("GET /stream HTTP/1.1\r\nhost: test\r\n\r\n{behind}").as_bytes()).await;
                    chunks.send(Bytes::from_static(b"first")).await.unwrap();
                    events.entered().await;
                    let mut read = Vec::new();
                    while !read.ends_with(b"first\r\n") {
                        client.stream.read_buf(&mut read).await.unwrap();
                    }
                    drop(client);
                    events.exited("cancelled").await;
                    assert!(chunks.is_closed());
                    until_open(server, 0).await;
                }
            }
        },
    );
}

#[test]
fn behind_more_than_the_system_takes_in_it_is_noticed_within_the_limit() {
    plain_and_tls(
        |server| server.peer_lost_limit(Duration::from_secs(1)),
        async |server, _, events, signed| {
            for leaves in BOTH {
                let mut client = Client::new(server, signed, leaves).await;
                let head = "POST /for-ever HTTP/1.1\r\nhost: test\r\ncontent-length: 9000000\r\n\r\n";
                client.send(head.as_bytes()).await;
                events.entered_and("waiting").await;
                // As much as goes.
                let upload = [b'x'; 64 * 1024];
                let writing = async { while client.stream.write_all(&upload).await.is_ok() {} };
                let _ = tokio::time::timeout(Duration::from_millis(200), writing).await;
                drop(client);
                events.exited("cancelled").await;
                until_open(server, 0).await;
            }
        },
    );
}

#[test]
fn a_client_that_is_there_behind_unread_bytes_is_waited_for() {
    served_with(
        |server| server.peer_lost_limit(Duration::from_secs(1)),
        async |server, app, events| {
            let began = std::time::Instant::now();
            let mut client = RawClient::of(server).await;
            client
                .send("GET /gate HTTP/1.1\r\nhost: test\r\n\r\nGET /hello HTTP/1.1\r\nhost: test\r\n\r\n")
                .await;
            events.entered_and("waiting").await;
            until(|| began.elapsed() > Duration::from_millis(1500)).await;
            assert!(events.rest().is_empty());
            app.gate.notify_one();
            assert!(client.read_until("hello").await.contains("done"));
            events.expect(&["went on"]).await;
        },
    );
}

#[test]
fn clients_that_are_gone_shut_nobody_out() {
    served_with(
        |server| server.max_connections(3),
        async |server, _, events| {
            let mut clients = Vec::new();
            for _ in 0..3 {
                let mut client = RawClient::of(server).await;
                client.send("GET /for-ever HTTP/1.1\r\nhost: test\r\n\r\nG").await;
                events.entered_and("waiting").await;
                clients.push(client);
            }
            drop(clients);
            let mut next = RawClient::of(server).await;
            next.get("/hello").await;
            next.read_until("hello").await;
        },
    );
}

#[test]
fn over_http2_a_client_that_is_gone_behind_an_unread_body_is_noticed() {
    served(async |server, _, events| {
        let connecting = tenure::hold(tenure_http::connect(crate::app::url(server)).http2_only());
        let client = connecting.await.unwrap();
        let mut other = client.share().unwrap();
        let asked = tokio::spawn(async move { other.post("/for-ever", Bytes::from(vec![0; 500_000])).await });
        events.entered_and("waiting").await;
        asked.abort();
        events.exited("cancelled").await;
        client.close().await.unwrap();
    });
}

#[test]
fn half_closed_by_choice_a_client_gets_its_answer() {
    served_with(
        |server| server.half_close(true),
        async |server, app, events| {
            for behind in ["", "G"] {
                let mut client = RawClient::of(server).await;
                client.send(&format!("GET /gate HTTP/1.1\r\nhost: test\r\n\r\n{behind}")).await;
                events.entered_and("waiting").await;
                client.stream.shutdown().await.unwrap();
                app.gate.notify_one();
                assert!(client.read_until("done").await.ends_with("done"));
                events.expect(&["went on"]).await;
                events.exited("completed").await;
            }
            // Reset, it is gone nevertheless.
            for behind in ["", "G"] {
                let mut client = RawClient::of(server).await;
                SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
                client.send(&format!("GET /for-ever HTTP/1.1\r\nhost: test\r\n\r\n{behind}")).await;
                events.entered_and("waiting").await;
                drop(client);
                events.exited("cancelled").await;
            }
        },
    );
}
