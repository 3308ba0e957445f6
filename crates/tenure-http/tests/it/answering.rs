//! How a server calls its service, and how it sends what comes of it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tenure::with;
use tenure_http::{RequestBody, ServeError, serve};
use tower::service_fn;

use crate::app::listen;
use crate::support::{RawClient, check, until};

/// Sizes around those at which pieces are sent as one, or are too large for the socket at once.
const SIZES: [usize; 12] = [0, 1, 5, 600, 850, 900, 950, 1024, 1025, 5000, 70_000, 3_000_000];

#[test]
fn responses_of_all_sizes_and_pieces_arrive_whole() {
    check(async || {
        let service = service_fn(|request: Request<RequestBody>| {
            let (size, pieces) = request.uri().path()[1..].split_once('/').unwrap();
            let (size, pieces): (usize, usize) = (size.parse().unwrap(), pieces.parse().unwrap());
            let whole = Bytes::from(text(size));
            let each = size.div_ceil(pieces).max(1);
            let frames: Vec<_> =
                (0..size).step_by(each).map(|at| whole.slice(at..size.min(at + each))).collect();
            let frames = frames.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let body = StreamBody::new(futures_util::stream::iter(frames));
            // With its length, so that head and pieces are all there is.
            let response = Response::builder().header("content-length", size).body(body).unwrap();
            ready(Ok::<_, Infallible>(response))
        });
        with(serve(listen().await, service), async |server| {
            for size in SIZES {
                for pieces in [1, 2, 3, 80] {
                    let mut client = RawClient::of(server).await;
                    let close = "host: test\r\nconnection: close\r\n\r\n";
                    client.send(&format!("GET /{size}/{pieces} HTTP/1.1\r\n{close}")).await;
                    let answer = client.read_to_end().await;
                    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                    assert!(body == text(size), "{size} in {pieces}: {} came", body.len());
                }
            }
            Ok::<_, ServeError>(())
        })
        .await
        .unwrap();
    });
}

/// No two places of it are alike nearby.
fn text(size: usize) -> String {
    (0..).flat_map(|number: usize| number.to_string().into_bytes()).take(size).map(char::from).collect()
}

/// A service that is not ready before it is told so, or says that it never will be.
#[derive(Clone)]
struct Busy {
    gate: Arc<Gate>,
    is_broken: bool,
}

#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    waiting: std::sync::Mutex<Option<Waker>>,
}

impl tower::Service<Request<RequestBody>> for Busy {
    type Response = Response<String>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken {
            return Poll::Ready(Err(io::Error::other("never ready")));
        }
        // The waker is in its place before the flag is looked at, so that whoever sets the flag finds it.
        *self.gate.waiting.lock().unwrap() = Some(context.waker().clone());
        if self.gate.is_open.load(Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        assert!(self.gate.is_open.load(Relaxed), "called before it was ready");
        ready(Ok(Response::new(format!("answer to {}", request.uri().path()))))
    }
}

#[test]
fn a_service_that_is_not_ready_yet_is_waited_for() {
    check(async || {
        let gate = Arc::new(Gate::default());
        let service = Busy { gate: Arc::clone(&gate), is_broken: false };
        with(serve(listen().await, service), async |server| {
            let mut client = RawClient::of(server).await;
            client.get("/first").await;
            // The waker of the connection, not one that does nothing.
            until(|| {
                gate.waiting.lock().unwrap().as_ref().is_some_and(|waker| !waker.will_wake(Waker::noop()))
            })
            .await;
            gate.is_open.store(true, Relaxed);
            let waiting = gate.waiting.lock().unwrap().take();
            waiting.unwrap().wake();
            client.read_until("answer to /first").await;
            client.get("/second").await;
            client.read_until("answer to /second").await;
            Ok::<_, ServeError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_service_that_will_never_be_ready_ends_the_connection() {
    check(async || {
        let service = Busy { gate: Arc::default(), is_broken: true };
        with(serve(listen().await, service), async |server| {
            let mut client = RawClient::of(server).await;
            client.get("/").await;
            assert_eq!(client.read_to_end().await, "");
            until(|| server.stats().open() == 0).await;
            assert_eq!(server.stats().broken(), 1);
            Ok::<_, ServeError>(())
        })
        .await
        .unwrap();
    });
}
