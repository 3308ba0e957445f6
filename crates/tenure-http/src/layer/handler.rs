//! Whether a handler ran to its end: what the request's layer, further out, cannot see by itself.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::RequestScope;

/// Tells the request's scope when a handler is dropped before its end by a layer between the two.
///
/// A time limit, a race or a middleware of one's own may drop a handler half-way and answer in its place, with any status.
/// [`RequestScopeLayer`](super::RequestScopeLayer) around it sees the answer alone. With this layer around the handler the
/// exits are told that the request was cancelled, whatever was answered.
///
/// It is not needed where the scope's layer is the innermost one: then whatever drops the handler drops the layer's own
/// future, which tells. So either put `RequestScopeLayer` first, before the layers that may drop a handler, or put this one
/// first and that one later:
///
/// ```
/// use axum::{Router, routing::get};
/// use tenure_http::{HandlerLayer, RequestScopeLayer};
/// # let time_limit = tower::layer::util::Identity::new();
/// # async fn handler() {}
///
/// let router = Router::<()>::new()
///     .route("/", get(handler))
///     .layer(HandlerLayer::new())
///     .layer(time_limit)
///     .layer(RequestScopeLayer::new());
/// # let _ = router;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a layer does nothing until a service is layered with it"]
pub struct HandlerLayer {
    _private: (),
}

impl HandlerLayer {
    /// Creates the layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for HandlerLayer {
    type Service = HandlerService<S>;

    fn layer(&self, inner: S) -> HandlerService<S> {
        HandlerService { inner }
    }
}

/// A service that tells its request's scope when it is dropped half-way. Made by [`HandlerLayer`].
#[derive(Clone, Debug)]
pub struct HandlerService<S> {
    inner: S,
}

impl<S: Service<Request<A>>, A> Service<Request<A>> for HandlerService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = HandlerFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let scope = request.extensions().get::<RequestScope>().cloned();
        HandlerFuture { inner: self.inner.call(request), unfinished: Unfinished { scope, begun: false } }
    }
}

pin_project! {
    /// The future of a [`HandlerService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct HandlerFuture<F> {
        // Declared, and so dropped, first: the scope learns of it when the guards of the handler are back.
        #[pin]
        inner: F,
        unfinished: Unfinished,
    }
}

#[derive(Debug)]
struct Unfinished {
    /// Taken when the handler has ended.
    scope: Option<RequestScope>,
    begun: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let (Some(scope), true) = (&self.scope, self.begun) {
            scope.cut_off();
        }
    }
}

impl<F: Future> Future for HandlerFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.unfinished.begun = true;
        let output = ready!(this.inner.poll(context));
        this.unfinished.scope = None;
        Poll::Ready(output)
    }
}
