//! The bank as a service over HTTP.
//!
//! | | |
//! |---|---|
//! | `POST /transfers` | moves money: `{"payer": 1, "payee": 2, "amount": 350}` |
//! | `GET /accounts` | accounts with their balances, a part at a time |
//! | `GET /state` | what is counted, and what is held now |
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
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tenure_http::RequestScopeLayer;
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
            .merge(page::router())
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(from_fn_with_state(tally, requests::count))
            .layer(RequestScopeLayer::new())
            // Outside: the exits have been told of the panic before it becomes an answer.
            .layer(CatchPanicLayer::custom(problems::panicked))
            .with_state(Arc::new(self))
    }
}
