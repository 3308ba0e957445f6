//! Client connections as contexts, against servers of this crate and against one with TLS.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{Empty, Full};
use tenure::{drain, hold, with};
use tenure_http::{Client, ClientError, Connect, GRACE_LIMIT_DEFAULT, Stage, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{CUT, held, listen, served, until_open, url};
use crate::support::{HANG, check, exits};
use crate::tls::TlsServer;

pub(crate) const LIMIT: usize = 1024;

/// A connection of each version, to the same server.
pub(crate) fn both_versions(url: &str) -> [(Connect, Version); 2] {
    [(connect(url), Version::HTTP_11), (connect(url).http2_only(), Version::HTTP_2)]
}

pub(crate) async fn hello(client: &mut Client) -> Result<String, ClientError> {
    client.get("/hello").await?.into_body().text(LIMIT).await
}

#[test]
fn gets_and_posts_over_both_versions_and_leaves_nothing() {
    served(async |server, _, _| {
        let url = url(server);
        for (connection, version) in both_versions(&url) {
            let (first, second, posted) = with(connection, async |client| {
                assert_eq!(client.version(), version);
                let posted = client.post("/upload", "12345").await?;
                assert_eq!(posted.status(), StatusCode::OK);
                Ok::<_, ClientError>((
                    hello(client).await?,
                    hello(client).await?,
                    posted.into_body().text(LIMIT).await?,
                ))
            })
            .await
            .unwrap();
            assert_eq!((&*first, &*second, &*posted), ("hello", "hello", "5"));
        }
        let stats = server.stats();
        until_open(server, 0).await;
        assert_eq!((stats.accepted(), stats.requests(), stats.broken()), (2, 6, 0));
    });
}

#[test]
fn over_http2_requests_run_side_by_side() {
    served(async |server, app, events| {
        let url = url(server);
        with(connect(&url).http2_only(), async |client| {
            let mut other = client.share().unwrap();
            let waiting = tokio::spawn(async move { other.get("/gate").await });
            events.entered_and("waiting").await;
            assert_eq!(hello(client).await?, "hello");
            events.entered_and_exited("completed").await;
            app.gate.notify_one();
            let waited = waiting.await.unwrap()?;
            assert_eq!(waited.into_body().text(LIMIT).await?, "done");
            Ok::<_, ClientError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn tls_agrees_on_a_version_and_ends_in_order() {
    check(async || {
        let tls = TlsServer::start().await;
        let cases = [
            (connect(tls.url()), Version::HTTP_2),
            (connect(tls.url()).http1_only(), Version::HTTP_11),
            (connect(tls.url()).http2_only(), Version::HTTP_2),
        ];
        for (connection, version) in cases {
            let connection = connection.trust(tls.certificate());
            // The end comes as `close_notify`, not as a cut. A server that has a frame under way to a client that is
            // gone may hear of that instead, so it is asked more than once.
            let mut in_order = false;
            for _ in 0..20 {
                let text = with(connection.clone(), async |client| {
                    assert_eq!(client.version(), version);
                    client.get("/").await?.into_body().text(LIMIT).await
                });
                assert_eq!(text.await.unwrap(), format!("{version:?}"));
                in_order |= tls.next_end().await.is_ok();
                if in_order {
                    break;
                }
            }
            assert!(in_order, "{version:?}");
        }
        tls.stop().await;
    });
}

#[track_caller]
pub(crate) fn stage_of<T>(result: Result<T, ClientError>) -> Stage {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => error.stage(),
    }
}

async fn reach(connection: Connect) -> Result<String, ClientError> {
    with(connection, hello).await
}

#[test]
fn errors_name_their_stage() {
    check(async || {
        for url in ["", "no url", "ftp://localhost", "/path", "http://"] {
            assert_eq!(stage_of(reach(connect(url)).await), Stage::Url, "{url}");
        }
        assert_eq!(stage_of(reach(connect("http://name.invalid")).await), Stage::Resolve);
        // Bound, so that nobody else gets the port, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = format!("http://{}", socket.local_addr().unwrap());
        assert_eq!(stage_of(reach(connect(closed)).await), Stage::Connect);
        let tls = TlsServer::start().await;
        assert_eq!(stage_of(reach(connect(tls.url())).await), Stage::Tls);
        assert!(tls.next_end().await.is_err());
        tls.stop().await;
    });
}

#[test]
fn a_server_that_does_not_answer_the_handshake_runs_out_of_time() {
    check(async || {
        let silent = listen().await;
        let url = format!("https://{}", silent.local_addr().unwrap());
        let failed = reach(connect(url).connect_timeout(Duration::from_millis(20))).await.unwrap_err();
        assert!(failed.stage() == Stage::Tls && failed.is_timeout(), "{failed:?}");
    });
}

/// A server for one connection, which reads a request's head and answers these bytes.
async fn answering(answer: &'static [u8]) -> String {
    let listener = listen().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
    });
    url
}

#[test]
fn a_server_that_breaks_off_is_an_error_of_the_request_or_of_the_body() {
    check(async || {
        assert_eq!(stage_of(reach(connect(answering(b"").await)).await), Stage::Request);
        let no_http = b"SSH-2.0-none\r\n";
        assert_eq!(stage_of(reach(connect(answering(no_http).await)).await), Stage::Request);
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf.";
        assert_eq!(stage_of(reach(connect(answering(half).await)).await), Stage::Body);
        let long = b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n";
        assert_eq!(stage_of(reach(connect(answering(long).await)).await), Stage::Body);
        // A server may end the connection after its answer.
        let last = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nlast";
        assert_eq!(reach(connect(answering(last).await)).await.unwrap(), "last");
    });
}

#[test]
fn a_request_for_another_server_is_not_sent() {
    served(async |server, _, events| {
        let here = format!("http://{}", server.local_addr());
        with(connect(&here), async |client| {
            let other = Request::get("http://example.com/hello").body(Empty::<Bytes>::new()).unwrap();
            assert_eq!(stage_of(client.send(other).await), Stage::Url);
            let own = Request::get(format!("{here}/hello")).body(Empty::<Bytes>::new()).unwrap();
            let answer = client.send(own).await?.into_body();
            assert_eq!(answer.text(LIMIT).await?, "hello");
            Ok::<_, ClientError>(())
        })
        .await
        .unwrap();
        assert_eq!(events.rest()[..2], ["enter a", "enter b"]);
    });
}

#[test]
fn dropped_amid_a_request_both_sides_are_left_clean() {
    served(async |server, _, events| {
        let url = url(server);
        for (connection, _) in both_versions(&url) {
            let call = tokio::spawn(with(connection, async |client: &mut Client| {
                client.get("/for-ever").await?;
                Ok::<_, ClientError>(())
            }));
            events.entered_and("waiting").await;
            call.abort();
            events.exited("cancelled").await;
        }
    });
}

#[test]
fn over_http2_a_dropped_request_cancels_its_handler_and_no_other() {
    served(async |server, app, events| {
        let url = url(server);
        with(connect(&url).http2_only(), async |client| {
            let mut other = client.share().unwrap();
            let dropped = tokio::spawn(async move { other.get("/for-ever").await });
            events.entered_and("waiting").await;
            dropped.abort();
            events.exited("cancelled").await;
            let mut other = client.share().unwrap();
            let kept = tokio::spawn(async move { other.get("/keep").await });
            events.entered_and("waiting").await;
            kept.abort();
            assert!(kept.await.unwrap_err().is_cancelled());
            assert_eq!(hello(client).await?, "hello");
            events.entered_and_exited("completed").await;
            app.gate.notify_one();
            events.expect(&["went on", "exit b, completed", "exit a, completed"]).await;
            Ok::<_, ClientError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn over_http2_a_handler_that_panics_ends_its_stream_alone() {
    served(async |server, _, events| {
        let url = url(server);
        with(connect(&url).http2_only(), async |client| {
            assert_eq!(stage_of(client.get("/panic").await), Stage::Request);
            events.entered_and_exited("panicked: in the handler").await;
            assert_eq!(hello(client).await?, "hello");
            Ok::<_, ClientError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn over_http2_a_server_is_left_in_order_too() {
    for (path, last) in [("/gate", "completed"), ("/for-ever", "cancelled"), ("/keep-for-ever", "cancelled")] {
        let grace = if path == "/gate" { GRACE_LIMIT_DEFAULT } else { CUT };
        held(grace, async |server, app, events| {
            let client = hold(connect(url(&server)).http2_only()).await.unwrap();
            let mut requests = client.share().unwrap();
            let answer = tokio::spawn(async move { requests.get(path).await?.into_body().text(LIMIT).await });
            events.entered_and("waiting").await;
            let leaving = tokio::spawn(server.close());
            if path == "/gate" {
                app.gate.notify_one();
                events.expect(&["went on"]).await;
            }
            leaving.await.unwrap().unwrap();
            assert_eq!(events.rest(), exits(last), "{path}");
            assert_eq!(answer.await.unwrap().is_ok(), path == "/gate");
            client.close().await.unwrap();
        });
    }
}

#[test]
fn an_end_that_takes_too_long_is_cut_and_told() {
    served(async |server, _, _| {
        let url = url(server);
        for (connection, _) in both_versions(&url) {
            let mut escaped = None;
            let limited = connection.shutdown_limit(Duration::from_millis(20));
            let ended = with(limited, async |client| {
                escaped = Some(client.get("/flood").await?);
                Ok::<_, ClientError>(())
            });
            let failed = ended.await.unwrap_err();
            assert!(failed.stage() == Stage::Shutdown && failed.is_timeout(), "{failed:?}");
            // The body's connection is gone, in the middle.
            let body = escaped.unwrap().into_body();
            assert_eq!(stage_of(body.bytes(usize::MAX).await), Stage::Body);
        }
    });
}

#[test]
fn a_body_that_fails_on_its_way_up_is_an_error_of_the_request() {
    served(async |server, _, events| {
        let url = url(server);
        let failed = with(connect(&url), async |client| {
            let body = Full::<Bytes>::new(Bytes::from_static(b"x"));
            let body = http_body_util::BodyExt::map_err(body, |never: Infallible| match never {});
            let body = http_body_util::BodyExt::map_frame(body, |frame| frame);
            assert_eq!(client.send(Request::post("/upload").body(body).unwrap()).await?.status(), 200);
            let broken = http_body_util::StreamBody::new(Broken);
            client.send(Request::post("/upload").body(broken).unwrap()).await?;
            Ok::<_, ClientError>(())
        });
        assert_eq!(stage_of(failed.await), Stage::Request);
        while !events.next().await.starts_with("exit a, completed") {}
    });
}

/// A stream that breaks at once.
struct Broken;

impl futures_core::Stream for Broken {
    type Item = Result<http_body::Frame<Bytes>, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Err(std::io::Error::other("the disk is gone"))))
    }
}

#[test]
fn law_11_a_held_client_that_is_dropped_ends_in_the_background() {
    served(async |server, _, _| {
        let client = hold(connect(format!("http://{}", server.local_addr()))).await.unwrap();
        drop(client);
        assert!(drain(HANG).await.is_clean());
        until_open(server, 0).await;
    });
}
