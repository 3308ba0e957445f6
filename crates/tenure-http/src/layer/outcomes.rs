//! Which answers count as failures.

use std::fmt::{self, Debug};
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use crate::RequestFailed;

/// Rules by which the answer to a request decides what its exits are told, given to
/// [`RequestScopeLayer::outcomes`](super::RequestScopeLayer::outcomes).
///
/// A rule is asked for a response that was sent to its end. A handler that panicked, that was dropped, or that has
/// [failed its scope](crate::RequestScope::fail) is judged already, and no answer changes that.
///
/// | rule | completed | failed |
/// |---|---|---|
/// | [`http()`](Self::http), the default | below 400 | 400 and above |
/// | [`server_errors()`](Self::server_errors) | below 500 | 500 and above |
/// | [`grpc()`](Self::grpc) | `grpc-status: 0`, in headers or trailers | any other `grpc-status`, or none |
///
/// ```
/// use http::StatusCode;
/// use tenure_http::{Outcomes, RequestFailed, RequestScopeLayer};
///
/// // «Not modified» and «conflict» are no reason to commit here.
/// let rule = Outcomes::when(|status, _headers| {
///     let fails = status == StatusCode::NOT_MODIFIED || status == StatusCode::CONFLICT;
///     fails.then_some(RequestFailed::Status(status))
/// });
/// let layer = RequestScopeLayer::new().outcomes(rule);
/// # let _ = layer;
/// ```
#[derive(Clone)]
#[must_use = "a rule does nothing until a layer has it"]
pub struct Outcomes {
    rule: Rule,
}

type HeadRule = dyn Fn(StatusCode, &HeaderMap) -> Option<RequestFailed> + Send + Sync;
type TrailersRule = dyn Fn(Option<&HeaderMap>) -> Option<RequestFailed> + Send + Sync;

#[derive(Clone)]
enum Rule {
    Http,
    ServerErrors,
    Grpc,
    Own { head: Arc<HeadRule>, trailers: Option<Arc<TrailersRule>> },
}

impl Outcomes {
    /// Client and server errors count as failures: every status from 400 up.
    pub fn http() -> Self {
        Self { rule: Rule::Http }
    }

    /// Server errors alone count as failures: every status from 500 up. For services in which «not found», or a refused
    /// order that was written down, is work that was done.
    pub fn server_errors() -> Self {
        Self { rule: Rule::ServerErrors }
    }

    /// Judges responses of gRPC (`content-type: application/grpc`) by their `grpc-status`, in the headers or in the trailers;
    /// one that ends without any has failed. All other responses, also those of gRPC-Web, whose trailers are in the body,
    /// are judged as by [`http()`](Self::http).
    pub fn grpc() -> Self {
        Self { rule: Rule::Grpc }
    }

    /// Judges by a function of status and headers that returns how the request failed, or `None`.
    ///
    /// It is called when the head of the response is there, while the request's scope is open. It must not block.
    pub fn when(
        rule: impl Fn(StatusCode, &HeaderMap) -> Option<RequestFailed> + Send + Sync + 'static,
    ) -> Self {
        Self { rule: Rule::Own { head: Arc::new(rule), trailers: None } }
    }

    /// Judges also by the trailers: those of a response that its head did not fail. `None` if it ended without any.
    pub fn and_trailers(
        self,
        rule: impl Fn(Option<&HeaderMap>) -> Option<RequestFailed> + Send + Sync + 'static,
    ) -> Self {
        let outer = self.clone();
        let head = move |status: StatusCode, headers: &HeaderMap| outer.judge(status, headers).failed;
        Self { rule: Rule::Own { head: Arc::new(head), trailers: Some(Arc::new(rule)) } }
    }

    /// Judges a head.
    pub(super) fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Judgement {
        let failed_from = |least: u16| (status.as_u16() >= least).then_some(RequestFailed::Status(status));
        let failed = match &self.rule {
            Rule::Http => failed_from(400),
            Rule::ServerErrors => failed_from(500),
            Rule::Grpc if is_grpc(headers) => {
                let failed = failed_from(400);
                return match headers.get(GRPC_STATUS) {
                    None if failed.is_none() => Judgement { failed, trailers: Some(AtTrailers::Grpc) },
                    stated => Judgement { failed: failed.or_else(|| grpc_failure(stated)), trailers: None },
                };
            }
            Rule::Grpc => failed_from(400),
            Rule::Own { head, trailers } => {
                let failed = head(status, headers);
                let trailers = trailers.clone().filter(|_| failed.is_none()).map(AtTrailers::Own);
                return Judgement { failed, trailers };
            }
        };
        Judgement { failed, trailers: None }
    }
}

impl Default for Outcomes {
    /// [`http()`](Self::http).
    fn default() -> Self {
        Self::http()
    }
}

impl Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.rule {
            Rule::Http => "Outcomes::http()",
            Rule::ServerErrors => "Outcomes::server_errors()",
            Rule::Grpc => "Outcomes::grpc()",
            Rule::Own { .. } => "Outcomes::when(..)",
        })
    }
}

/// What a head says.
pub(super) struct Judgement {
    pub(super) failed: Option<RequestFailed>,
    /// Set if the trailers have a say.
    pub(super) trailers: Option<AtTrailers>,
}

pub(super) enum AtTrailers {
    Grpc,
    Own(Arc<TrailersRule>),
}

impl AtTrailers {
    /// Judges by the trailers, or by their absence at the end.
    pub(super) fn judge(&self, trailers: Option<&HeaderMap>) -> Option<RequestFailed> {
        match self {
            Self::Grpc => grpc_failure(trailers.and_then(|trailers| trailers.get(GRPC_STATUS))),
            Self::Own(rule) => rule(trailers),
        }
    }
}

const GRPC_STATUS: &str = "grpc-status";

/// What gRPC calls a failure that says nothing of itself.
const GRPC_UNKNOWN: u16 = 2;

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    // Not gRPC-Web.
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

fn grpc_failure(stated: Option<&http::HeaderValue>) -> Option<RequestFailed> {
    let code = stated.and_then(|code| code.to_str().ok()?.trim().parse().ok()).unwrap_or(GRPC_UNKNOWN);
    (code != 0).then_some(RequestFailed::Grpc(code))
}
