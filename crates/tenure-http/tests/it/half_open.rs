//! Peers that vanish without a word, neither `FIN` nor `RST`: at every stage, on either side.
//!
//! Where a middleman stands between the two, each has a live socket and hears nothing more: this works everywhere. What
//! that cannot show is that TCP itself notices a peer that is gone, since the middleman's system is there and answers:
//! `vanished` does that, in a network of its own that is taken down.

use std::time::Duration;

use bytes::Bytes;
use tenure::{hold, with};
use tenure_http::{Client, ClientError, Serve, Stage, pool};

use crate::app::{served, served_with, until_open};
use crate::client::{LIMIT, both_versions, hello, stage_of};
use crate::support::{Middleman, RawClient, until};

/// Short, since real time has to pass; long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(300);

fn impatient<S>(server: Serve<S>) -> Serve<S> {
    server.header_read_timeout(SHORT).body_read_timeout(SHORT).write_timeout(SHORT)
}

#[test]
fn a_client_that_vanishes_between_two_requests() {
    served_with(impatient, async |server, _, events| {
        let middleman = Middleman::to(server).await;
        let mut client = RawClient::connect(middleman.address).await;
        client.get("/hello").await;
        client.read_until("hello").await;
        middleman.vanish();
        drop(client);
        events.entered_and_exited("completed").await;
        until_open(server, 0).await;
    });
}

#[test]
fn a_client_of_http2_that_vanishes_between_two_requests() {
    served_with(impatient, async |server, _, events| {
        let middleman = Middleman::to(server).await;
        let [_, (http2, _)] = both_versions(&middleman.url());
        let mut client = hold(http2).await.unwrap();
        assert_eq!(hello(&mut client).await.unwrap(), "hello");
        events.entered_and_exited("completed").await;
        middleman.vanish();
        until_open(server, 0).await;
        assert!(!client.is_closed());
        client.close().await.unwrap();
    });
}

#[test]
fn a_client_that_vanishes_amid_its_head() {
    served_with(impatient, async |server, _, _| {
        let middleman = Middleman::to(server).await;
        let mut client = RawClient::connect(middleman.address).await;
        client.send("GET /hello HT").await;
        until(|| server.stats().open() == 1).await;
        middleman.vanish();
        until_open(server, 0).await;
        assert_eq!(server.stats().requests(), 0);
    });
}

#[test]
fn a_client_that_vanishes_amid_an_upload() {
    served_with(impatient, async |server, _, events| {
        let middleman = Middleman::to(server).await;
        let mut client = RawClient::connect(middleman.address).await;
        client.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.").await;
        events.entered_and("upload goes on").await;
        middleman.vanish();
        client.send("rest.").await;
        events.exited("cancelled").await;
        until_open(server, 0).await;
        assert_eq!(server.stats().stalled(), 1);
    });
}

#[test]
fn a_client_that_vanishes_amid_a_response() {
    served_with(impatient, async |server, _, events| {
        let middleman = Middleman::to(server).await;
        for (connection, _) in both_versions(&middleman.url()) {
            let client = hold(connection).await.unwrap();
            let mut requests = client;
            let body = requests.get("/flood").await.unwrap();
            events.entered_and("flooding").await;
            if requests.version() == http::Version::HTTP_2 {
                middleman.vanish();
            } else {
                // Reading nothing is as good as gone, and leaves the middleman to the next.
                assert_eq!(requests.version(), http::Version::HTTP_11);
            }
            events.exited("cancelled").await;
            drop(body);
            requests.close().await.unwrap();
        }
        until_open(server, 0).await;
    });
}

#[test]
fn a_server_that_vanishes_before_its_answer() {
    served(async |server, _, events| {
        for version in 0..2 {
            let middleman = Middleman::to(server).await;
            let (connection, _) = both_versions(&middleman.url())[version].clone();
            let left = with(connection.silence_limit(SHORT), async |client: &mut Client| {
                assert_eq!(hello(client).await?, "hello");
                middleman.vanish();
                let failed = client.get("/hello").await.unwrap_err();
                assert!(failed.stage() == Stage::Request && failed.is_timeout(), "{failed:?}");
                Ok::<_, ClientError>(())
            });
            left.await.unwrap();
            events.entered_and_exited("completed").await;
        }
    });
}

#[test]
fn a_server_that_vanishes_amid_its_answer() {
    served(async |server, app, events| {
        for version in 0..2 {
            let middleman = Middleman::to(server).await;
            let (connection, _) = both_versions(&middleman.url())[version].clone();
            let chunks = app.stream();
            let left = with(connection.silence_limit(SHORT), async |client: &mut Client| {
                let body = client.get("/stream").await?.into_body();
                middleman.vanish();
                chunks.send(Bytes::from_static(b"lost")).await.unwrap();
                let failed = body.text(LIMIT).await.unwrap_err();
                assert!(failed.stage() == Stage::Body && failed.is_timeout(), "{failed:?}");
                Ok::<_, ClientError>(())
            });
            left.await.unwrap();
            drop((chunks, middleman));
            events.entered().await;
            // Whether it was sent to its end, or the middleman's end came first, is between those two.
            assert!(events.next().await.starts_with("exit b"));
            assert!(events.next().await.starts_with("exit a"));
        }
    });
}

#[test]
fn a_connection_of_a_pool_whose_server_vanishes_is_not_lent_again() {
    served(async |server, _, _| {
        let middleman = Middleman::to(server).await;
        let clients = pool().connect_with(|connect| connect.silence_limit(SHORT));
        let clients = hold(clients).await.unwrap();
        let ask = async || {
            with(clients.get(&middleman.url()), async |client| {
                client.get("/hello").await?.into_body().text(LIMIT).await
            })
            .await
        };
        assert_eq!(ask().await.unwrap(), "hello");
        middleman.vanish();
        assert_eq!(stage_of(ask().await), Stage::Request);
        until(|| clients.stats().open() == 0).await;
        clients.close().await.unwrap();
    });
}
