//! `GET /accounts?from=1&count=20`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use tenure::with;
use tenure_sqlx::pool::PoolExt as _;

use super::Bank;
use crate::books::ledger::{ACCOUNTS, Account, Cents, Ledger};
use crate::problem::Problem;

/// The most accounts in one answer.
const COUNT_MAX: i64 = 100;

/// Which accounts.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    from: Account,
    count: i64,
}

impl Default for Part {
    fn default() -> Self {
        Self { from: 1, count: 20 }
    }
}

/// A part of the accounts.
#[derive(Debug, Serialize)]
struct Listed {
    /// How many the bank has.
    total: i64,
    accounts: Vec<Balance>,
}

#[derive(Debug, Serialize)]
struct Balance {
    account: Account,
    balance: Cents,
}

/// Lists accounts.
pub(super) async fn list<D: Ledger>(State(bank): State<Arc<Bank<D>>>, Query(part): Query<Part>) -> Response {
    let count = part.count.clamp(0, COUNT_MAX);
    let listed = with(bank.connections.connection(), async |connection| {
        Ok::<_, Problem>(D::accounts(connection, part.from, count).await?)
    })
    .await;
    match listed {
        Ok(listed) => {
            let accounts = listed.into_iter().map(|(account, balance)| Balance { account, balance }).collect();
            Json(Listed { total: ACCOUNTS, accounts }).into_response()
        }
        Err(problem) => bank.failed(problem),
    }
}
