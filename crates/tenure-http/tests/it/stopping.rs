//! A server that is left: what it tells its clients and handlers, and that it is gone in time, whatever they hold.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use tenure::{closing, drain, hold, released};
use tenure_http::{RequestScope, RequestScopeLayer, Scoped, Serve, Server, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::app::{CUT, held, listen};
use crate::support::{HANG, RawClient, check, log, until};

/// A grace that a test waits out, and what a busy machine may add.
const BOUND: Duration = Duration::from_secs(3);

async fn left_in_time(server: tenure::Held<Server>) {
    let began = Instant::now();
    server.close().await.unwrap();
    assert!(began.elapsed() < BOUND, "leaving took {:?}", began.elapsed());
}

async fn server_of(router: Router, setup: impl FnOnce(Serve<Router>) -> Serve<Router>) -> tenure::Held<Server> {
    let router = router.layer(RequestScopeLayer::new());
    hold(setup(serve(listen().await, router).grace_limit(CUT).cut_timeout(CUT))).await.unwrap()
}

#[test]
fn a_guard_that_is_held_elsewhere_is_cut_off_at_the_grace_limit_and_reported() {
    check(async || {
        let (log, mut events) = log();
        let sink = log.clone();
        tenure::set_report_sink(move |incident| {
            sink.note(format!("{}: {}: {}", incident.location.file(), incident.name, incident.message));
        });
        let (give, mut given) = mpsc::unbounded_channel::<Scoped<crate::support::Probe>>();
        let notes = log.clone();
        let handler = async move |scope: RequestScope| {
            drop(scope.enter(notes.quick("below")).await.unwrap());
            give.send(scope.enter(notes.quick("held")).await.unwrap()).unwrap();
            "202"
        };
        let server = server_of(Router::new().route("/", get(handler)), |server| server).await;
        let mut client = RawClient::of(&server).await;
        client.get("/").await;
        client.read_until("202").await;
        events.expect(&["enter below", "enter held"]).await;
        let guard = given.recv().await.unwrap();
        left_in_time(server).await;
        // In any order: the report goes its own way.
        let mut seen = [events.next().await, events.next().await];
        seen.sort();
        let [report, exit] = &seen;
        assert_eq!(exit, "exit below, completed");
        assert!(report.contains("tests/it/stopping.rs") && report.contains("Probe"), "{report}");
        assert!(report.contains("still in use"), "{report}");
        // It ends by itself.
        drop(guard);
        events.expect(&["exit held, cancelled"]).await;
    });
}

#[test]
fn an_exit_that_hangs_is_left_to_the_background() {
    check(async || {
        let (finish, finished) = oneshot::channel::<()>();
        let finished = Arc::new(std::sync::Mutex::new(Some(finished)));
        let handler = async move |scope: RequestScope| {
            let finished = finished.lock().unwrap().take().unwrap();
            let hangs = closing(async { Ok::<_, Infallible>(finished) }, async |finished| {
                let _ = finished.await;
                Ok::<_, Infallible>(())
            });
            drop(scope.enter(hangs).await.unwrap());
            "answered"
        };
        let server = server_of(Router::new().route("/", get(handler)), |server| server).await;
        let mut client = RawClient::of(&server).await;
        client.get("/").await;
        client.read_until("answered").await;
        left_in_time(server).await;
        assert!(tenure::open().to_string().contains("HTTP connection"), "{}", tenure::open());
        finish.send(()).unwrap();
        assert!(drain(HANG).await.is_clean());
    });
}

#[test]
fn handlers_are_told_that_the_server_stops() {
    check(async || {
        let (waits, mut waiting) = mpsc::unbounded_channel();
        let handler = async move |scope: RequestScope| {
            assert!(scope.is_server_ready() && !scope.is_stopping());
            waits.send(()).unwrap();
            scope.stopping().await;
            assert!(!scope.is_server_ready() && scope.is_stopping());
            "stopped"
        };
        let router = Router::new().route("/", get(handler));
        let server = server_of(router, |server| server.grace_limit(2 * HANG)).await;
        let mut client = RawClient::of(&server).await;
        client.get("/").await;
        waiting.recv().await.unwrap();
        left_in_time(server).await;
        let answer = client.read_to_end().await;
        assert!(answer.contains("connection: close") && answer.ends_with("stopped"), "{answer}");
    });
}

async fn ready(scope: RequestScope) -> StatusCode {
    if scope.is_server_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[test]
fn a_lame_duck_answers_and_says_that_it_is_about_to_go() {
    const LAME: Duration = Duration::from_millis(600);
    check(async || {
        let router = Router::new().route("/readyz", get(ready));
        let server = server_of(router, |server| server.lame_duck(LAME)).await;
        let (address, stats) = (server.local_addr(), server.stats());
        let mut kept = RawClient::connect(address).await;
        kept.get("/readyz").await;
        assert!(!kept.read_until("\r\n\r\n").await.contains("connection: close"));
        let began = Instant::now();
        let leaving = tokio::spawn(server.close());
        until(|| began.elapsed() > LAME / 3).await;
        // A connection that was kept, and one that is new.
        kept.get("/readyz").await;
        let mut new = RawClient::connect(address).await;
        new.get("/readyz").await;
        for mut client in [kept, new] {
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("connection: close"), "{answer}");
        }
        assert!(began.elapsed() < LAME, "too slow to tell");
        leaving.await.unwrap().unwrap();
        assert!(began.elapsed() >= LAME);
        assert!(TcpStream::connect(address).await.is_err());
        assert_eq!((stats.accepted(), stats.open(), stats.cut()), (2, 0, 0));
    });
}

#[test]
fn over_http2_a_client_is_told_to_go_elsewhere() {
    check(async || {
        let (waits, mut waiting) = mpsc::unbounded_channel();
        let handler = async move |scope: RequestScope| {
            waits.send(()).unwrap();
            scope.stopping().await;
            "stopped"
        };
        let router = Router::new().route("/", get(handler));
        let server = server_of(router, |server| server.grace_limit(HANG)).await;
        let url = format!("http://{}", server.local_addr());
        let mut client = hold(tenure_http::connect(url).http2_only()).await.unwrap();
        let mut other = client.share().unwrap();
        let asked = tokio::spawn(async move { other.get("/").await?.into_body().text(99).await });
        waiting.recv().await.unwrap();
        left_in_time(server).await;
        assert_eq!(asked.await.unwrap().unwrap(), "stopped");
        assert!(client.get("/").await.is_err());
        client.close().await.unwrap();
    });
}

/// Asks again and again on one connection, until it is told to stop. Returns the number of answers.
async fn ask_until_told(address: std::net::SocketAddr, answered: Arc<AtomicUsize>) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).unwrap();
    loop {
        // An end that is there already was told before anything is sent.
        let mut buffer = vec![0; 1024];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err("an answer that nobody asked for".to_owned()),
            Err(_) => {}
        }
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        sent.map_err(|error| format!("write: {error}"))?;
        let mut answer = String::new();
        while !answer.ends_with("hello") {
            let length = stream.read(&mut buffer).await.map_err(|error| format!("read: {error}"))?;
            if length == 0 {
                return Err(format!("unanswered: {answer:?}"));
            }
            answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.contains("connection: close") {
            return Ok(());
        }
    }
}

#[test]
fn no_request_on_a_kept_connection_stays_unanswered() {
    check(async || {
        for round in 0..10 {
            let router = Router::new().route("/", get(async || "hello"));
            let server = server_of(router, |server| server.grace_limit(HANG)).await;
            let (address, answered) = (server.local_addr(), Arc::new(AtomicUsize::new(0)));
            let mut clients = JoinSet::new();
            for _ in 0..64 {
                clients.spawn(ask_until_told(address, Arc::clone(&answered)));
            }
            until(|| answered.load(Ordering::Relaxed) > 64 + 16 * round).await;
            server.close().await.unwrap();
            for asked in clients.join_all().await {
                assert_eq!(asked, Ok(()), "round {round}");
            }
        }
    });
}

#[test]
fn a_request_on_a_connection_that_the_system_has_accepted_is_answered() {
    check(async || {
        let router = Router::new().route("/", get(async || "hello"));
        let server = server_of(router, |server| server.grace_limit(HANG)).await;
        let mut client = RawClient::of(&server).await;
        client.get("/").await;
        // It may not have been accepted yet, and need not have been read.
        server.close().await.unwrap();
        let answer = client.read_to_end().await;
        assert!(answer.ends_with("hello"), "{answer}");
    });
}

#[test]
fn at_the_grace_limit_nothing_is_left_of_a_scope_that_holds_nothing() {
    held(CUT, async |server, _, events| {
        let mut client = RawClient::of(&server).await;
        client.get("/for-ever").await;
        events.entered_and("waiting").await;
        left_in_time(server).await;
        events.exited("cancelled").await;
    });
}

#[test]
fn a_resource_that_waits_for_its_guard_does_not_wait_on_another_server() {
    // Without a server there is no grace: the guard's resource exits in its place when it comes back.
    check(async || {
        let service = tower::service_fn(async |request: http::Request<()>| {
            let scope: RequestScope = request.extensions().get().cloned().unwrap();
            drop(scope.enter(released(async { Ok::<_, Infallible>("resource") })).await.unwrap());
            assert!(scope.is_server_ready() && !scope.is_stopping() && scope.peer_addr().is_none());
            Ok::<_, Infallible>(http::Response::new(String::new()))
        });
        let service = tower::Layer::layer(&RequestScopeLayer::new(), service);
        let Ok(response) = tower::ServiceExt::oneshot(service, http::Request::new(())).await;
        drop(response);
    });
}
