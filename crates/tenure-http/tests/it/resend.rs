//! Requests that cross with the end of their connection, and what is sent again: servers that end at each moment.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::StreamBody;
use socket2::SockRef;
use tenure::with;
use tenure_http::{ClientError, Clients, Pool, Pooled, pool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::app::listen;
use crate::client::LIMIT;
use crate::frames;
use crate::support::{check, until};

/// When the server ends the connection of the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// And the client has seen it.
    Before,
    AfterHead,
    AmidBody,
    AfterAll,
    AmidHeadOfAnswer,
    AfterHeadOfAnswer,
}

const BODY: usize = 3 * 1000;

/// Answers the first request, ends its connection, and answers what comes on other connections with the bodies' lengths.
/// Returns the number of requests that came, whole or not.
async fn serve_and_end(listener: TcpListener, ends: Ends, resets: bool) -> usize {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream, usize::MAX).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst").await.unwrap();
    let mut requests = 1;
    if ends != Ends::Before {
        let body = match ends {
            Ends::AfterHead => 0,
            Ends::AmidBody => BODY / 2,
            _ => usize::MAX,
        };
        read_request(&mut stream, body).await;
        requests += 1;
    }
    let begun: &[u8] = match ends {
        Ends::AmidHeadOfAnswer => b"HTTP/1.1 20",
        Ends::AfterHeadOfAnswer => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nha",
        _ => b"",
    };
    stream.write_all(begun).await.unwrap();
    if resets && begun.is_empty() && ends != Ends::Before {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(stream);
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(length) = read_request(&mut stream, usize::MAX).await {
            requests += 1;
            let length = length.to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{length}", length.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            if length == "4" {
                // The last of the test.
                return requests;
            }
        }
    }
}

/// Reads a head, and so much of the body; returns the length of what was read of it. `None` at the end.
async fn read_request(stream: &mut TcpStream, body: usize) -> Option<usize> {
    let mut read = Vec::new();
    let (end, length) = loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end].split("content-length: ").nth(1);
            let length = length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            break (end + 4, length);
        }
    };
    while read.len() - end < length.min(body) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the client ended amid its body");
    }
    Some(read.len() - end)
}

/// A request with a body of three parts, if there is any.
fn request(
    method: &Method,
    key: bool,
    length: usize,
) -> Request<
    impl http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
> {
    let parts = if length == 0 { 0 } else { 3 };
    let frames = (0..parts)
        .map(move |_| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(vec![b'x'; length / 3]))));
    let mut request = Request::builder().method(method.clone()).uri("/second");
    if key {
        request = request.header("idempotency-key", "7");
    }
    if length > 0 {
        request = request.header("content-length", length);
    }
    request.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap()
}

async fn pooled(pool: Pool, test: impl AsyncFnOnce(&Clients)) {
    tenure::with_local(pool, async |clients| {
        test(clients).await;
        Ok::<_, ClientError>(())
    })
    .await
    .unwrap();
}

async fn text(
    response: Result<http::Response<tenure_http::ResponseBody>, ClientError>,
) -> Result<String, ClientError> {
    response?.into_body().text(LIMIT).await
}

/// Asks twice on one connection whose server ends it so. What the second request is answered with, and how many requests
/// have come to the server.
async fn ask(
    ends: Ends,
    resets: bool,
    resends: u32,
    second: impl AsyncFnOnce(&mut Pooled) -> Result<String, ClientError>,
) -> (Result<String, ClientError>, usize) {
    let listener = listen().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving: JoinHandle<usize> = tokio::spawn(serve_and_end(listener, ends, resets));
    let mut answer = None;
    pooled(pool().max_resends(resends), async |clients| {
        let asked = tenure::with_local(clients.get(&url), async |client| {
            assert_eq!(text(client.get("/first").await).await.unwrap(), "first");
            if ends == Ends::Before {
                until(|| client.is_closed()).await;
            }
            answer = Some(second(client).await);
            Ok::<_, ClientError>(())
        });
        asked.await.unwrap();
        // Tells the server that this was all.
        let last = with(clients.get(&url), async |client| text(client.post("/", "last").await).await);
        assert_eq!(last.await.unwrap(), "4");
    })
    .await;
    (answer.unwrap(), serving.await.unwrap() - 1)
}

#[test]
fn what_crosses_with_the_end_of_its_connection_is_sent_again_where_that_is_safe() {
    use Ends::{AfterAll, AfterHead, AfterHeadOfAnswer, AmidBody, AmidHeadOfAnswer, Before};
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
    // When the server ends, the request, whether it has a key, the length of its body; whether it is sent again.
    let cases = [
        (Before, &get, false, 0, true),
        (Before, &put, false, BODY, true),
        // Nothing of it was sent.
        (Before, &post, false, BODY, true),
        (AfterHead, &get, false, 0, true),
        (AfterHead, &put, false, BODY, true),
        (AfterHead, &post, false, BODY, false),
        (AfterHead, &post, false, 0, false),
        (AfterHead, &post, true, BODY, true),
        (AmidBody, &put, false, BODY, true),
        (AmidBody, &post, false, BODY, false),
        (AmidBody, &post, true, BODY, true),
        (AfterAll, &get, false, 0, true),
        (AfterAll, &put, false, BODY, true),
        (AfterAll, &post, false, BODY, false),
        // More than is kept.
        (AfterAll, &put, false, 90_000, false),
        // The server has begun to answer.
        (AmidHeadOfAnswer, &get, false, 0, false),
        (AmidHeadOfAnswer, &put, false, BODY, false),
        (AfterHeadOfAnswer, &get, false, 0, false),
    ];
    check(async || {
        for (ends, method, key, length, again) in cases {
            for resets in [false, true] {
                let case = format!("{ends:?} {method} {key} {length}, resets: {resets}");
                let sent = request(method, key, length);
                let second = async |client: &mut Pooled| text(client.send(sent).await).await;
                let (answer, requests) = ask(ends, resets, 2, second).await;
                assert_eq!(
                    answer.as_ref().ok(),
                    again.then(|| length.to_string()).as_ref(),
                    "{case}: {answer:?}"
                );
                let came = 1 + usize::from(ends != Before) + usize::from(again);
                assert_eq!(requests, came, "{case}");
            }
        }
    });
}

#[test]
fn without_leave_nothing_is_sent_again() {
    check(async || {
        for ends in [Ends::Before, Ends::AfterHead, Ends::AfterAll] {
            let (answer, requests) =
                ask(ends, false, 0, async |client| text(client.get("/second").await).await).await;
            assert!(answer.is_err(), "{ends:?}");
            assert_eq!(requests, 1 + usize::from(ends != Ends::Before), "{ends:?}");
        }
    });
}

#[test]
fn a_new_connection_that_ends_is_not_tried_again() {
    check(async || {
        let listener = listen().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream, 0).await;
            }
        });
        pooled(pool().max_resends(9), async |clients| {
            for _ in 0..2 {
                let asked = with(clients.get(&url), async |client| text(client.get("/").await).await).await;
                assert!(asked.is_err());
            }
            assert_eq!((clients.stats().resent(), clients.stats().opened()), (0, 2));
        })
        .await;
        serving.await.unwrap();
    });
}

/// Says over HTTP/2 that the second request was not acted on, by `GOAWAY` or by a reset of its stream; then answers.
async fn refuse(listener: TcpListener, goes_away: bool) {
    for connection in 0..2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut vec![0; frames::PREFACE.len()]).await.unwrap();
        stream.write_all(&frames::frame(frames::SETTINGS, 0, 0, &[])).await.unwrap();
        let mut requests = 0;
        while let Some(head) = frames::until(&mut stream, frames::HEADERS).await {
            requests += 1;
            // :status 200
            let answer =
                frames::frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, head.stream, &[0x88]);
            if connection > 0 || requests == 1 {
                stream.write_all(&answer).await.unwrap();
            } else if goes_away {
                let last = [0, 0, 0, 1, 0, 0, 0, 0];
                stream.write_all(&frames::frame(frames::GOAWAY, 0, 0, &last)).await.unwrap();
                break;
            } else {
                stream
                    .write_all(&frames::frame(frames::RST_STREAM, 0, head.stream, &[0, 0, 0, 7]))
                    .await
                    .unwrap();
            }
        }
    }
}

#[test]
fn over_http2_what_the_server_did_not_act_on_is_sent_again() {
    check(async || {
        for goes_away in [false, true] {
            let listener = listen().await;
            let url = format!("http://{}", listener.local_addr().unwrap());
            let serving = tokio::spawn(refuse(listener, goes_away));
            let http2 = pool().max_resends(1).connect_with(tenure_http::Connect::http2_only);
            pooled(http2, async |clients| {
                let asked = with(clients.get(&url), async |client| {
                    assert_eq!(text(client.get("/").await).await.unwrap(), "");
                    // Also what is not idempotent.
                    text(client.post("/", "order").await).await
                });
                assert_eq!(asked.await.unwrap(), "", "goes away: {goes_away}");
                assert_eq!((clients.stats().resent(), clients.stats().opened()), (1, 2));
            })
            .await;
            serving.await.unwrap();
        }
    });
}
