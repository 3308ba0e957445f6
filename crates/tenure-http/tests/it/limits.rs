//! The limits of a server: slow heads, oversized heads, silent connections, too many of them.

use std::time::Duration;

use crate::app::{SMALL_BYTES_MAX, served, served_with};
use crate::support::RawClient;

/// Short, since real time has to pass.
const TIMEOUT: Duration = Duration::from_millis(50);

#[test]
fn a_client_that_does_not_send_a_head_is_closed() {
    served_with(
        |server| server.header_read_timeout(TIMEOUT),
        async |server, _, events| {
            // Silent, slow in the first byte, in the head, in the preface of HTTP/2.
            for head in ["", "G", "GET /hello HTTP/1.1\r\nhost: te", "PRI * HTTP/2.0"] {
                let mut client = RawClient::of(server).await;
                client.send(head).await;
                assert_eq!(client.read_to_end().await, "", "{head:?}");
            }
            assert_eq!(server.stats().requests(), 0);
            assert!(events.rest().is_empty());
        },
    );
}

#[test]
fn a_connection_idle_after_a_request_is_closed() {
    served_with(
        |server| server.header_read_timeout(TIMEOUT),
        async |server, _, events| {
            let mut client = RawClient::of(server).await;
            client.get("/hello").await;
            // Half-open: the peer is there, and says nothing.
            assert!(client.read_to_end().await.ends_with("hello"));
            events.entered_and_exited("completed").await;
        },
    );
}

#[test]
fn the_head_limit_does_not_count_while_a_short_request_is_handled() {
    served_with(
        |server| server.header_read_timeout(TIMEOUT),
        async |server, app, events| {
            let mut client = RawClient::of(server).await;
            client.send("GET /gate HTTP/1.0\r\n\r\n").await;
            events.entered_and("waiting").await;
            let mut silent = RawClient::of(server).await;
            // Its limit passes after the first one's would have.
            assert_eq!(silent.read_to_end().await, "");
            app.gate.notify_one();
            assert!(client.read_to_end().await.ends_with("done"));
        },
    );
}

#[test]
fn an_oversized_head_is_refused() {
    served_with(
        |server| server.header_bytes_max(8 * 1024),
        async |server, _, events| {
            let long = format!("GET /hello HTTP/1.1\r\nhost: test\r\nlong: {}\r\n\r\n", "x".repeat(9 * 1024));
            let many = format!("GET /hello HTTP/1.1\r\nhost: test\r\n{}\r\n", "h: x\r\n".repeat(101));
            for head in [long, many] {
                let mut client = RawClient::of(server).await;
                client.send(&head).await;
                let answer = client.read_to_end().await;
                assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
            }
            let mut client = RawClient::of(server).await;
            client.send("\0no HTTP at all\r\n\r\n").await;
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            assert_eq!((server.stats().requests(), server.stats().accepted()), (0, 3));
            assert!(events.rest().is_empty());
        },
    );
}

#[test]
fn an_oversized_upload_is_refused_before_its_end() {
    served(async |server, _, events| {
        let mut client = RawClient::of(server).await;
        client.send("POST /small HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n").await;
        client.send(&"x".repeat(SMALL_BYTES_MAX + 1)).await;
        // The connection cannot be used again, since nobody reads the rest: it is closed.
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        events.entered_and_exited("failed: the request was answered with 413 Payload Too Large").await;
    });
}

#[test]
fn a_silent_connection_of_http2_is_closed() {
    served_with(
        |server| server.header_read_timeout(TIMEOUT),
        async |server, _, events| {
            let mut client = RawClient::of(server).await;
            // The preface, and settings without any; then it answers no `PING`.
            client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
            client.read_to_end().await;
            assert_eq!(server.stats().requests(), 0);
            assert!(events.rest().is_empty());
        },
    );
}

#[test]
fn connections_beyond_the_limit_wait() {
    served_with(
        |server| server.max_connections(1),
        async |server, app, events| {
            let mut first = RawClient::of(server).await;
            first.get("/gate").await;
            events.entered_and("waiting").await;
            // The system accepts it; the server does not.
            let mut second = RawClient::of(server).await;
            second.get("/hello").await;
            app.gate.notify_one();
            first.read_until("done").await;
            events.expect(&["went on", "exit b, completed", "exit a, completed"]).await;
            assert_eq!(server.stats().accepted(), 1);
            drop(first);
            second.read_until("hello").await;
            assert_eq!(server.stats().accepted(), 2);
        },
    );
}

#[test]
fn leaving_a_server_that_is_full_does_not_hang() {
    served_with(
        |server| server.max_connections(1),
        async |server, _, _| {
            let mut first = RawClient::of(server).await;
            first.get("/hello").await;
            first.read_until("hello").await;
            let _second = RawClient::of(server).await;
        },
    );
}
