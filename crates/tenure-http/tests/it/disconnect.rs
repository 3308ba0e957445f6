//! Clients that go away, at every stage of a request.

use bytes::Bytes;
use tenure_http::{Server, ServerStats};

use crate::app::{App, serving};
use crate::support::{RawClient, check, log};

const ENTERED: [&str; 2] = ["enter a", "enter b"];
const CANCELLED: [&str; 2] = ["exit b, cancelled", "exit a, cancelled"];
const COMPLETED: [&str; 2] = ["exit b, completed", "exit a, completed"];

/// Waits until the server has done with all connections but `but`.
///
/// It is the server's to notice that a client is gone, so there is nothing of the test's to wait for.
async fn until_open(stats: &ServerStats, but: u64) {
    while stats.open() > but {
        tokio::task::yield_now().await;
    }
}

async fn client(server: &Server) -> RawClient {
    RawClient::connect(server.local_addr()).await
}

#[test]
fn before_headers_nothing_is_entered() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let stats = server.stats();
            for _ in 0..3 {
                let client = client(server).await;
                while stats.open() == 0 {
                    tokio::task::yield_now().await;
                }
                drop(client);
                until_open(&stats, 0).await;
            }
            assert_eq!((stats.accepted(), stats.requests()), (3, 0));
            Ok(())
        })
        .await;
        assert!(events.rest().is_empty());
    });
}

#[test]
fn amid_headers_nothing_is_entered() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let stats = server.stats();
            for head in ["G", "GET /hello HT", "GET /hello HTTP/1.1\r\nhost: te", "PRI * HTTP/2.0\r\n", "PR"] {
                let mut client = client(server).await;
                client.send(head).await;
                while stats.open() == 0 {
                    tokio::task::yield_now().await;
                }
                drop(client);
                until_open(&stats, 0).await;
            }
            assert_eq!((stats.accepted(), stats.requests()), (5, 0));
            Ok(())
        })
        .await;
        assert!(events.rest().is_empty());
    });
}

#[test]
fn amid_an_upload_the_request_is_not_completed() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let mut client = client(server).await;
            client.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.").await;
            events.expect(&ENTERED).await;
            events.expect(&["upload goes on"]).await;
            drop(client);
            // The handler may still see that its body is broken; nobody reads its answer.
            let mut seen = Vec::new();
            while !seen.last().is_some_and(|event: &String| event.starts_with("exit a")) {
                seen.push(events.next().await);
            }
            let broken = seen.first().is_some_and(|event| event == "upload broken");
            let exits: Vec<_> = seen.iter().skip(usize::from(broken)).collect();
            assert_eq!(exits.len(), 2, "{seen:?}");
            assert!(
                exits[0].starts_with("exit b") && !exits.iter().any(|exit| exit.ends_with("completed")),
                "{seen:?}"
            );
            Ok(())
        })
        .await;
    });
}

#[test]
fn while_the_handler_runs_it_is_dropped() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let mut client = client(server).await;
            client.get("/for-ever").await;
            events.expect(&ENTERED).await;
            events.expect(&["waiting"]).await;
            drop(client);
            events.expect(&CANCELLED).await;
            Ok(())
        })
        .await;
    });
}

#[test]
fn while_the_handler_runs_it_may_go_on() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        serving(&app, async |server| {
            let mut client = client(server).await;
            client.get("/keep").await;
            events.expect(&ENTERED).await;
            events.expect(&["waiting"]).await;
            let stats = server.stats();
            drop(client);
            // The connection is not over before its handler is.
            while !tenure::open().to_string().contains("Orphaned") {
                tokio::task::yield_now().await;
            }
            assert!(events.rest().is_empty() && stats.open() == 1);
            app.gate.notify_one();
            events.expect(&["went on"]).await;
            events.expect(&COMPLETED).await;
            until_open(&stats, 0).await;
            Ok(())
        })
        .await;
    });
}

#[test]
fn amid_the_response_the_request_is_cancelled() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let chunks = app.stream();
        serving(&app, async |server| {
            let mut client = client(server).await;
            client.get("/stream").await;
            chunks.send(Bytes::from_static(b"first")).await.unwrap();
            client.read_until("first").await;
            events.expect(&ENTERED).await;
            assert!(events.rest().is_empty());
            drop(client);
            events.expect(&CANCELLED).await;
            assert!(chunks.is_closed());
            Ok(())
        })
        .await;
    });
}

#[test]
fn amid_a_response_that_nobody_reads() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let mut client = client(server).await;
            client.get("/flood").await;
            events.expect(&ENTERED).await;
            events.expect(&["flooding"]).await;
            drop(client);
            events.expect(&CANCELLED).await;
            Ok(())
        })
        .await;
    });
}

#[test]
fn idle_between_two_requests_nothing_is_left_of_the_first() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let stats = server.stats();
            let mut client = client(server).await;
            for _ in 0..2 {
                client.get("/hello").await;
                client.read_until("hello").await;
                events.expect(&ENTERED).await;
                events.expect(&COMPLETED).await;
            }
            assert_eq!((stats.accepted(), stats.open(), stats.requests()), (1, 1, 2));
            drop(client);
            until_open(&stats, 0).await;
            Ok(())
        })
        .await;
        assert!(events.rest().is_empty());
    });
}

#[test]
fn half_closed_by_the_client_counts_as_gone() {
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let mut client = client(server).await;
            client.get("/for-ever").await;
            events.expect(&ENTERED).await;
            events.expect(&["waiting"]).await;
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
            events.expect(&CANCELLED).await;
            assert_eq!(client.read_to_end().await, "");
            Ok(())
        })
        .await;
    });
}

#[test]
fn many_at_once() {
    const CLIENTS: usize = 200;
    check(async || {
        let (log, mut events) = log();
        serving(&App::new(&log), async |server| {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                let mut client = client(server).await;
                client.get("/for-ever").await;
                clients.push(client);
            }
            for _ in 0..3 * CLIENTS {
                events.next().await;
            }
            drop(clients);
            let mut exits = Vec::new();
            while exits.len() < 2 * CLIENTS {
                exits.push(events.next().await);
            }
            assert!(exits.iter().all(|exit| exit.ends_with("cancelled")));
            until_open(&server.stats(), 0).await;
            Ok(())
        })
        .await;
    });
}
