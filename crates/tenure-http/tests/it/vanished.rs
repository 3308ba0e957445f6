//! A network that is gone: TCP itself has to notice it.
//!
//! The test runs itself in a network of its own, and takes that down while requests are under way.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use tenure::{hold, with};
use tenure_http::{Client, ClientError, Serve, Stage, connect, pool};

use crate::app::{served_with, until_open, url};
use crate::support::{RawClient, until};

/// Systems count it in seconds.
const LIMIT: Duration = Duration::from_secs(2);

/// A command in a network of its own.
fn in_own_network(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", program]);
    command
}

fn can_have_network() -> bool {
    in_own_network("ip").args(["link", "set", "lo", "up"]).output().is_ok_and(|tried| tried.status.success())
}

#[test]
fn in_a_network_of_its_own() {
    if !can_have_network() {
        eprintln!("not tested: no network can be made here");
        return;
    }
    let tests = std::env::current_exe().unwrap();
    let inside = in_own_network(tests.to_str().unwrap())
        .args([
            "--exact",
            "vanished::whoever_waits_on_a_network_that_is_gone_is_told",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    let complaints = String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
}

fn set_network(state: &str) {
    assert!(Command::new("ip").args(["link", "set", "lo", state]).status().unwrap().success());
}

fn impatient<S>(server: Serve<S>) -> Serve<S> {
    server.peer_lost_limit(LIMIT).write_timeout(LIMIT)
}

#[test]
#[ignore = "takes its network down: `in_a_network_of_its_own` gives it one"]
fn whoever_waits_on_a_network_that_is_gone_is_told() {
    set_network("up");
    served_with(impatient, async |server, app, events| {
        set_network("up");
        // Nothing is on its way.
        let mut waiting = RawClient::of(server).await;
        waiting.get("/for-ever").await;
        events.entered_and("waiting").await;
        // Something is, and then the handler waits.
        let chunks = app.stream();
        let mut reading = RawClient::of(server).await;
        reading.get("/stream").await;
        chunks.send(Bytes::from_static(b"first")).await.unwrap();
        reading.read_until("first").await;
        events.entered().await;
        // A client of ours awaits its answer, another one is idle.
        let setup = |connect: tenure_http::Connect| connect.peer_lost_limit(LIMIT).silence_limit(LIMIT);
        let asking = tokio::spawn(with(setup(connect(url(server))), async |client: &mut Client| {
            client.get("/for-ever").await.map(drop)
        }));
        events.entered_and("waiting").await;
        let clients = hold(pool().connect_with(setup)).await.unwrap();
        let mut idle = hold(clients.get(&url(server))).await.unwrap();
        assert_eq!(idle.get("/hello").await.unwrap().into_body().text(9).await.unwrap(), "hello");
        events.entered_and_exited("completed").await;

        set_network("down");
        chunks.send(Bytes::from_static(b"lost")).await.unwrap();
        // Three requests, each with its two exits.
        for _ in 0..6 {
            let exit = events.next().await;
            assert!(exit.starts_with("exit") && exit.ends_with("cancelled"), "{exit}");
        }
        until_open(server, 0).await;
        until(|| idle.is_closed()).await;
        idle.close().await.unwrap();
        clients.close().await.unwrap();
        let failed: ClientError = asking.await.unwrap().unwrap_err();
        assert_eq!(failed.stage(), Stage::Request);
        set_network("up");
    });
}
