//! A bank that only serves, whoever comes.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::support::bank::{BANK, Ended, Service, Site, wait_until};
use crate::support::http::{Underway, begin_order, get, order, post, request};

/// What is on an account.
#[track_caller]
fn balance(service: &Service, account: i64) -> i64 {
    let listed = get(&service.address, &format!("/accounts?from={account}&count=1")).json();
    assert_eq!(listed["accounts"][0]["account"], account);
    listed["accounts"][0]["balance"].as_i64().unwrap()
}

#[test]
fn money_is_moved_and_accounts_are_listed() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let made = post(&service.address, "/transfers", &order(7, 8, 350));
    assert_eq!((made.status, made.body.as_str()), (201, r#"{"balance":99650}"#));
    assert_eq!((balance(&service, 7), balance(&service, 8)), (99_650, 100_350));

    let listed = get(&service.address, "/accounts").json();
    assert_eq!(listed["total"], 1_000);
    assert_eq!(listed["accounts"].as_array().unwrap().len(), 20);
    let last = get(&service.address, "/accounts?from=991&count=5000").json();
    assert_eq!(last["accounts"].as_array().unwrap().len(), 10);
    let most = get(&service.address, "/accounts?from=-5&count=5000").json();
    assert_eq!(most["accounts"].as_array().unwrap().len(), 100);

    service.signal("TERM");
    let ended = service.ended();
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert_eq!(ended.complaints, "bank: stopped by a signal\n");
    assert_eq!(ended.count("transfers made"), 1);
    ended.assert_nothing_lost();
    site.assert_no_temporary_folder();
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason_and_moves_nothing() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    for (body, status, reason) in [
        (order(1, 2, 100_001), 422, "the payer has not enough money"),
        (order(1, 1, 5), 422, "payer and payee are the same"),
        (order(1, 2, 0), 422, "the amount has to be more than nothing"),
        (order(1, 2, -5), 422, "the amount has to be more than nothing"),
        (order(0, 2, 5), 422, "there is no account 0"),
        (order(1, 1_001, 5), 422, "there is no account 1001"),
        (order(i64::MAX, i64::MIN, i64::MAX), 422, "there is no account 9223372036854775807"),
        ("{".to_owned(), 400, "Failed to parse the request body as JSON"),
        (r#"{"payer": 1}"#.to_owned(), 422, "missing field `payee`"),
        (r#"{"payer": "x"}"#.to_owned(), 422, "invalid type"),
        ("x".repeat(20_000), 413, "length limit exceeded"),
    ] {
        let answer = post(&service.address, "/transfers", &body);
        assert_eq!(answer.status, status, "{body:.80}: {answer:?}");
        assert!(answer.body.contains(reason), "{body:.80}: {answer:?}");
    }
    assert_eq!(get(&service.address, "/accounts?from=x").status, 400);
    assert_eq!(get(&service.address, "/transfers").status, 405);
    assert_eq!(get(&service.address, "/nothing").status, 404);
    assert_eq!((balance(&service, 1), balance(&service, 2)), (100_000, 100_000));
    service.wait_for(|state| state["transfers"]["refused"] == 7 && state["transfers"]["made"] == 0);
}

#[test]
fn nobody_but_the_banks_own_clients_can_make_it_panic() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let request = request("POST", "/transfers", "x-panic: half-way\r\n", &order(1, 2, 5));
    assert_eq!(Underway::send(&service.address, &request).answer().status, 201);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_order_has_moved_nothing() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let (half, _) = begin_order(&service.address);
    // The request that asks is in flight itself.
    service.wait_for(|state| state["requests"]["in_flight"] == 2);
    drop(half);
    service.wait_for(|state| state["requests"]["in_flight"] == 1);
    assert_eq!(balance(&service, 1), 100_000);
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_answer_is_cancelled() {
    let site = Site::new();
    let service = site.serve(["--database", "kept.db"]);
    // As long as another one writes, the transfer waits.
    let options = SqliteConnectOptions::new().filename(site.path("kept.db"));
    let mut other = options.connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let waiting = Underway::send(&service.address, &request("POST", "/transfers", "", &order(1, 2, 5)));
    service.wait_for(|state| state["connections"]["in_use"] == 1);
    drop(waiting);
    service.wait_for(|state| state["requests"]["cancelled"] == 1 && state["requests"]["in_flight"] == 1);
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    service.wait_for(|state| state["connections"]["in_use"] == 0);
    assert_eq!(balance(&service, 1), 100_000);
}

#[test]
fn what_is_held_now_is_shown_with_who_where_and_how_long() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let (_half, _) = begin_order(&service.address);
    service.wait_for(|state| {
        let held = state["held"].as_array().unwrap();
        let is_server = |held: &serde_json::Value| held["who"] == "Server";
        // Listed once its body waits.
        let Some(server) = held.iter().find(|held| is_server(held)) else { return false };
        assert!(server["place"].as_str().unwrap().starts_with("apps/bank/src/run.rs:"), "{server}");
        assert_eq!(server["phase"], "held");
        // The one that waits for the rest of its order, and the one that asks.
        let connections = held.iter().filter(|held| held["who"] == "HTTP connection");
        connections.count() == 2 && server["age"].as_u64().unwrap() > 0
    });
}

#[test]
fn law_35_a_request_in_flight_is_answered_after_sigterm() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let (mut underway, rest) = begin_order(&service.address);
    service.wait_for(|state| state["requests"]["in_flight"] == 2);
    service.signal("TERM");
    // It is stopping when it lets nobody else in.
    wait_until(|| TcpStream::connect(&service.address).is_err());
    underway.send_more(&rest);
    assert_eq!(underway.answer().status, 201);
    let ended = service.ended();
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert_eq!(ended.count("transfers made"), 1);
    assert_eq!(ended.count("cut off"), 0);
    ended.assert_nothing_lost();
    site.assert_no_temporary_folder();
}

#[test]
fn law_35_a_request_that_does_not_end_is_cut_off_at_the_limit() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let (_half, _) = begin_order(&service.address);
    service.wait_for(|state| state["requests"]["in_flight"] == 2);
    service.signal("INT");
    let ended = service.ended();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.count("cut off"), 1);
    assert_eq!(ended.count("client gone"), 1);
    ended.assert_nothing_lost();
}

#[test]
fn who_listens_is_told_every_second_and_does_not_hold_up_the_stop() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let listening = Underway::send(&service.address, &request("GET", "/events", "", ""));
    service.wait_for(|state| state["requests"]["in_flight"] == 2);
    post(&service.address, "/transfers", &order(1, 2, 5));
    let began = Instant::now();
    service.signal("TERM");
    let told = listening.answer();
    assert!(told.head.contains("content-type: text/event-stream"), "{}", told.head);
    assert!(told.body.contains("event: state"), "{}", told.body);
    let ended = service.ended();
    assert!(began.elapsed() < Duration::from_secs(5), "it waited for those who listen");
    assert_eq!((ended.code, ended.count("cut off")), (Some(143), 0), "{ended:?}");
    ended.assert_nothing_lost();
}

#[test]
fn after_a_signal_it_answers_as_one_that_is_not_ready_and_then_stops() {
    let site = Site::new();
    let service = site.serve(["--lame-duck", "2"]);
    assert_eq!(get(&service.address, "/readyz").status, 200);
    let began = Instant::now();
    service.signal("TERM");
    wait_until(|| get(&service.address, "/readyz").status == 503);
    assert_eq!(post(&service.address, "/transfers", &order(1, 2, 5)).status, 201);
    let ended = service.ended();
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!((ended.code, ended.count("transfers made")), (Some(143), 1), "{ended:?}");
    ended.assert_nothing_lost();
}

#[test]
fn the_page_may_use_nothing_but_its_own_parts() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    for (path, kind) in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let answer = get(&service.address, path);
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{}", answer.head);
        assert!(answer.head.contains("content-security-policy: default-src 'none'"), "{}", answer.head);
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Site::new().run(["--serve", &address]);
    assert_eq!(ended.code, Some(1));
    let sentence = format!("bank: cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!(ended.complaints, sentence);
}

#[test]
fn so_many_clients_that_files_do_not_suffice_are_told() {
    let site = Site::new();
    let script = format!("ulimit -n 200; exec {} --clients 1000", BANK);
    let output = Command::new("sh").args(["-c", &script]).current_dir(site.path(".")).output();
    let ended = Ended::of(&output.unwrap());
    let sentence =
        "so many clients need 4100 open files and 200 are allowed; raise `ulimit -n`, or take fewer --clients";
    ended.assert_refused(1, sentence);
}
