//! Clients that go away, at every stage of a request.

use bytes::Bytes;

use crate::app::{served, served_with, until_open};
use crate::support::{HANG, RawClient, until};

#[test]
fn before_headers_nothing_is_entered() {
    served(async |server, _, events| {
        let stats = server.stats();
        for _ in 0..3 {
            let client = RawClient::of(server).await;
            until(|| stats.open() > 0).await;
            drop(client);
            until_open(server, 0).await;
        }
        assert_eq!((stats.accepted(), stats.requests()), (3, 0));
        assert!(events.rest().is_empty());
    });
}

#[test]
fn amid_headers_nothing_is_entered() {
    served(async |server, _, events| {
        let stats = server.stats();
        for head in ["G", "GET /hello HT", "GET /hello HTTP/1.1\r\nhost: te", "PRI * HTTP/2.0\r\n", "PR"] {
            let mut client = RawClient::of(server).await;
            client.send(head).await;
            until(|| stats.open() > 0).await;
            drop(client);
            until_open(server, 0).await;
        }
        assert_eq!((stats.accepted(), stats.requests()), (5, 0));
        assert!(events.rest().is_empty());
    });
}

/// The upload's own route notes a body that fails: it would log that as an error of its own.
#[test]
fn amid_an_upload_the_request_is_cancelled_and_its_body_does_not_fail() {
    served(async |server, _, events| {
        for resets in [false, true] {
            for head in ["content-length: 10\r\n\r\nhalf.", "transfer-encoding: chunked\r\n\r\n5\r\nhalf.\r\n"]
            {
                let mut client = RawClient::of(server).await;
                if resets {
                    socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                }
                client.send(&format!("POST /upload HTTP/1.1\r\nhost: test\r\n{head}")).await;
                events.entered_and("upload goes on").await;
                drop(client);
                events.exited("cancelled").await;
            }
        }
        assert!(tenure::drain(HANG).await.incidents.is_empty());
    });
}

#[test]
fn a_body_that_is_none_fails_and_its_client_is_answered() {
    served(async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client
            .send("POST /upload HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n")
            .await;
        events.entered_and("upload broken").await;
        assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 500"));
        events.exited("failed: the request was answered with 500 Internal Server Error").await;
    });
}

#[test]
fn half_closed_by_choice_amid_an_upload_its_body_fails_and_the_client_is_answered() {
    served_with(
        |server| server.half_close(true),
        async |server, _, events| {
            let mut client = RawClient::of(server).await;
            client.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.").await;
            events.entered_and("upload goes on").await;
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
            events.expect(&["upload broken"]).await;
            assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 500"));
            events.exited("failed: the request was answered with 500 Internal Server Error").await;
        },
    );
}

#[test]
fn amid_an_upload_that_goes_on_without_its_client_the_body_fails() {
    served(async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.send("POST /keep-upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.").await;
        events.entered_and("upload goes on").await;
        drop(client);
        events.expect(&["upload broken"]).await;
        events.exited("failed: the request was answered with 500 Internal Server Error").await;
    });
}

#[test]
fn while_the_handler_runs_it_is_dropped() {
    served(async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.get("/for-ever").await;
        events.entered_and("waiting").await;
        drop(client);
        events.exited("cancelled").await;
    });
}

#[test]
fn while_the_handler_runs_it_may_go_on() {
    served(async |server, app, events| {
        let mut client = RawClient::of(server).await;
        client.get("/keep").await;
        events.entered_and("waiting").await;
        let stats = server.stats();
        drop(client);
        // The connection is not over before its handler is.
        until(|| tenure::open().to_string().contains("Orphaned")).await;
        assert!(events.rest().is_empty() && stats.open() == 1);
        app.gate.notify_one();
        events.expect(&["went on"]).await;
        events.exited("completed").await;
        until_open(server, 0).await;
    });
}

#[test]
fn amid_the_response_the_request_is_cancelled() {
    served(async |server, app, events| {
        let chunks = app.stream();

        let mut client = RawClient::of(server).await;
        client.get("/stream").await;
        chunks.send(Bytes::from_static(b"first")).await.unwrap();
        client.read_until("first").await;
        events.entered().await;
        assert!(events.rest().is_empty());
        drop(client);
        events.exited("cancelled").await;
        assert!(chunks.is_closed());
    });
}

#[test]
fn amid_a_response_that_nobody_reads() {
    served(async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.get("/flood").await;
        events.entered_and("flooding").await;
        drop(client);
        events.exited("cancelled").await;
    });
}

#[test]
fn idle_between_two_requests_nothing_is_left_of_the_first() {
    served(async |server, _, events| {
        let stats = server.stats();
        let mut client = RawClient::of(server).await;
        for _ in 0..2 {
            client.get("/hello").await;
            client.read_until("hello").await;
            events.entered_and_exited("completed").await;
        }
        assert_eq!((stats.accepted(), stats.open(), stats.requests()), (1, 1, 2));
        drop(client);
        until_open(server, 0).await;
        assert!(events.rest().is_empty());
    });
}

#[test]
fn half_closed_by_the_client_counts_as_gone() {
    served(async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.get("/for-ever").await;
        events.entered_and("waiting").await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
        events.exited("cancelled").await;
        assert_eq!(client.read_to_end().await, "");
    });
}

#[test]
fn many_at_once() {
    const CLIENTS: usize = 200;
    served(async |server, _, events| {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = RawClient::of(server).await;
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
        until_open(server, 0).await;
    });
}
