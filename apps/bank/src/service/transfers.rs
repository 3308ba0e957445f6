//! `POST /transfers`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::{Audience, Bank};
use crate::books::ledger::{Cents, Ledger};
use crate::books::transfer::{Order, Refused, transfer};

/// The header by which the bank's own clients ask for a panic half-way through the transfer.
pub(crate) const PANIC_HEADER: &str = "x-panic";

/// A transfer that was made.
#[derive(Debug, Serialize)]
struct Made {
    /// What the payer has left.
    balance: Cents,
}

/// Makes a transfer. A client that goes away meanwhile undoes it, unless it is being committed.
pub(super) async fn make<D: Ledger>(
    State(bank): State<Arc<Bank<D>>>,
    headers: HeaderMap,
    Json(order): Json<Order>,
) -> Response {
    let panics = bank.audience == Audience::OwnClients && headers.contains_key(PANIC_HEADER);
    match transfer(&bank.connections, &order, panics).await {
        Ok(balance) => {
            bank.tally.transfer_made();
            (StatusCode::CREATED, Json(Made { balance })).into_response()
        }
        Err(Refused::Failed(problem)) => bank.failed(problem),
        Err(refused) => {
            bank.tally.transfer_refused();
            (StatusCode::UNPROCESSABLE_ENTITY, refused.to_string()).into_response()
        }
    }
}
