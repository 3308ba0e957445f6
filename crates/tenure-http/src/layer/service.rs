//! The layer and its service.

use std::fmt::{self, Debug};
use std::panic::Location;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::Outcomes;
use super::future::{ResponseFuture, handle};
use crate::stop::OfServer;
use crate::{RequestFailed, RequestScope};

/// Gives each request a [`RequestScope`], and closes it after the response body has ended.
///
/// ```
/// use tenure_http::{OnDisconnect, Outcomes, RequestScopeLayer};
///
/// // For most routes.
/// let layer = RequestScopeLayer::new();
/// // For the ones whose work is not to be thrown away when nobody waits for the answer.
/// let to_the_end = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete);
/// // Where a refusal is work that was done, so that transactions commit.
/// let lenient = RequestScopeLayer::new().outcomes(Outcomes::server_errors());
/// # let _ = (layer, to_the_end, lenient);
/// ```
///
/// It is a layer of tower: `Router::layer` and `Router::route_layer` of axum take it, and so does everything else that
/// speaks tower. To choose for a route, give that route a layer of its own; the innermost is the one handlers see.
///
/// # Guarantees
/// The scope closes once, told how the request ended:
///
/// | what happened | outcome | the exits run |
/// |---|---|---|
/// | the response body was read to its end | completed, or failed by the [rule](Self::outcomes) | after its end |
/// | so, and the handler had [failed the scope](crate::RequestScope::fail) | failed with its error | after its end |
/// | so, and a layer inside had dropped the handler | cancelled, see [`HandlerLayer`](super::HandlerLayer) | after its end |
/// | the response body failed | failed | after that |
/// | the service returned an error | failed | before the error is passed on |
/// | the handler panicked | panicked | before the panic resumes |
/// | the response body panicked | panicked | in the background |
/// | the client went away | cancelled | in the background |
///
/// An exit never holds up the answer: where one has to wait, it does so in the background, where [`tenure::drain`]
/// and the exit of [`serve`](crate::Server) await it. That the body has ended means that the server has taken all of
/// it, not that the client has read it. An upgraded connection (a web socket) outlives its request; what it needs is
/// entered where it runs, and [`RequestScope::upgrade`](crate::RequestScope) ties that to the server.
///
/// When the client goes away, the handler is dropped where it stands. What it had entered by [`tenure::with`] exits
/// first, then the scope.
#[derive(Clone)]
#[must_use = "a layer does nothing until a service is layered with it"]
pub struct RequestScopeLayer {
    options: Options,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) outcomes: Outcomes,
    on_disconnect: OnDisconnect,
    /// Where the layer was made: the place of its requests in reports.
    pub(super) location: &'static Location<'static>,
}

impl Options {
    pub(super) fn completes(&self) -> bool {
        self.on_disconnect == OnDisconnect::Complete
    }
}

/// What becomes of a handler whose client goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDisconnect {
    /// It is dropped where it stands, and the scope closes, told that the request was cancelled.
    #[default]
    Cancel,
    /// It goes on in the background, to its end, and decides the outcome; of its response nothing is read. Task-locals
    /// are gone there. [`serve`](crate::serve()) cancels it after its grace limit; another server does not know of it, so
    /// [`tenure::drain`] waits for it.
    Complete,
}

impl RequestScopeLayer {
    /// Creates a layer by whose rule client and server errors count as failures, and which drops handlers whose client goes
    /// away. In reports its requests are said to be entered where this is called.
    #[track_caller]
    pub fn new() -> Self {
        Self {
            options: Options {
                outcomes: Outcomes::default(),
                on_disconnect: OnDisconnect::default(),
                location: Location::caller(),
            },
        }
    }

    /// Sets the rule by which an answer is a failure. Default: [`Outcomes::http()`], all statuses from 400 up.
    pub fn outcomes(mut self, rule: Outcomes) -> Self {
        self.options.outcomes = rule;
        self
    }

    /// Sets which statuses count as failures, and no others: [`outcomes`](Self::outcomes) by the status alone.
    pub fn failed_when(self, rule: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.outcomes(Outcomes::when(move |status, _| rule(status).then_some(RequestFailed::Status(status))))
    }

    /// Sets what becomes of a handler whose client goes away. Default: [`OnDisconnect::Cancel`].
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.options.on_disconnect = choice;
        self
    }
}

impl Default for RequestScopeLayer {
    /// As [`new`](Self::new).
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequestScopeLayer {
    type Service = RequestScopeService<S>;

    fn layer(&self, inner: S) -> RequestScopeService<S> {
        RequestScopeService { inner, options: self.options.clone() }
    }
}

impl Debug for RequestScopeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { outcomes, on_disconnect, .. } = &self.options;
        f.debug_struct("RequestScopeLayer")
            .field("outcomes", outcomes)
            .field("on_disconnect", on_disconnect)
            .finish()
    }
}

/// A service whose requests have a scope. Made by [`RequestScopeLayer`].
#[derive(Clone)]
pub struct RequestScopeService<S> {
    inner: S,
    options: Options,
}

impl<S, A, B> Service<Request<A>> for RequestScopeService<S>
where
    S: Service<Request<A>, Response = Response<B>, Error: Debug + Send + 'static, Future: Send + 'static>,
    B: Body + Send + 'static,
{
    type Response = Response<super::RequestScopeBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let server = OfServer::of(request.extensions());
        let on = self.options.completes().then(|| server.clone());
        let scope = RequestScope::new(server);
        let method = BodyMethod::of(request.method());
        request.extensions_mut().insert(scope.clone());
        let options = self.options.clone();
        let location = options.location;
        let handler = Box::pin(self.inner.call(request));
        ResponseFuture::new(handle(handler, scope, method, options), on, location)
    }
}

impl<S: Debug> Debug for RequestScopeService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestScopeService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Whether servers send the bodies of responses to a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyMethod {
    Head,
    Connect,
    Other,
}

impl BodyMethod {
    fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether a response of this status is sent without its body, whatever that is.
    pub(super) fn omits_body(self, status: StatusCode) -> bool {
        let never =
            status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        never || self == Self::Head || (self == Self::Connect && status.is_success())
    }
}
