//! The bank as a service over HTTP.
//!
//! | | |
//! |---|---|
//! | `POST /transfers` | moves money: `{"payer": 1, "payee": 2, "amount": 350}` |
//! | `GET /accounts` | accounts with their balances, a part at a time |
//! | `GET /state` | what is counted, and what is held now |
//! | `GET /events` | the same every second, as a stream of events |
//! | `GET /readyz` | whether more requests are wanted: 200, or 503 once the service is about to stop |
//! | `GET /` | a page for people, made of the above |
//!
//! # Invariants
//! 1. Each request has a scope, in which it is counted: what comes in goes out, told how it ended.
//! 2. An answer says no more of a failure than its kind; the cause is for whoever runs the bank.

mod accounts;
mod page;
mod problems;
mod requests;
mod state;
mod transfers;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tenure_http::{Outcomes, RequestScope, RequestScopeLayer};
use tower_http::catch_panic::CatchPanicLayer;

use crate::books::connections::Connections;
use crate::books::ledger::Ledger;
use crate::tally::Tally;

pub(crate) use transfers::PANIC_HEADER;

/// The most bytes of a request's body: far more than an order has.
const BODY_MAX: usize = 16 * 1024;

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Bank<D: Ledger> {
    connections: Connections<D>,
    tally: Arc<Tally>,
    audience: Audience,
}

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The bank's own clients, who may ask for a panic, and end with the first problem.
    OwnClients,
    /// Whoever comes. Problems are told as they occur.
    Everybody,
}

/// Whether load balancers are to send more requests.
async fn ready(scope: RequestScope) -> (StatusCode, &'static str) {
    if scope.is_server_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "about to stop")
    }
}

impl<D: Ledger> Bank<D> {
    pub(crate) fn new(connections: &Connections<D>, tally: &Arc<Tally>, audience: Audience) -> Self {
        Self { connections: connections.clone(), tally: Arc::clone(tally), audience }
    }

    /// The service.
    pub(crate) fn router(self) -> Router {
        let tally = Arc::clone(&self.tally);
        Router::new()
            .route("/transfers", post(transfers::make::<D>))
            .route("/accounts", get(accounts::list::<D>))
            .route("/state", get(state::show::<D>))
            .route("/events", get(state::tell::<D>))
            .route("/readyz", get(ready))
            .merge(page::router())
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(from_fn_with_state(tally, requests::count))
            // A refusal is an answer as good as any: what is on the scope counts requests, and moves no money.
            .layer(RequestScopeLayer::new().outcomes(Outcomes::server_errors()))
            // Outside: the exits have been told of the panic before it becomes an answer.
            .layer(CatchPanicLayer::custom(problems::panicked))
            .with_state(Arc::new(self))
    }
}
