//! A server in a process that stops: one deadline for both, and real signals.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tenure::{Run, hold};
use tenure_http::{RequestScope, RequestScopeLayer, Serve, ServeError, serve};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::oneshot;

use crate::app::listen;
use crate::support::{HANG, RawClient, check, log};

/// The time for the stop of a process in tests.
const STOP: Duration = Duration::from_secs(4);

/// Far longer than a stop.
const LONG: Duration = Duration::from_secs(1000);

/// Runs a process whose server is asked for `path`, and then stops. The answer, the exit code, and how long it took.
async fn stopped(
    router: Router,
    setup: impl FnOnce(Serve<Router>) -> Serve<Router>,
) -> (String, ExitCode, Duration) {
    let (stop, stopping) = oneshot::channel::<()>();
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let server = setup(serve(listener, router.layer(RequestScopeLayer::new())));
    let client = tokio::spawn(async move {
        let mut client = RawClient::connect(address).await;
        client.get("/").await;
        // It is in flight.
        client.read_until(BEGUN).await;
        stop.send(()).unwrap();
        let began = Instant::now();
        (client.read_to_end().await, began)
    });
    let run = Run::new().exit_timeout(STOP).until(stopping);
    let code = run
        .until_signal(async move {
            let mut server = hold(server).await?;
            server.forever().await
        })
        .await;
    let (answer, began) = client.await.unwrap();
    (answer, code, began.elapsed())
}

/// The first part of a body, by which a client sees that its request is in flight.
const BEGUN: &str = "it has begun";

#[test]
fn a_grace_beyond_the_deadline_of_the_process_ends_before_it() {
    check(async || {
        for lame_duck in [Duration::ZERO, LONG] {
            let (log, mut events) = log();
            let notes = log.clone();
            let handler = async move |scope: RequestScope| {
                let held = notes.two(&scope).await;
                let body = futures_util::stream::unfold((held, true), async |(held, first)| {
                    if !first {
                        std::future::pending::<()>().await;
                    }
                    Some((Ok::<_, std::io::Error>(BEGUN), (held, false)))
                });
                axum::body::Body::from_stream(body)
            };
            let router = Router::new().route("/", get(handler));
            let (_, code, took) = stopped(router, |server| server.lame_duck(lame_duck).grace_limit(LONG)).await;
            assert_eq!(code, ExitCode::SUCCESS, "nothing was given up");
            assert!(took < STOP, "{took:?}");
            events.entered().await;
            events.exited("cancelled").await;
        }
    });
}

#[test]
fn within_its_grace_a_request_is_answered_though_the_process_has_asked_others_to_stop() {
    check(async || {
        let handler = async |scope: RequestScope| {
            let parts = futures_util::stream::unfold((scope, 0), async |(scope, count)| match count {
                0 => Some((Ok::<_, std::io::Error>(BEGUN), (scope, 1))),
                1 => {
                    scope.stopping().await;
                    let left = tenure::exit_deadline().unwrap() - tokio::time::Instant::now();
                    // After the moment at which a run asks all that is held to stop: half of its time.
                    tokio::time::sleep(left / 100 * 58).await;
                    Some((Ok("answered"), (scope, 2)))
                }
                _ => None,
            });
            axum::body::Body::from_stream(parts)
        };
        let router = Router::new().route("/", get(handler));
        let (answer, code, took) = stopped(router, |server| server.grace_limit(LONG)).await;
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(answer.contains("answered"), "{answer:?} after {took:?}");
    });
}

/// Serves until a signal comes: the process of the tests below.
#[test]
#[ignore = "a process of its own: `a_signal_stops_a_server_in_order` starts it"]
fn serves_until_a_signal() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = Run::new().exit_timeout(STOP).block_on(runtime, async {
        let handler = async |scope: RequestScope| {
            println!("in flight");
            scope.stopping().await;
            "answered"
        };
        let router = Router::new().route("/", get(handler)).layer(RequestScopeLayer::new());
        let listener = listen().await;
        println!("serves {}", listener.local_addr().map_err(ServeError::Listener)?);
        // Flat: the guard exits when the body is dropped.
        let mut server = hold(serve(listener, router).grace_limit(LONG)).await?;
        server.forever().await
    });
    println!("ended with {code:?}");
}

#[test]
fn a_signal_stops_a_server_in_order() {
    check(async || {
        for (signal, code) in [("TERM", 143), ("INT", 130)] {
            let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "process::serves_until_a_signal", "--ignored", "--nocapture"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut line = async |begin: &str| {
                loop {
                    let line = tokio::time::timeout(HANG, lines.next_line()).await.expect("it says nothing");
                    let line = line.unwrap().expect("it has ended");
                    if let Some((_, rest)) = line.split_once(begin) {
                        return rest.to_owned();
                    }
                }
            };
            let address = line("serves ").await.parse().unwrap();
            let mut client = RawClient::connect(address).await;
            client.get("/").await;
            line("in flight").await;
            let id = child.id().unwrap().to_string();
            assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
            assert!(client.read_to_end().await.ends_with("answered"), "{signal}");
            let ended = line("ended with ").await;
            assert!(ended.contains(&code.to_string()), "{signal}: {ended}");
            child.wait().await.unwrap();
        }
    });
}

/// Takes the listener that it was given: the process of the test below.
#[test]
#[ignore = "a process of its own: `a_listener_of_the_service_manager_is_served` starts it"]
fn serves_what_it_was_given() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut listeners = tenure_http::Listener::from_service_manager().unwrap();
        assert_eq!(listeners.len(), 1);
        // They are there once.
        assert!(tenure_http::Listener::from_service_manager().unwrap().is_empty());
        let (done, ends) = oneshot::channel::<()>();
        let done = std::sync::Mutex::new(Some(done));
        let done = std::sync::Arc::new(done);
        let handler = async move || {
            drop(done.lock().unwrap().take());
            "activated"
        };
        let router = Router::new().route("/", get(handler));
        tenure::with(serve(listeners.remove(0), router), async |_| {
            let _ = ends.await;
            Ok::<_, ServeError>(())
        })
        .await
        .unwrap();
    });
}

#[cfg(unix)]
#[test]
fn a_listener_of_the_service_manager_is_served() {
    check(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The shell puts it where service managers do: descriptor 3.
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "process::serves_what_it_was_given", "--ignored", "--nocapture"])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut client = RawClient::connect(address).await;
        client.get("/").await;
        assert!(client.read_to_end().await.ends_with("activated"));
        assert!(child.wait().await.unwrap().success());
    });
}
