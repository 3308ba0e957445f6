//! What a request fails with, what an enter fails with, what an exit fails with.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use http::StatusCode;

/// How a request failed: what exits find in [`Outcome::Failed`](tenure::Outcome::Failed).
///
/// ```
/// use tenure::Outcome;
/// use tenure_http::RequestFailed;
///
/// fn status(outcome: Outcome<'_>) -> Option<u16> {
///     match outcome.error::<RequestFailed>()? {
///         RequestFailed::Status(status) => Some(status.as_u16()),
///         _ => None,
///     }
/// }
/// let failed = RequestFailed::Status(http::StatusCode::BAD_GATEWAY);
/// assert_eq!(status(Outcome::failed(&failed)), Some(502));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFailed {
    /// The response has a status that counts as a failure.
    Status(StatusCode),
    /// The response has this `grpc-status`, which is not 0; one that ended without any counts as 2, «unknown».
    Grpc(u16),
    /// A rule of the application says so, and why. For [`Outcomes::when`](crate::Outcomes::when).
    Other(String),
    /// The response body failed on its way. The error itself went to the server; this is what it prints.
    Body(String),
    /// The service returned an error instead of a response. The error itself went to the server; this is what it
    /// prints.
    Service(String),
}

impl fmt::Display for RequestFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the request was answered with {status}"),
            Self::Grpc(code) => write!(f, "the request was answered with the gRPC status {code}"),
            Self::Other(why) => write!(f, "the request failed: {why}"),
            Self::Body(error) => write!(f, "the response body failed: {error}"),
            Self::Service(error) => write!(f, "the service failed: {error}"),
        }
    }
}

impl Error for RequestFailed {}

/// Why [`RequestScope::enter`](crate::RequestScope::enter) gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnterError<N> {
    /// The request is over, so its scope is closed. Nothing was entered.
    Closed,
    /// The enter failed.
    Enter(N),
}

impl<N> EnterError<N> {
    /// Returns the enter's error, if it was that.
    #[must_use]
    pub fn into_enter(self) -> Option<N> {
        match self {
            Self::Closed => None,
            Self::Enter(error) => Some(error),
        }
    }
}

/// With the enter's error, since handlers print it into an answer or a log, where nobody walks the chain of causes.
impl<N: fmt::Display> fmt::Display for EnterError<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the request is over, and its scope is closed"),
            Self::Enter(error) => write!(f, "a context of the request could not be entered: {error}"),
        }
    }
}

impl<N: Error + 'static> Error for EnterError<N> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed => None,
            // The error itself is in the message.
            Self::Enter(error) => error.source(),
        }
    }
}

/// An exit of a request's scope failed: what the exits after it are told, and what the report sink gets.
///
/// The response is on its way by then, so no caller is left to be told. A handler that has to answer differently when
/// an exit fails calls that exit itself: [`Scoped::exit`](crate::Scoped::exit).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExitFailed {
    /// The type of the resource.
    pub name: &'static str,
    /// Where it was entered.
    pub location: &'static Location<'static>,
    /// What the exit's error prints.
    pub message: String,
}

impl fmt::Display for ExitFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, location, message } = self;
        write!(f, "the exit of {name}, entered at {location}, failed: {message}")
    }
}

/// As displayed: it is what reports print.
impl fmt::Debug for ExitFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ExitFailed {}
