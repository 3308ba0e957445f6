//! The layer and its service.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::future::{ResponseFuture, handle};
use crate::RequestScope;
use crate::stop::ServerStop;

/// Gives each request a [`RequestScope`], and closes it after the response body has ended.
///
/// ```
/// use tenure_http::{OnDisconnect, RequestScopeLayer};
///
/// // For most routes.
/// let layer = RequestScopeLayer::new();
/// // For the ones whose work is not to be thrown away when nobody waits for the answer.
/// let to_the_end = RequestScopeLayer::new().on_disconnect(OnDisconnect::Complete);
/// // Where «not found» is a failure too, so that transactions roll back.
/// let strict = RequestScopeLayer::new().failed_when(|status| status.is_client_error() || status.is_server_error());
/// # let _ = (layer, to_the_end, strict);
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
/// | the response body was read to its end | completed, or failed by [`failed_when`](Self::failed_when) | after its end |
/// | the response body failed | failed | after that |
/// | the service returned an error | failed | before the error is passed on |
/// | the handler panicked | panicked | before the panic resumes |
/// | the response body panicked | panicked | in the background |
/// | the client went away | cancelled | in the background |
///
/// An exit never holds up the answer: where one has to wait, it does so in the background, where [`tenure::drain`]
/// and the exit of [`serve`](crate::Server) await it. That the body has ended means that the server has taken all of
/// it, not that the client has read it. An upgraded connection (a web socket) outlives its request; what it needs is to be
/// entered where it runs.
///
/// When the client goes away, the handler is dropped where it stands. What it had entered by [`tenure::with`] exits
/// first, then the scope.
#[derive(Clone, Default)]
#[must_use = "a layer does nothing until a service is layered with it"]
pub struct RequestScopeLayer {
    options: Options,
}

#[derive(Clone, Default)]
pub(super) struct Options {
    /// `None`: server errors.
    rule: Option<Arc<dyn Fn(StatusCode) -> bool + Send + Sync>>,
    on_disconnect: OnDisconnect,
}

impl Options {
    pub(super) fn failed(&self, status: StatusCode) -> bool {
        self.rule.as_ref().map_or_else(|| status.is_server_error(), |rule| rule(status))
    }

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
    /// Server errors (5xx) count as failures; handlers whose client goes away are dropped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which statuses count as failures. Default: 5xx.
    pub fn failed_when(mut self, rule: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.options.rule = Some(Arc::new(rule));
        self
    }

    /// What becomes of a handler whose client goes away. Default: [`OnDisconnect::Cancel`].
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.options.on_disconnect = choice;
        self
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
        let Options { rule, on_disconnect } = &self.options;
        f.debug_struct("RequestScopeLayer")
            .field("own_rule", &rule.is_some())
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
        let scope = RequestScope::new();
        let method = BodyMethod::of(request.method());
        request.extensions_mut().insert(scope.clone());
        let options = self.options.clone();
        let on = options.completes().then(|| ServerStop::of(request.extensions()));
        let handler = Box::pin(self.inner.call(request));
        ResponseFuture::new(handle(handler, scope, method, options), on)
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
