//! Leaving a server: in order, within its limit, with all exits awaited.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use tenure::{drain, hold, with};
use tenure_http::{GRACE_LIMIT_DEFAULT, RequestBody, serve};
use tokio::net::TcpStream;

use crate::app::{App, CUT, held, listen, served};
use crate::support::{HANG, RawClient, check, exits, log, until};

#[test]
fn answers_and_tells_how_requests_ended() {
    served(async |server, _, events| {
        let failed = "failed: the request was answered with 500 Internal Server Error";
        for (path, text, outcome) in [("/hello", "hello", "completed"), ("/fail", "failed", failed)] {
            let mut client = RawClient::of(server).await;
            client.get(path).await;
            client.read_until(text).await;
            events.entered().await;
            events.exited(outcome).await;
        }
    });
}

#[test]
fn a_handler_that_panics_takes_its_connection_along_and_no_other() {
    served(async |server, _, events| {
        let mut other = RawClient::of(server).await;
        let mut client = RawClient::of(server).await;
        client.get("/panic").await;
        events.entered_and_exited("panicked: in the handler").await;
        assert_eq!(client.read_to_end().await, "");
        other.get("/hello").await;
        other.read_until("hello").await;
        assert_eq!(server.stats().panicked(), 1);
    });
}

#[test]
fn a_response_body_that_panics_is_told_and_counted_and_takes_nobody_else_along() {
    served(async |server, _, events| {
        for http2 in [false, true] {
            let url = crate::app::url(server);
            let connection = tenure_http::connect(url);
            let connection = if http2 { connection.http2_only() } else { connection };
            let mut client = hold(connection).await.unwrap();
            let body = client.get("/body-panics").await.unwrap().into_body();
            assert!(body.text(99).await.is_err(), "it breaks off");
            events.entered_and_exited("panicked: injected panic: in the body").await;
            if http2 {
                let hello = client.get("/hello").await.unwrap().into_body();
                assert_eq!(hello.text(99).await.unwrap(), "hello");
                events.entered_and_exited("completed").await;
            }
            client.close().await.unwrap();
        }
        let stats = server.stats();
        until(|| stats.panicked() == 2).await;
    });
}

#[test]
fn leaving_waits_for_requests_in_flight() {
    held(GRACE_LIMIT_DEFAULT, async |server, app, events| {
        let (address, stats) = (server.local_addr(), server.stats());
        let mut idle = RawClient::connect(address).await;
        idle.get("/hello").await;
        idle.read_until("hello").await;
        events.entered_and_exited("completed").await;
        let mut busy = RawClient::connect(address).await;
        busy.get("/gate").await;
        events.entered_and("waiting").await;
        let leaving = tokio::spawn(server.close());
        // Idle connections are closed at once, and nobody is let in any more.
        assert_eq!(idle.read_to_end().await, "");
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!leaving.is_finished());
        app.gate.notify_one();
        assert!(busy.read_to_end().await.ends_with("done"));
        leaving.await.unwrap().unwrap();
        events.expect(&["went on"]).await;
        // Awaited: all of it has happened already.
        assert_eq!(events.rest(), exits("completed"));
        assert_eq!((stats.open(), stats.cut()), (0, 0));
    });
}

#[test]
fn at_the_grace_limit_requests_are_cancelled_and_their_exits_awaited() {
    for path in ["/for-ever", "/keep-for-ever"] {
        held(CUT, async |server, _, events| {
            let stats = server.stats();
            let mut client = RawClient::of(&server).await;
            client.get(path).await;
            events.entered_and("waiting").await;
            server.close().await.unwrap();
            assert_eq!(events.rest(), exits("cancelled"), "{path}");
            assert_eq!((stats.open(), stats.cut()), (0, 1));
            assert_eq!(client.read_to_end().await, "");
        });
    }
}

#[test]
fn at_the_grace_limit_a_handler_without_a_client_ends_too() {
    held(CUT, async |server, _, events| {
        let mut client = RawClient::of(&server).await;
        client.get("/keep-for-ever").await;
        events.entered_and("waiting").await;
        drop(client);
        until(|| tenure::open().to_string().contains("Orphaned")).await;
        server.close().await.unwrap();
        assert_eq!(events.rest(), exits("cancelled"));
    });
}

#[test]
fn at_the_grace_limit_a_slow_reader_is_cut() {
    held(CUT, async |server, _, events| {
        let stats = server.stats();
        let mut client = RawClient::of(&server).await;
        client.get("/flood").await;
        events.entered_and("flooding").await;
        // It reads nothing, and keeps its connection.
        server.close().await.unwrap();
        assert_eq!(events.rest(), exits("cancelled"));
        assert_eq!(stats.cut(), 1);
        drop(client);
    });
}

#[test]
fn a_response_under_way_is_finished() {
    held(GRACE_LIMIT_DEFAULT, async |server, app, events| {
        let chunks = app.stream();
        let mut client = RawClient::of(&server).await;
        client.get("/stream").await;
        chunks.send(Bytes::from_static(b"first")).await.unwrap();
        client.read_until("first").await;
        events.entered().await;
        let leaving = tokio::spawn(server.close());
        chunks.send(Bytes::from_static(b"last")).await.unwrap();
        client.read_until("last").await;
        drop(chunks);
        client.read_to_end().await;
        leaving.await.unwrap().unwrap();
        assert_eq!(events.rest(), exits("completed"));
    });
}

#[test]
fn dropped_the_server_is_left_in_the_background() {
    held(GRACE_LIMIT_DEFAULT, async |server, app, events| {
        let mut client = RawClient::of(&server).await;
        client.get("/gate").await;
        events.entered_and("waiting").await;
        drop(server);
        app.gate.notify_one();
        events.expect(&["went on"]).await;
        assert!(client.read_to_end().await.ends_with("done"));
        assert!(drain(HANG).await.is_clean());
        assert_eq!(events.rest(), exits("completed"));
    });
}

#[test]
fn law_09_a_server_that_is_never_polled_begins_nothing() {
    check(async || {
        let (log, _) = log();
        drop(serve(listen().await, App::new(&log).router()).into_future());
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
        assert_eq!(tenure::counters().entered, 0);
    });
}

/// A service that panics when it is copied for a connection.
struct Brittle;

impl Clone for Brittle {
    fn clone(&self) -> Self {
        tenure_test::panic_quietly("copied")
    }
}

impl tower::Service<http::Request<RequestBody>> for Brittle {
    type Response = http::Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<RequestBody>) -> Self::Future {
        ready(Ok(http::Response::default()))
    }
}

#[test]
fn a_body_that_waits_forever_ends_when_nobody_is_let_in_any_more() {
    check(async || {
        let served = with(serve(listen().await, Brittle), async |server| {
            let _client = TcpStream::connect(server.local_addr()).await.unwrap();
            server.forever().await
        });
        let told = served.await.unwrap_err().to_string();
        assert_eq!(told, "the task that accepts connections panicked: injected panic: copied");
    });
}

#[test]
fn forever_lasts_until_the_body_is_dropped() {
    served(async |server, _, events| {
        let address = server.local_addr();
        let forever = server.forever();
        let mut client = RawClient::connect(address).await;
        let answered = async {
            client.get("/hello").await;
            client.read_until("hello").await;
            events.entered_and_exited("completed").await;
        };
        tokio::select! {
            ended = forever => panic!("it ended: {ended:?}"),
            () = answered => {}
        }
    });
}
