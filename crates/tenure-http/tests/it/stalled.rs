//! Clients and servers that are there, and do nothing: who waits for them, waits within a limit.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tenure::{with, with_local};
use tenure_http::{Client, ClientError, Serve, Stage, connect};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::app::{served, served_with, until_open, url};
use crate::client::{LIMIT, both_versions, hello, stage_of};
use crate::support::{RawClient, until};

/// Short, since real time has to pass; long enough for a busy machine.
const LIMIT_SHORT: Duration = Duration::from_millis(300);

fn impatient<S>(server: Serve<S>) -> Serve<S> {
    server.body_read_timeout(LIMIT_SHORT).write_timeout(LIMIT_SHORT)
}

/// A body of what is sent here.
pub(crate) fn body() -> (mpsc::Sender<Bytes>, StreamBody<Chunks>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(Chunks(receiver)))
}

pub(crate) struct Chunks(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Chunks {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

const HALF_AN_UPLOAD: &str = "POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.";

#[test]
fn an_upload_that_stops_is_cancelled() {
    served_with(impatient, async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.send(HALF_AN_UPLOAD).await;
        events.entered_and("upload goes on").await;
        events.exited("cancelled").await;
        assert_eq!(client.read_to_end().await, "");
        until_open(server, 0).await;
        assert_eq!((server.stats().stalled(), server.stats().broken()), (1, 1));
    });
}

#[test]
fn over_http2_an_upload_that_stops_is_cancelled_alone() {
    served_with(impatient, async |server, _, events| {
        with(connect(url(server)).http2_only(), async |client| {
            let (chunks, upload) = body();
            chunks.send(Bytes::from_static(b"half.")).await.unwrap();
            let request = Request::post("/upload").body(upload).unwrap();
            assert_eq!(stage_of(client.send(request).await), Stage::Request);
            events.entered_and("upload goes on").await;
            events.exited("cancelled").await;
            assert_eq!(hello(client).await?, "hello");
            events.entered_and_exited("completed").await;
            Ok::<_, ClientError>(())
        })
        .await
        .unwrap();
        assert_eq!((server.stats().stalled(), server.stats().broken()), (1, 0));
    });
}

#[test]
fn a_response_that_nobody_takes_is_cancelled() {
    served_with(impatient, async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.get("/flood").await;
        events.entered_and("flooding").await;
        // It keeps its connection, and reads nothing.
        events.exited("cancelled").await;
        until_open(server, 0).await;
        assert_eq!((server.stats().stalled(), server.stats().broken()), (1, 1));
    });
}

#[test]
fn over_http2_a_response_that_nobody_takes_is_cancelled_alone() {
    served_with(impatient, async |server, _, events| {
        with(connect(url(server)).http2_only(), async |client| {
            let unread = client.get("/flood").await?.into_body();
            events.entered_and("flooding").await;
            events.exited("cancelled").await;
            assert_eq!(hello(client).await?, "hello");
            events.entered_and_exited("completed").await;
            // What had come before is still there.
            assert_eq!(stage_of(unread.bytes(usize::MAX).await), Stage::Body);
            Ok::<_, ClientError>(())
        })
        .await
        .unwrap();
        assert_eq!((server.stats().stalled(), server.stats().broken()), (1, 0));
    });
}

/// Goes on until no limit can count from the begin.
async fn for_long(mut step: impl AsyncFnMut()) {
    let begin = Instant::now();
    while begin.elapsed() < 3 * LIMIT_SHORT / 2 {
        step().await;
    }
}

#[test]
fn whoever_goes_on_however_little_has_time() {
    served_with(impatient, async |server, app, events| {
        for (connection, _) in both_versions(&url(server)) {
            let silent = connection.silence_limit(LIMIT_SHORT);
            with_local(silent, async |client| {
                let (chunks, upload) = body();
                let request = Request::post("/upload").body(upload).unwrap();
                let answer = async { client.send(request).await?.into_body().text(LIMIT).await };
                let going_on = async {
                    events.entered().await;
                    for_long(async || {
                        chunks.send(Bytes::from_static(b"x")).await.unwrap();
                        events.expect(&["upload goes on"]).await;
                    })
                    .await;
                    drop(chunks);
                };
                let (answer, ()) = tokio::join!(answer, going_on);
                assert!(answer?.parse::<u32>().unwrap() > 0);
                events.exited("completed").await;

                let chunks = app.stream();
                let mut download = client.get("/stream").await?.into_body();
                for_long(async || {
                    chunks.send(Bytes::from_static(b"x")).await.unwrap();
                    assert!(download.frame().await.unwrap().unwrap().is_data());
                })
                .await;
                drop(chunks);
                assert_eq!(download.text(LIMIT).await?, "");
                events.entered_and_exited("completed").await;
                Ok::<_, ClientError>(())
            })
            .await
            .unwrap();
        }
        assert_eq!(server.stats().stalled(), 0);
    });
}

#[test]
fn whoever_takes_a_response_slowly_has_time() {
    served_with(impatient, async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.get("/flood").await;
        events.entered_and("flooding").await;
        // The server has always more than this to send, so it waits again and again.
        for_long(async || {
            client.stream.read_exact(&mut vec![0; 64 * 1024]).await.unwrap();
        })
        .await;
        assert_eq!(server.stats().stalled(), 0);
        drop(client);
        events.exited("cancelled").await;
    });
}

#[test]
fn a_handler_may_take_its_time() {
    served_with(impatient, async |server, app, events| {
        let mut client = RawClient::of(server).await;
        client.get("/gate").await;
        events.entered_and("waiting").await;
        // Another one's limit passes meanwhile.
        let mut other = RawClient::of(server).await;
        other.send(HALF_AN_UPLOAD).await;
        assert_eq!(other.read_to_end().await, "");
        events.entered_and("upload goes on").await;
        events.exited("cancelled").await;
        app.gate.notify_one();
        client.read_until("done").await;
        events.expect(&["went on"]).await;
        events.exited("completed").await;
    });
}

#[test]
fn a_server_that_is_silent_is_not_waited_for() {
    served(async |server, app, events| {
        for (connection, _) in both_versions(&url(server)) {
            let left = with(connection.silence_limit(LIMIT_SHORT), async |client: &mut Client| {
                let failed = client.get("/for-ever").await.unwrap_err();
                assert!(failed.stage() == Stage::Request && failed.is_timeout(), "{failed:?}");
                Ok::<_, ClientError>(())
            });
            left.await.unwrap();
            events.entered_and("waiting").await;
            events.exited("cancelled").await;
        }
        for (connection, _) in both_versions(&url(server)) {
            let chunks = app.stream();
            let left = with(connection.silence_limit(LIMIT_SHORT), async |client: &mut Client| {
                let body = client.get("/stream").await?.into_body();
                chunks.send(Bytes::from_static(b"half")).await.unwrap();
                let failed = body.text(LIMIT).await.unwrap_err();
                assert!(failed.stage() == Stage::Body && failed.is_timeout(), "{failed:?}");
                Ok::<_, ClientError>(())
            });
            left.await.unwrap();
            events.entered_and_exited("cancelled").await;
            until(|| chunks.is_closed()).await;
        }
    });
}
