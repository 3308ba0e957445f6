//! `GET /state` and `GET /events`: what is counted, and what is held now; once, or every second.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Serialize;
use tenure::OpenTenure;
use tenure_http::RequestScope;
use tokio::time::{MissedTickBehavior, interval};

use super::Bank;
use crate::books::ledger::Ledger;
use crate::tally::{Served, enters};

/// How many of what is held are listed: those that are held longest.
const HELD_MAX: usize = 50;

#[derive(Debug, Serialize)]
pub(super) struct Shown {
    database: &'static str,
    /// For how long the bank has served, in milliseconds.
    uptime: u64,
    transfers: Transfers,
    requests: Requests,
    connections: Connections,
    tenures: Tenures,
    /// The longest held first.
    held: Vec<Held>,
}

#[derive(Debug, Serialize)]
struct Transfers {
    made: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Requests {
    in_flight: u64,
    completed: u64,
    failed: u64,
    panicked: u64,
    cancelled: u64,
}

/// The connections to the database.
#[derive(Debug, Serialize)]
struct Connections {
    max: usize,
    open: usize,
    in_use: usize,
    /// Requests that wait for one.
    waiting: usize,
}

/// What the runtime has counted.
#[derive(Debug, Serialize)]
struct Tenures {
    entered: u64,
    exited: u64,
    in_background: u64,
    lost: u64,
    held: usize,
}

/// One that is held.
#[derive(Debug, Serialize)]
struct Held {
    id: u64,
    who: String,
    /// Where it was entered: file and line.
    place: String,
    /// For how long, in milliseconds.
    age: u64,
    phase: String,
    /// Whether its caller is gone.
    handed_over: bool,
}

/// How often those who listen are told.
const INTERVAL: Duration = Duration::from_secs(1);

/// When those who listen come back after a stream has ended.
const RETRY: Duration = Duration::from_secs(1);

/// Shows what is counted, and what is held now.
pub(super) async fn show<D: Ledger>(State(bank): State<Arc<Bank<D>>>) -> Json<Shown> {
    Json(shown(&bank))
}

/// Tells the same again and again, until the client goes away or the service stops.
pub(super) async fn tell<D: Ledger>(
    State(bank): State<Arc<Bank<D>>>,
    scope: RequestScope,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let states = stream::unfold((ticks, bank), async |(mut ticks, bank)| {
        ticks.tick().await;
        let event = Event::default().event("state").retry(RETRY).json_data(shown(&bank));
        Some((event, (ticks, bank)))
    });
    // Without this, each stop would have to wait for the grace limit.
    Sse::new(states.take_until(scope.stopping()))
}

fn shown<D: Ledger>(bank: &Bank<D>) -> Shown {
    let (tally, status, counters, open) =
        (&bank.tally, bank.connections.status(), tenure::counters(), tenure::open());
    let mut oldest: Vec<&OpenTenure> = open.iter().collect();
    oldest.sort_by_key(|tenure| (std::cmp::Reverse(tenure.age), tenure.id));
    Shown {
        database: D::NAME,
        uptime: milliseconds(tally.uptime()),
        transfers: Transfers { made: tally.made(), refused: tally.refused() },
        requests: Requests {
            in_flight: tally.in_flight(),
            completed: tally.served(Served::Completed),
            failed: tally.served(Served::Failed),
            panicked: tally.served(Served::Panicked),
            cancelled: tally.served(Served::Cancelled),
        },
        connections: Connections {
            max: status.max_size,
            open: status.size,
            in_use: status.in_use,
            waiting: status.waiting,
        },
        tenures: Tenures {
            entered: enters(&counters),
            exited: counters.exited,
            in_background: counters.handed_over,
            lost: counters.lost,
            held: open.len(),
        },
        held: oldest.into_iter().take(HELD_MAX).map(held).collect(),
    }
}

fn held(tenure: &OpenTenure) -> Held {
    Held {
        id: tenure.id,
        who: without_paths(tenure.name),
        place: format!("{}:{}", tenure.location.file(), tenure.location.line()),
        age: milliseconds(tenure.age),
        phase: tenure.phase.to_string(),
        handed_over: tenure.handed_over,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A type's name as one says it: `Lease<Connector<Sqlite>>` without the modules.
fn without_paths(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    let mut rest = name.chars().peekable();
    while let Some(next) = rest.next() {
        if next == ':' && rest.peek() == Some(&':') {
            rest.next();
            word.clear();
        } else if next.is_alphanumeric() || next == '_' {
            word.push(next);
        } else {
            short.push_str(&std::mem::take(&mut word));
            short.push(next);
        }
    }
    short + &word
}

#[cfg(test)]
mod tests {
    use super::without_paths;

    #[test]
    fn names_are_shown_without_modules() {
        for (name, short) in [
            ("bank", "bank"),
            ("HTTP connection", "HTTP connection"),
            ("tenure_pool::lease::Lease<bank::Connector<sqlx::Sqlite>>", "Lease<Connector<Sqlite>>"),
            ("(a::B, core::option::Option<c::d::E>)", "(B, Option<E>)"),
        ] {
            assert_eq!(without_paths(name), short);
        }
    }
}
