//! The limits of a server: slow heads, oversized heads, silent connections, too many of them.

use std::time::Duration;

use tenure_http::serve;

use crate::app::{App, SMALL_BYTES_MAX, listen};
use crate::support::{RawClient, check, log};

/// Short, since real time has to pass.
const TIMEOUT: Duration = Duration::from_millis(50);

#[test]
fn a_client_that_does_not_send_a_head_is_closed() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router()).header_read_timeout(TIMEOUT);
        tenure::with(server, async |server| {
            // Silent, slow in the first byte, in the head, in the preface of HTTP/2.
            for head in ["", "G", "GET /hello HTTP/1.1\r\nhost: te", "PRI * HTTP/2.0"] {
                let mut client = RawClient::connect(server.local_addr()).await;
                client.send(head).await;
                assert_eq!(client.read_to_end().await, "", "{head:?}");
            }
            assert_eq!(server.stats().requests(), 0);
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
        assert!(events.rest().is_empty());
    });
}

#[test]
fn a_connection_idle_after_a_request_is_closed() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router()).header_read_timeout(TIMEOUT);
        tenure::with(server, async |server| {
            let mut client = RawClient::connect(server.local_addr()).await;
            client.get("/hello").await;
            // Half-open: the peer is there, and says nothing.
            assert!(client.read_to_end().await.ends_with("hello"));
            events.expect(&["enter a", "enter b", "exit b, completed", "exit a, completed"]).await;
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn the_head_limit_does_not_count_while_a_short_request_is_handled() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let server = serve(listen().await, app.router()).header_read_timeout(TIMEOUT);
        tenure::with(server, async |server| {
            let mut client = RawClient::connect(server.local_addr()).await;
            client.send("GET /gate HTTP/1.0\r\n\r\n").await;
            events.expect(&["enter a", "enter b", "waiting"]).await;
            let mut silent = RawClient::connect(server.local_addr()).await;
            // Its limit passes after the first one's would have.
            assert_eq!(silent.read_to_end().await, "");
            app.gate.notify_one();
            assert!(client.read_to_end().await.ends_with("done"));
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn an_oversized_head_is_refused() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router()).header_bytes_max(8 * 1024);
        tenure::with(server, async |server| {
            let long = format!("GET /hello HTTP/1.1\r\nhost: test\r\nlong: {}\r\n\r\n", "x".repeat(9 * 1024));
            let many = format!("GET /hello HTTP/1.1\r\nhost: test\r\n{}\r\n", "h: x\r\n".repeat(101));
            for head in [long, many] {
                let mut client = RawClient::connect(server.local_addr()).await;
                client.send(&head).await;
                let answer = client.read_to_end().await;
                assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
            }
            let mut client = RawClient::connect(server.local_addr()).await;
            client.send("\0no HTTP at all\r\n\r\n").await;
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            assert_eq!((server.stats().requests(), server.stats().accepted()), (0, 3));
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
        assert!(events.rest().is_empty());
    });
}

#[test]
fn an_oversized_upload_is_refused_before_its_end() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router());
        tenure::with(server, async |server| {
            let mut client = RawClient::connect(server.local_addr()).await;
            client.send("POST /small HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n").await;
            client.send(&"x".repeat(SMALL_BYTES_MAX + 1)).await;
            // The connection cannot be used again, since nobody reads the rest: it is closed.
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
            events.expect(&["enter a", "enter b", "exit b, completed", "exit a, completed"]).await;
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_silent_connection_of_http2_is_closed() {
    check(async || {
        let (log, mut events) = log();
        let server = serve(listen().await, App::new(&log).router()).header_read_timeout(TIMEOUT);
        tenure::with(server, async |server| {
            let mut client = RawClient::connect(server.local_addr()).await;
            // The preface, and settings without any; then it answers no `PING`.
            client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
            client.read_to_end().await;
            assert_eq!(server.stats().requests(), 0);
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
        assert!(events.rest().is_empty());
    });
}

#[test]
fn connections_beyond_the_limit_wait() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let server = serve(listen().await, app.router()).max_connections(1);
        tenure::with(server, async |server| {
            let mut first = RawClient::connect(server.local_addr()).await;
            first.get("/gate").await;
            events.expect(&["enter a", "enter b", "waiting"]).await;
            // The system accepts it; the server does not.
            let mut second = RawClient::connect(server.local_addr()).await;
            second.get("/hello").await;
            app.gate.notify_one();
            first.read_until("done").await;
            events.expect(&["went on", "exit b, completed", "exit a, completed"]).await;
            assert_eq!(server.stats().accepted(), 1);
            drop(first);
            second.read_until("hello").await;
            assert_eq!(server.stats().accepted(), 2);
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn leaving_a_server_that_is_full_does_not_hang() {
    check(async || {
        let (log, _) = log();
        let server = serve(listen().await, App::new(&log).router()).max_connections(1);
        tenure::with(server, async |server| {
            let mut first = RawClient::connect(server.local_addr()).await;
            first.get("/hello").await;
            first.read_until("hello").await;
            let _second = RawClient::connect(server.local_addr()).await;
            Ok::<_, tenure_http::ServeError>(())
        })
        .await
        .unwrap();
    });
}
