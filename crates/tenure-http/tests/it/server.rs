//! Leaving a server: in order, within its limit, with all exits awaited.

use std::time::Duration;

use bytes::Bytes;
use tenure::{drain, hold};
use tenure_http::serve;
use tokio::net::TcpStream;

use crate::app::{App, listen, serving};
use crate::support::{HANG, RawClient, check, log};

const COMPLETED: [&str; 2] = ["exit b, completed", "exit a, completed"];

#[test]
fn answers_and_tells_how_requests_ended() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let failed = "failed: the request was answered with 500 Internal Server Error";
            for (path, text, outcome) in [("/hello", "hello", "completed"), ("/fail", "failed", failed)] {
                let mut client = RawClient::connect(server.local_addr()).await;
                client.get(path).await;
                client.read_until(text).await;
                events.expect(&["enter a", "enter b"]).await;
                let exits = [format!("exit b, {outcome}"), format!("exit a, {outcome}")];
                events.expect(&[&exits[0], &exits[1]]).await;
            }
            Ok(())
        })
        .await;
    });
}

#[test]
fn a_handler_that_panics_takes_its_connection_along_and_no_other() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let mut other = RawClient::connect(server.local_addr()).await;
            let mut client = RawClient::connect(server.local_addr()).await;
            client.get("/panic").await;
            let exits = ["exit b, panicked: in the handler", "exit a, panicked: in the handler"];
            events.expect(&["enter a", "enter b", exits[0], exits[1]]).await;
            assert_eq!(client.read_to_end().await, "");
            other.get("/hello").await;
            other.read_until("hello").await;
            Ok(())
        })
        .await;
    });
}

#[test]
fn leaving_waits_for_requests_in_flight() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let server = hold(serve(listen().await, app.router())).await.unwrap();
        let (address, stats) = (server.local_addr(), server.stats());
        let mut idle = RawClient::connect(address).await;
        idle.get("/hello").await;
        idle.read_until("hello").await;
        events.expect(&["enter a", "enter b"]).await;
        events.expect(&COMPLETED).await;
        let mut busy = RawClient::connect(address).await;
        busy.get("/gate").await;
        events.expect(&["enter a", "enter b", "waiting"]).await;
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
        assert_eq!(events.rest(), COMPLETED);
        assert_eq!((stats.open(), stats.cut()), (0, 0));
    });
}

#[test]
fn at_the_grace_limit_requests_are_cancelled_and_their_exits_awaited() {
    check(async || {
        for path in ["/for-ever", "/keep-for-ever"] {
            let (log, mut events) = log();
            let server = serve(listen().await, App::new(&log).router()).grace_limit(Duration::from_millis(20));
            let server = hold(server).await.unwrap();
            let stats = server.stats();
            let mut client = RawClient::connect(server.local_addr()).await;
            client.get(path).await;
            events.expect(&["enter a", "enter b", "waiting"]).await;
            server.close().await.unwrap();
            assert_eq!(events.rest(), ["exit b, cancelled", "exit a, cancelled"], "{path}");
            assert_eq!((stats.open(), stats.cut()), (0, 1));
            assert_eq!(client.read_to_end().await, "");
        }
    });
}

#[test]
fn at_the_grace_limit_a_handler_without_a_client_ends_too() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router()).grace_limit(Duration::from_millis(20));
        let server = hold(server).await.unwrap();
        let mut client = RawClient::connect(server.local_addr()).await;
        client.get("/keep-for-ever").await;
        events.expect(&["enter a", "enter b", "waiting"]).await;
        drop(client);
        while !tenure::open().to_string().contains("Orphaned") {
            tokio::task::yield_now().await;
        }
        server.close().await.unwrap();
        assert_eq!(events.rest(), ["exit b, cancelled", "exit a, cancelled"]);
    });
}

#[test]
fn at_the_grace_limit_a_slow_reader_is_cut() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router()).grace_limit(Duration::from_millis(20));
        let server = hold(server).await.unwrap();
        let stats = server.stats();
        let mut client = RawClient::connect(server.local_addr()).await;
        client.get("/flood").await;
        events.expect(&["enter a", "enter b", "flooding"]).await;
        // It reads nothing, and keeps its connection.
        server.close().await.unwrap();
        assert_eq!(events.rest(), ["exit b, cancelled", "exit a, cancelled"]);
        assert_eq!(stats.cut(), 1);
        drop(client);
    });
}

#[test]
fn a_response_under_way_is_finished() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let chunks = app.stream();
        let server = hold(serve(listen().await, app.router())).await.unwrap();
        let mut client = RawClient::connect(server.local_addr()).await;
        client.get("/stream").await;
        chunks.send(Bytes::from_static(b"first")).await.unwrap();
        client.read_until("first").await;
        events.expect(&["enter a", "enter b"]).await;
        let leaving = tokio::spawn(server.close());
        chunks.send(Bytes::from_static(b"last")).await.unwrap();
        client.read_until("last").await;
        drop(chunks);
        client.read_to_end().await;
        leaving.await.unwrap().unwrap();
        assert_eq!(events.rest(), COMPLETED);
    });
}

#[test]
fn dropped_the_server_is_left_in_the_background() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let server = hold(serve(listen().await, app.router())).await.unwrap();
        let mut client = RawClient::connect(server.local_addr()).await;
        client.get("/gate").await;
        events.expect(&["enter a", "enter b", "waiting"]).await;
        drop(server);
        app.gate.notify_one();
        events.expect(&["went on"]).await;
        assert!(client.read_to_end().await.ends_with("done"));
        assert!(drain(HANG).await.is_clean());
        assert_eq!(events.rest(), COMPLETED);
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
