//! The scope as an extractor of axum.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use super::RequestScope;

/// The route has no [`RequestScopeLayer`](crate::RequestScopeLayer). Answers with status 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoRequestScope;

impl fmt::Display for NoRequestScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this route has no RequestScopeLayer")
    }
}

impl Error for NoRequestScope {}

impl IntoResponse for NoRequestScope {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for RequestScope {
    type Rejection = NoRequestScope;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoRequestScope> {
        parts.extensions.get::<Self>().cloned().ok_or(NoRequestScope)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for RequestScope {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}
