//! Answers to requests that could not be served.

use std::any::Any;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Audience, Bank};
use crate::books::ledger::Ledger;
use crate::problem::Problem;

/// After how many seconds to come again when all connections are in use.
const RETRY_AFTER: &str = "1";

impl<D: Ledger> Bank<D> {
    /// The answer when a problem kept the bank from its work.
    pub(super) fn failed(&self, problem: Problem) -> Response {
        if problem.is_overload() {
            let later = [(header::RETRY_AFTER, RETRY_AFTER)];
            return (StatusCode::SERVICE_UNAVAILABLE, later, "the bank is busy").into_response();
        }
        if self.audience == Audience::Everybody {
            problem.tell();
        }
        self.tally.take_problem(problem);
        (StatusCode::INTERNAL_SERVER_ERROR, "the bank failed").into_response()
    }
}

impl Problem {
    /// Whether it is that too many want the same at once.
    fn is_overload(&self) -> bool {
        self.not_lent().is_some_and(|error| error.kind().is_overload() && error.cause().is_none())
    }
}

/// The answer when a handler panicked. Its transaction has been rolled back.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "the bank panicked, and nothing was moved").into_response()
}
