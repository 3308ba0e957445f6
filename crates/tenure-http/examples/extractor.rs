//! An extractor over the request's scope: handlers ask for a transaction as an argument, and it commits or rolls back when
//! the request has ended. FastAPI's `Depends` with `yield`.
//!
//! ```console
//! cargo run --example extractor --features axum,serve
//! curl -X POST http://127.0.0.1:3000/orders/7
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use tenure::{AsyncExit, Outcome};
use tenure_http::{RequestScope, RequestScopeLayer, Scoped, ServeError, serve};

/// Stands in for a database: what was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    committed: Arc<Mutex<Vec<u32>>>,
}

impl Database {
    /// Returns what was committed.
    pub(crate) fn committed(&self) -> Vec<u32> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A transaction of the request.
#[derive(Debug)]
struct Transaction {
    database: Database,
    orders: Vec<u32>,
}

impl AsyncExit for Transaction {
    type Error = Infallible;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Infallible> {
        if outcome.is_completed() {
            let Self { database, orders } = self;
            database.committed.lock().unwrap_or_else(PoisonError::into_inner).extend(orders);
        }
        Ok(())
    }
}

/// The extractor.
struct InTransaction(Scoped<Transaction>);

impl FromRequestParts<Database> for InTransaction {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(parts: &mut Parts, database: &Database) -> Result<Self, Self::Rejection> {
        let failed = |error: &dyn std::fmt::Display| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let scope = RequestScope::from_request_parts(parts, database).await.map_err(|error| failed(&error))?;
        let database = database.clone();
        let begin = async { Ok::<_, Infallible>(Transaction { database, orders: Vec::new() }) };
        scope.enter(begin).await.map(Self).map_err(|error| failed(&error))
    }
}

async fn order(
    InTransaction(mut transaction): InTransaction,
    State(_): State<Database>,
    Path(number): Path<u32>,
) -> Result<String, StatusCode> {
    transaction.orders.push(number);
    // Too late to be taken back by hand, and there is no need to: a failure rolls back.
    if number == 13 { Err(StatusCode::CONFLICT) } else { Ok(format!("ordered {number}")) }
}

async fn list(State(database): State<Database>) -> String {
    format!("{:?}", database.committed())
}

/// The service.
pub(crate) fn router(database: Database) -> Router {
    Router::new()
        .route("/orders", get(list))
        .route("/orders/{number}", post(order))
        .layer(RequestScopeLayer::new())
        .with_state(database)
}

/// Serves it until Ctrl-C.
#[tokio::main]
async fn main() -> std::process::ExitCode {
    tenure::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await.map_err(ServeError::Listener)?;
        tenure::with(serve(listener, router(Database::default())), async |server| server.forever().await).await
    })
    .await
}
