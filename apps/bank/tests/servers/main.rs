//! The bank on real servers, in a database of each test's own.
//!
//! `cargo xtask test --only servers` starts the servers; or set `TENURE_POSTGRES_URL` and `TENURE_MYSQL_URL` to
//! servers on which databases may be made.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

#[expect(dead_code, reason = "others use the rest")]
#[path = "../support/mod.rs"]
mod support;

use std::process::Child;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection};
use tokio::runtime::Runtime;
use url::Url;

use support::bank::{Ended, Site, signal, wait_until};

const POSTGRES: &str = "TENURE_POSTGRES_URL";
const MYSQL: &str = "TENURE_MYSQL_URL";

/// A database that is the test's own, removed and made anew.
struct Own {
    url: Url,
    server: Url,
}

impl Own {
    async fn make(variable: &str, name: &str) -> Self {
        let server = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set; `cargo xtask test --only servers` starts servers and sets it")
        });
        let server: Url = server.parse().unwrap();
        let mut url = server.clone();
        url.set_path(&format!("bank_{name}"));
        let own = Self { url, server };
        run(&own.server, &format!("DROP DATABASE IF EXISTS bank_{name}")).await;
        run(&own.server, &format!("CREATE DATABASE bank_{name}")).await;
        own
    }

    fn arguments(&self) -> [&str; 2] {
        ["--database-url", self.url.as_str()]
    }

    /// The URL as the bank shows it.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_password(None).unwrap();
        url.to_string()
    }
}

/// Runs a statement in a database.
async fn run(url: &Url, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    if url.scheme() == "postgres" {
        let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    } else {
        let mut connection = MySqlConnection::connect(url.as_str()).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    }
}

const SMALL: [&str; 6] = ["--clients", "16", "--transfers", "1500", "--seed", "11"];

fn conserves_the_money(own: &Own) {
    // The second run finds the accounts where the first has left them.
    for run in 1..=2 {
        let ended = Site::new().run(SMALL.iter().copied().chain(own.arguments()));
        assert_eq!(ended.code, Some(0), "run {run}: {ended:?}");
        // Beside what the panic hook says of a panic inside sqlx's MySQL driver: it reads on after a statement was abandoned.
        // The panic is caught, and the connection closed.
        assert!(ended.sentences().is_empty(), "run {run}: {ended:?}");
        ended.assert_nothing_lost();
        for label in ["committed", "rolled back", "cancelled", "panicked"] {
            assert!(ended.count(label) > 0, "{ended:?}");
        }
    }
}

/// Starts a bank that goes on until it is stopped, and waits until it is at work.
fn busy_bank(site: &Site, own: &Own, runtime: &Runtime) -> Child {
    let bank = site.start(own.arguments());
    wait_until(|| runtime.block_on(entries(&own.url)) > 100);
    bank
}

fn stops_in_order_at_sigterm(own: &Own, runtime: &Runtime) {
    let site = Site::new();
    let bank = busy_bank(&site, own, runtime);
    signal(&bank, "TERM");
    let ended = Ended::of(&bank.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert_eq!(ended.complaints, "bank: stopped by a signal\n");
    ended.assert_nothing_lost();
}

/// How many entries the ledger has; none, if there is no ledger yet.
async fn entries(url: &Url) -> i64 {
    let count = "SELECT count(*) FROM ledger";
    if url.scheme() == "postgres" {
        let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
        sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap_or(0)
    } else {
        let mut connection = MySqlConnection::connect(url.as_str()).await.unwrap();
        sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap_or(0)
    }
}

fn is_not_shared(own: &Own) {
    let site = Site::new();
    let first = site.serve(own.arguments());
    let second = site.run(own.arguments());
    second.assert_refused(1, &format!("cannot use {}: another bank is using it", own.shown()));
    first.signal("INT");
    assert_eq!(first.ended().code, Some(130));
    let third = site.run(own.arguments().into_iter().chain(["--transfers", "10"]));
    assert_eq!(third.code, Some(0), "{third:?}");
}

async fn leaves_the_data_of_others_alone(own: &Own) {
    run(&own.url, "CREATE TABLE accounts (holder CHAR(20))").await;
    run(&own.url, "INSERT INTO accounts VALUES ('somebody else''s')").await;
    let ended = Site::new().run(own.arguments());
    ended.assert_refused(1, &format!("cannot use {}: it holds the data of another application", own.shown()));
    run(&own.url, "UPDATE accounts SET holder = 'still there'").await;
}

fn tells_why_it_cannot_connect(own: &Own) {
    let mut wrong = own.url.clone();
    wrong.set_password(Some("not-the-password")).unwrap();
    let refused = Site::new().run(["--database-url", wrong.as_str()]);
    assert_eq!(refused.code, Some(1));
    let beginning = format!("bank: cannot use {}: ", own.shown());
    assert!(refused.complaints.starts_with(&beginning), "{refused:?}");
    assert!(!refused.complaints.contains("not-the-password"), "{refused:?}");
    assert_eq!(refused.complaints.lines().count(), 1, "{refused:?}");

    // A port on which nobody listens any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    wrong.set_port(Some(free)).unwrap();
    let refused = Site::new().run(["--database-url", wrong.as_str()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.complaints.contains("Connection refused"), "{refused:?}");

    // One that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    wrong.set_port(Some(silent.local_addr().unwrap().port())).unwrap();
    let refused = Site::new().run(["--database-url", wrong.as_str()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.complaints.contains("it does not answer within 10 s"), "{refused:?}");
}

/// The sessions of the bank are killed while it serves.
fn ends_with_one_sentence_when_the_server_kills_its_sessions(own: &Own, runtime: &Runtime) {
    let site = Site::new();
    let bank = busy_bank(&site, own, runtime);
    runtime.block_on(kill_sessions(&own.server, own.url.path().trim_start_matches('/')));
    let ended = Ended::of(&bank.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.sentences().len(), 1, "{ended:?}");
    // Nothing is left of them, and the books are in order: the next bank says so.
    let next = Site::new().run(SMALL.iter().copied().chain(own.arguments()));
    assert_eq!(next.code, Some(0), "{next:?}");
    next.assert_nothing_lost();
}

/// Kills all sessions in a database.
async fn kill_sessions(server: &Url, database: &str) {
    if server.scheme() == "postgres" {
        let mut connection = PgConnection::connect(server.as_str()).await.unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        sqlx::query(kill).bind(database).execute(&mut connection).await.unwrap();
    } else {
        let mut connection = MySqlConnection::connect(server.as_str()).await.unwrap();
        let sessions = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = ?";
        let sessions: Vec<i64> =
            sqlx::query_scalar(sessions).bind(database).fetch_all(&mut connection).await.unwrap();
        for session in sessions {
            // It may have ended by itself.
            let _ = connection.execute(AssertSqlSafe(format!("KILL {session}"))).await;
        }
    }
}

macro_rules! on {
    ($server:ident, $variable:ident) => {
        mod $server {
            use super::{Own, Runtime};

            async fn own(test: &str) -> Own {
                Own::make(super::$variable, test).await
            }

            #[tokio::test]
            async fn a_run_conserves_the_money_and_is_kept() {
                super::conserves_the_money(&own("conserves").await);
            }

            #[test]
            fn law_35_sigterm_stops_a_run_in_order() {
                let runtime = Runtime::new().unwrap();
                super::stops_in_order_at_sigterm(&runtime.block_on(own("sigterm")), &runtime);
            }

            #[tokio::test]
            async fn a_database_that_another_bank_uses_is_refused() {
                super::is_not_shared(&own("shared").await);
            }

            #[tokio::test]
            async fn the_data_of_another_application_is_refused_and_left_alone() {
                super::leaves_the_data_of_others_alone(&own("foreign").await).await;
            }

            #[tokio::test]
            async fn a_server_that_cannot_be_used_is_told_without_the_password() {
                super::tells_why_it_cannot_connect(&own("refused").await);
            }

            #[test]
            fn sessions_that_are_killed_end_the_run_with_one_sentence() {
                let runtime = Runtime::new().unwrap();
                let own = runtime.block_on(own("killed"));
                super::ends_with_one_sentence_when_the_server_kills_its_sessions(&own, &runtime);
            }
        }
    };
}

on!(postgres, POSTGRES);
on!(mysql, MYSQL);
