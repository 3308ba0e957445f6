//! Counting requests: a context on the scope of each.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tenure::{AsyncExit, Outcome};
use tenure_http::RequestScope;

use crate::tally::Tally;

/// A request that is in flight.
#[derive(Debug)]
struct InFlight {
    tally: Arc<Tally>,
}

async fn in_flight(tally: Arc<Tally>) -> Result<InFlight, Infallible> {
    tally.request_came();
    Ok(InFlight { tally })
}

impl AsyncExit for InFlight {
    type Error = Infallible;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Infallible> {
        self.tally.request_ended(outcome.into());
        Ok(())
    }
}

/// Counts a request from its coming until its scope closes: after the answer has gone out, or when the client has gone
/// away.
pub(super) async fn count(
    State(tally): State<Arc<Tally>>,
    scope: RequestScope,
    request: Request,
    next: Next,
) -> Response {
    match scope.enter(in_flight(tally)).await {
        Ok(_in_flight) => next.run(request).await,
        // The request is over already.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
