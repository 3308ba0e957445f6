//! The recipes, as they are in the folder `examples`: where clients go away and where a stop comes.

use std::path::Path;

use http_body_util::BodyExt as _;
use tenure::{Held, hold, with_local};
use tenure_http::{ClientError, ServeError, Server, connect, pool, serve};

use crate::app::{App, listen, until_open};
use crate::support::{HANG, RawClient, check, log, until};

#[expect(dead_code, reason = "its `main`")]
#[path = "../../examples/chat.rs"]
mod chat;
#[expect(dead_code, reason = "its `main`")]
#[path = "../../examples/events.rs"]
mod events;
#[expect(dead_code, reason = "its `main`")]
#[path = "../../examples/extractor.rs"]
mod extractor;
#[expect(dead_code, reason = "its `main`")]
#[path = "../../examples/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "its `main`")]
#[path = "../../examples/upload.rs"]
mod upload;

async fn serving(router: axum::Router) -> Held<Server> {
    hold(serve(listen().await, router).grace_limit(HANG)).await.unwrap()
}

#[test]
fn events_end_with_their_client_and_with_the_server() {
    check(async || {
        let server = serving(events::router()).await;
        let mut gone = RawClient::of(&server).await;
        gone.get("/events").await;
        gone.read_until("event 1").await;
        drop(gone);
        until_open(&server, 0).await;
        let mut client = RawClient::of(&server).await;
        client.get("/events").await;
        client.read_until("event 0").await;
        let began = std::time::Instant::now();
        server.close().await.unwrap();
        assert!(began.elapsed() < HANG / 2, "a stream held up the stop");
        // The stream has its proper end.
        assert!(client.read_to_end().await.ends_with("0\r\n\r\n"));
    });
}

#[test]
fn over_http2_events_end_with_the_server_too() {
    check(async || {
        let server = serving(events::router()).await;
        let url = format!("http://{}", server.local_addr());
        let mut client = hold(connect(url).http2_only()).await.unwrap();
        let mut body = client.get("/events").await.unwrap().into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        let began = std::time::Instant::now();
        let (closed, events) = tokio::join!(server.close(), body.text(100_000));
        closed.unwrap();
        assert!(began.elapsed() < HANG / 2, "a stream held up the stop");
        // To its proper end.
        events.unwrap();
        client.close().await.unwrap();
    });
}

#[test]
fn a_chat_announces_who_leaves_and_says_goodbye_at_a_stop() {
    use crate::sockets::{Version, connect, next};
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    check(async || {
        let server = serving(chat::router()).await;
        let mut stays = connect(&server, Version::Http1, "/chat").await;
        assert_eq!(next(&mut stays).await, Ok("somebody came".to_owned()));
        let leaves = connect(&server, Version::Http2, "/chat").await;
        // Who is gone before it has come in is not announced.
        assert_eq!(next(&mut stays).await, Ok("somebody came".to_owned()));
        // It says nothing and is gone.
        drop(leaves);
        assert_eq!(next(&mut stays).await, Ok("somebody left".to_owned()));
        let leaving = tokio::spawn(server.close());
        assert_eq!(next(&mut stays).await, Err(Some(CloseCode::Away)));
        drop(stays);
        leaving.await.unwrap().unwrap();
    });
}

#[test]
fn a_proxy_streams_and_lets_go_of_the_server_behind_it() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let behind = hold(serve(listen().await, app.router())).await.unwrap();
        let clients = hold(pool()).await.unwrap();
        let router = proxy::router(&clients, format!("http://{}", behind.local_addr()));
        let server = serving(router).await;

        let mut client = RawClient::of(&server).await;
        client
            .send("POST /upload HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf.\r\n")
            .await;
        events.entered_and("upload goes on").await;
        client.send("5\r\nrest.\r\n0\r\n\r\n").await;
        assert!(client.read_until("10").await.starts_with("HTTP/1.1 200"));
        events.expect(&["upload goes on"]).await;
        events.exited("completed").await;

        // The client goes away amid the answer, and the server behind learns of it.
        let chunks = app.stream();
        client.get("/stream").await;
        chunks.send(axum::body::Bytes::from_static(b"first")).await.unwrap();
        client.read_until("first").await;
        events.entered().await;
        drop(client);
        events.exited("cancelled").await;
        server.close().await.unwrap();
        clients.close().await.unwrap();
        behind.close().await.unwrap();
    });
}

#[test]
fn what_breaks_an_upload_off_leaves_no_part_of_it() {
    let names = |folder: &Path| -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    check(async || {
        let folder = std::env::temp_dir().join(format!("tenure-http-uploads-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let server = serving(upload::router(folder.clone())).await;
        for round in 0..20 {
            let mut client = RawClient::of(&server).await;
            let head = format!("PUT /files/a{round} HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.");
            client.send(&head).await;
            if round % 2 == 0 {
                until(|| !names(&folder).is_empty()).await;
            }
            drop(client);
        }
        until_open(&server, 0).await;
        assert!(tenure::drain(HANG).await.is_clean());
        assert_eq!(names(&folder), Vec::<String>::new());
        let url = format!("http://{}", server.local_addr());
        let put = with_local(connect(url), async |client| {
            let whole =
                http::Request::put("/files/whole").body(http_body_util::Full::from("all of it")).unwrap();
            assert_eq!(client.send(whole).await?.status(), 201);
            Ok::<_, ClientError>(())
        });
        put.await.unwrap();
        assert_eq!(names(&folder), ["whole"]);
        server.close().await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn a_transaction_as_an_argument_commits_with_the_answer() {
    check(async || {
        let database = extractor::Database::default();
        let served = with_local(serve(listen().await, extractor::router(database.clone())), async |server| {
            for (number, status) in [(7, "200"), (13, "409"), (8, "200")] {
                let mut client = RawClient::of(server).await;
                client
                    .send(&format!("POST /orders/{number} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"))
                    .await;
                let answer = client.read_to_end().await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            }
            until_open(server, 0).await;
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
        assert_eq!(database.committed(), [7, 8]);
    });
}
