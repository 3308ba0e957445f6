//! A pool of client connections, against servers of this crate, some of which end connections when it suits them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tenure::{Ending, hold, with};
use tenure_http::{ClientError, Clients, ClientsStats, Pool, Pooled, ServeError, Server, Stage, pool, serve};
use tenure_test::{Fault, Proof, Recorder};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::app::{App, listen, served, served_with, until_open, url};
use crate::client::{LIMIT, stage_of};
use crate::stalled::body;
use crate::support::{RawClient, check, log, until};
use crate::tls::TlsServer;

/// Short, since real time has to pass; long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(300);

fn http2() -> Pool {
    pool().connect_with(tenure_http::Connect::http2_only)
}

/// Runs a test with the pool, which then is left; nothing may be open.
async fn pooled(pool: Pool, test: impl AsyncFnOnce(&Clients)) {
    let mut stats = None;
    let left = tenure::with_local(pool, async |clients| {
        stats = Some(clients.stats());
        test(clients).await;
        Ok::<_, ClientError>(())
    });
    left.await.unwrap();
    let stats = stats.unwrap();
    assert_eq!((stats.open(), stats.closed()), (0, stats.opened()));
}

async fn hello(client: &mut Pooled) -> Result<String, ClientError> {
    client.get("/hello").await?.into_body().text(LIMIT).await
}

/// A request on a connection of the pool, and no more.
async fn visit(clients: &Clients, url: &str) -> Result<String, ClientError> {
    with(clients.get(url), hello).await
}

fn assert_counts(stats: &ClientsStats, opened: u64, open: u64) {
    assert_eq!((stats.opened(), stats.open()), (opened, open));
}

#[test]
fn a_connection_is_used_again() {
    served(async |server, _, _| {
        for (place, pool) in (1..).zip([pool(), http2()]) {
            pooled(pool, async |clients| {
                for _ in 0..5 {
                    assert_eq!(visit(clients, &url(server)).await.unwrap(), "hello");
                }
                assert_counts(&clients.stats(), 1, 1);
            })
            .await;
            assert_eq!(server.stats().accepted(), place);
        }
        until_open(server, 0).await;
        assert_eq!((server.stats().requests(), server.stats().broken()), (10, 0));
    });
}

#[test]
fn origins_are_kept_apart_and_written_in_many_ways() {
    served(async |first, _, _| {
        let second = hold(serve(listen().await, App::new(&log().0).router())).await.unwrap();
        pooled(pool(), async |clients| {
            let port = first.local_addr().port();
            let same = [
                url(first),
                format!("HTTP://127.0.0.1:{port}/path?query"),
                format!("http://me@127.0.0.1:{port}"),
            ];
            for same in same {
                visit(clients, &same).await.unwrap();
            }
            visit(clients, &url(&second)).await.unwrap();
            assert_counts(&clients.stats(), 2, 2);
            let mut keys: Vec<_> = clients.status().into_iter().map(|(origin, _)| origin).collect();
            let mut expected = [url(first), url(&second)];
            keys.sort();
            expected.sort();
            assert_eq!(keys, expected);
        })
        .await;
        assert_eq!((first.stats().accepted(), second.stats().accepted()), (1, 1));
        second.close().await.unwrap();
    });
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_is_not_lent() {
    served_with(
        |server| server.header_read_timeout(TIMEOUT),
        async |server, _, _| {
            pooled(pool(), async |clients| {
                visit(clients, &url(server)).await.unwrap();
                let tasks = Handle::current().metrics();
                let before = tasks.num_alive_tasks();
                until_open(server, 0).await;
                // The server's task of it has ended, and then the client's.
                until(|| tasks.num_alive_tasks() + 2 <= before).await;
                assert_eq!(visit(clients, &url(server)).await.unwrap(), "hello");
                assert_eq!(clients.stats().opened(), 2);
            })
            .await;
        },
    );
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_lent_is_not_lent_again() {
    served_with(
        |server| server.header_read_timeout(TIMEOUT),
        async |server, _, _| {
            pooled(pool(), async |clients| {
                let mut client = hold(clients.get(&url(server))).await.unwrap();
                hello(&mut client).await.unwrap();
                until(|| client.is_closed()).await;
                client.close().await.unwrap();
                until(|| clients.stats().open() == 0).await;
                assert_eq!(visit(clients, &url(server)).await.unwrap(), "hello");
                assert_eq!(clients.stats().opened(), 2);
            })
            .await;
        },
    );
}

/// A server that answers each connection once, when it has the head of a request, and leaves the closing to the client.
async fn answering_once(answer: &'static str, connections: usize) -> (String, JoinHandle<Vec<RawClient>>) {
    let listener = listen().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answered = tokio::spawn(async move {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.unwrap();
            let mut client = RawClient { stream };
            client.read_until("\r\n\r\n").await;
            client.send(answer).await;
            clients.push(client);
        }
        clients
    });
    (url, answered)
}

#[test]
fn a_response_that_says_close_is_the_last_of_its_connection() {
    check(async || {
        for head in ["HTTP/1.1 200 OK\r\nconnection: x, Close", "HTTP/1.0 200 OK"] {
            let answer = format!("{head}\r\ncontent-length: 2\r\n\r\nok").leak();
            let (url, answered) = answering_once(answer, 2).await;
            pooled(pool(), async |clients| {
                assert_eq!(visit(clients, &url).await.unwrap(), "ok");
                assert_eq!(visit(clients, &url).await.unwrap(), "ok");
                assert_eq!(clients.stats().opened(), 2);
            })
            .await;
            for mut client in answered.await.unwrap() {
                assert_eq!(client.read_to_end().await, "");
            }
        }
    });
}

#[test]
fn a_request_that_was_answered_before_it_was_sent_closes_its_connection() {
    check(async || {
        let (url, answered) = answering_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 2).await;
        pooled(pool(), async |clients| {
            let (_chunks, upload) = body();
            let early = with(clients.get(&url), async |client| {
                let request = Request::post("/").body(upload).unwrap();
                client.send(request).await?.into_body().text(LIMIT).await
            });
            assert_eq!(early.await.unwrap(), "ok");
            assert_eq!(visit(clients, &url).await.unwrap(), "ok");
            assert_eq!(clients.stats().opened(), 2);
        })
        .await;
        drop(answered.await.unwrap());
    });
}

#[test]
fn a_response_that_was_not_read_to_its_end_closes_its_connection() {
    served(async |server, app, events| {
        pooled(pool(), async |clients| {
            let chunks = app.stream();
            with(clients.get(&url(server)), async |client| {
                let response = client.get("/stream").await?;
                // The response goes on, and nobody reads it.
                drop(response);
                Ok::<_, ClientError>(())
            })
            .await
            .unwrap();
            drop(chunks);
            until(|| clients.stats().open() == 0).await;
            assert_eq!(visit(clients, &url(server)).await.unwrap(), "hello");
            assert_eq!(clients.stats().opened(), 2);
        })
        .await;
        events.entered().await;
    });
}

#[test]
fn over_http2_what_is_broken_off_is_its_stream_alone() {
    served(async |server, app, events| {
        pooled(http2(), async |clients| {
            let _chunks = app.stream();
            let broken_off = with(clients.get(&url(server)), async |client| {
                drop(client.get("/stream").await?);
                Ok::<_, ClientError>(())
            });
            broken_off.await.unwrap();
            events.entered_and_exited("cancelled").await;
            assert_eq!(visit(clients, &url(server)).await.unwrap(), "hello");
            events.entered_and_exited("completed").await;
            assert_counts(&clients.stats(), 1, 1);
        })
        .await;
    });
}

#[test]
fn a_request_that_was_dropped_closes_its_connection_and_a_body_that_failed_does_not() {
    served(async |server, _, events| {
        pooled(pool(), async |clients| {
            let url = url(server);
            let failed = with(clients.get(&url), async |client| {
                hello(client).await?;
                client.get("no path").await.map(drop)
            });
            assert_eq!(stage_of(failed.await), Stage::Url);
            events.entered_and_exited("completed").await;
            assert_counts(&clients.stats(), 1, 1);
            let (dropped, address) = (clients.clone(), url.clone());
            let dropped = tokio::spawn(async move {
                with(dropped.get(&address), async |client| client.get("/for-ever").await.map(drop)).await
            });
            events.entered_and("waiting").await;
            dropped.abort();
            events.exited("cancelled").await;
            until(|| clients.stats().open() == 0).await;
            assert_eq!(visit(clients, &url).await.unwrap(), "hello");
            assert_counts(&clients.stats(), 2, 1);
        })
        .await;
        events.entered_and_exited("completed").await;
    });
}

/// Serves the app on this address again.
async fn again(at: SocketAddr) -> Result<Server, ServeError> {
    let listener = TcpListener::bind(at).await.map_err(ServeError::Listener)?;
    serve(listener, App::new(&log().0).router()).await
}

#[test]
fn a_server_that_is_started_again_is_waited_for() {
    check(async || {
        for pool in [pool(), http2()] {
            let server = hold(serve(listen().await, App::new(&log().0).router())).await.unwrap();
            let (url, at) = (url(&server), server.local_addr());
            pooled(pool, async |clients| {
                let mut client = hold(clients.get(&url)).await.unwrap();
                hello(&mut client).await.unwrap();
                server.close().await.unwrap();
                until(|| client.is_closed()).await;
                client.close().await.unwrap();
                // Nobody listens now.
                assert!(TcpStream::connect(at).await.is_err());
                let (waits, address) = (clients.clone(), url.clone());
                let waits = tokio::spawn(async move { visit(&waits, &address).await });
                let server = hold(again(at)).await.unwrap();
                assert_eq!(waits.await.unwrap().unwrap(), "hello");
                assert_eq!(clients.stats().opened(), 2);
                server.close().await.unwrap();
            })
            .await;
        }
    });
}

#[test]
fn what_cannot_be_reached_says_why() {
    check(async || {
        let tls = TlsServer::start().await;
        // Bound, so that nobody else gets the port, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = format!("http://{}", socket.local_addr().unwrap());
        pooled(pool().get_timeout(TIMEOUT), async |clients| {
            assert_eq!(stage_of(visit(clients, "ftp://host").await), Stage::Url);
            let failed = visit(clients, &refused).await.unwrap_err();
            assert_eq!(failed.stage(), Stage::Connect, "{failed:?}");
        })
        .await;
        // Of no use to try again: at once, whatever the limit.
        pooled(pool().get_timeout(Duration::from_secs(3600)), async |clients| {
            let failed = visit(clients, tls.url()).await.unwrap_err();
            assert!(failed.stage() == Stage::Tls && !failed.is_timeout(), "{failed:?}");
        })
        .await;
        assert!(tls.next_end().await.is_err());
        let certificate = tls.certificate();
        pooled(pool().connect_with(move |connect| connect.trust(certificate.clone())), async |clients| {
            let version = with(clients.get(tls.url()), async |client| {
                client.get("/").await?.into_body().text(LIMIT).await
            });
            assert_eq!(version.await.unwrap(), "HTTP/2.0");
        })
        .await;
        tls.next_end().await.expect("the connection ended in order");
        tls.stop().await;
    });
}

#[test]
fn there_are_never_more_connections_than_allowed() {
    served(async |server, _, _| {
        let second = hold(serve(listen().await, App::new(&log().0).router())).await.unwrap();
        pooled(pool().connections_each_max(1).get_timeout(TIMEOUT), async |clients| {
            let lent = hold(clients.get(&url(server))).await.unwrap();
            let failed = visit(clients, &url(server)).await.unwrap_err();
            assert!(failed.stage() == Stage::Pool && failed.is_timeout(), "{failed:?}");
            visit(clients, &url(&second)).await.unwrap();
            lent.exit(Ending::Completed).await.unwrap();
        })
        .await;
        pooled(pool().connections_max(1), async |clients| {
            for server in [server, &*second, server] {
                visit(clients, &url(server)).await.unwrap();
            }
            assert_counts(&clients.stats(), 3, 1);
        })
        .await;
        second.close().await.unwrap();
    });
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    served(async |server, _, _| {
        pooled(pool().idle_timeout(TIMEOUT), async |clients| {
            visit(clients, &url(server)).await.unwrap();
            until_open(server, 0).await;
            assert_eq!(server.stats().broken(), 0);
            until(|| clients.stats().open() == 0).await;
        })
        .await;
    });
}

#[test]
fn a_pool_that_is_left_waits_for_what_is_in_use_but_not_for_ever() {
    served(async |server, app, events| {
        let clients = hold(pool()).await.unwrap();
        let stats = clients.stats();
        let lease = clients.get(&url(server));
        let using = tokio::spawn(with(lease, async |client: &mut Pooled| {
            client.get("/gate").await?.into_body().text(LIMIT).await
        }));
        events.entered_and("waiting").await;
        let leaving = tokio::spawn(clients.close());
        app.gate.notify_one();
        assert_eq!(using.await.unwrap().unwrap(), "done");
        leaving.await.unwrap().unwrap();
        assert_counts(&stats, 1, 0);

        let clients = hold(
            pool()
                .drain_limit(Duration::ZERO)
                .connect_with(|connect| connect.shutdown_limit(Duration::from_millis(1))),
        );
        let clients = clients.await.unwrap();
        let stats = clients.stats();
        let lent = hold(clients.get(&url(server))).await.unwrap();
        let failed = clients.close().await.unwrap_err();
        assert_eq!(failed.stage(), Stage::Shutdown);
        assert_counts(&stats, 1, 1);
        lent.close().await.unwrap();
        until(|| stats.open() == 0).await;
    });
}

#[test]
fn dropped_a_pool_is_closed_in_the_background() {
    served(async |server, _, _| {
        let clients = hold(pool()).await.unwrap();
        visit(&clients, &url(server)).await.unwrap();
        let stats = clients.stats();
        drop(clients);
        assert!(tenure::drain(crate::support::HANG).await.is_clean());
        assert_counts(&stats, 1, 0);
        until_open(server, 0).await;
    });
}

#[derive(Debug)]
enum Failure {
    Http,
    Fault,
}

impl From<ClientError> for Failure {
    fn from(_: ClientError) -> Self {
        Self::Http
    }
}

impl From<ServeError> for Failure {
    fn from(_: ServeError) -> Self {
        Self::Http
    }
}

impl From<Fault> for Failure {
    fn from(_: Fault) -> Self {
        Self::Fault
    }
}

/// Serves, and sends itself two requests on one connection of a pool.
async fn round_trip(stats: Arc<Mutex<Vec<ClientsStats>>>, recorder: Recorder) -> Result<(), Failure> {
    let (log, _) = log();
    with(serve(listen().await, App::new(&log).router()), async |server| {
        with(pool(), async |clients| {
            stats.lock().unwrap().push(clients.stats());
            for _ in 0..2 {
                with(clients.get(&url(server)), async |client| {
                    recorder.step("connected").await?;
                    let response = client.get("/hello").await?;
                    recorder.step("answered").await?;
                    response.into_body().text(LIMIT).await?;
                    Ok::<_, Failure>(())
                })
                .await?;
            }
            recorder.step("returned").await?;
            Ok::<_, Failure>(())
        })
        .await
    })
    .await
}

#[test]
fn law_07_cancelled_and_failed_everywhere() {
    let stats = Arc::new(Mutex::new(Vec::<ClientsStats>::new()));
    let seen = Arc::clone(&stats);
    let proof = Proof::new().real_clock().check(move |_run| {
        let run = std::mem::take(&mut *seen.lock().unwrap());
        async move {
            match run.iter().find(|stats| stats.open() > 0) {
                Some(stats) => Err(format!("a connection is open: {stats:?}")),
                None => Ok(()),
            }
        }
    });
    let report = proof.cancel_everywhere(|recorder| round_trip(Arc::clone(&stats), recorder));
    assert!(report.suspensions >= report.points && report.points >= 5, "{report}");
    let report = proof.fail_everywhere(|recorder| round_trip(Arc::clone(&stats), recorder));
    assert!(report.points >= 5, "{report}");
}
