//! The service as hyper calls it: each request gets what it may know of its connection, each response is watched.
//!
//! # Invariants
//! 1. A request is in flight from the call to the end of its response, or until either is dropped.
//! 2. The service is called in the task of the connection (HTTP/1.1) or in that of the stream (HTTP/2), whose panic it is.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::RequestBody;
use super::body::{Watched, Watcher};
use super::conversation::{Conversation, InFlight};
use super::watch::{Watch, of_stream};
use crate::stop::OfServer;

type BoxError = Box<dyn Error + Send + Sync>;

/// The service of one connection.
pub(super) struct Answering<S> {
    service: S,
    conversation: Arc<Conversation>,
}

impl<S> Answering<S> {
    pub(super) fn new(service: S, conversation: &Arc<Conversation>) -> Self {
        Self { service, conversation: Arc::clone(conversation) }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Answering<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>> + Clone,
{
    type Response = Response<Watched<B>>;
    type Error = BoxError;
    type Future = Answer<S, S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let is_http1 = request.version() < Version::HTTP_2;
        let in_flight = InFlight::begin(Arc::clone(&self.conversation));
        let mut service = self.service.clone();
        // Most services are always ready: over HTTP/1.1, where this is the task that polls the answer, they are called now,
        // so that the request is not put aside. If not, whoever polls the answer asks again, with its own waker.
        let ready = match is_http1 {
            true => service.poll_ready(&mut Context::from_waker(Waker::noop())),
            false => Poll::Pending,
        };
        let state = match ready {
            Poll::Ready(Ok(())) => {
                State::Called { future: service.call(introduced(request, &self.conversation, None)) }
            }
            Poll::Ready(Err(error)) => State::Refused { error: Some(error.into()) },
            Poll::Pending => State::Waiting { waiting: Box::new((service, Some(request))) },
        };
        Answer { state, in_flight: Some(in_flight), is_http1, of_stream: None }
    }
}

pin_project! {
    /// A request that is being answered.
    pub(super) struct Answer<S, F> {
        #[pin]
        state: State<S, F>,
        // There until the response has it.
        in_flight: Option<InFlight>,
        is_http1: bool,
        of_stream: Option<Arc<Watch>>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F> {
        // For the service to be ready. In a box, as it would be most of the size of what is rare.
        Waiting { waiting: Box<(S, Option<Request<Incoming>>)> },
        Called { #[pin] future: F },
        // The service says that it will never be ready.
        Refused { error: Option<BoxError> },
    }
}

const ONCE: &str = "a future is not polled after its end";

impl<S, B> Future for Answer<S, S::Future>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
{
    type Output = Result<Response<Watched<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProjection::Waiting { waiting } = this.state.as_mut().project() {
            let (service, request) = &mut **waiting;
            ready!(service.poll_ready(context)).map_err(Into::into)?;
            let conversation = &this.in_flight.as_ref().expect(ONCE).conversation;
            if !*this.is_http1 {
                *this.of_stream = of_stream();
            }
            let request = request.take().expect(ONCE);
            let future = service.call(introduced(request, conversation, this.of_stream.as_ref()));
            this.state.set(State::Called { future });
        }
        let mut response = match this.state.project() {
            StateProjection::Called { future } => ready!(future.poll(context)).map_err(Into::into)?,
            StateProjection::Refused { error } => return Poll::Ready(Err(error.take().expect(ONCE))),
            StateProjection::Waiting { .. } => unreachable!("it was just called"),
        };
        let in_flight = this.in_flight.take().expect(ONCE);
        if *this.is_http1 {
            say_closing(&mut response, &in_flight.conversation);
        }
        let of_stream = this.of_stream.take();
        Poll::Ready(Ok(response.map(|body| Watched::new(body, of_stream, in_flight))))
    }
}

/// Tells the request of its connection.
fn introduced(
    mut request: Request<Incoming>,
    conversation: &Arc<Conversation>,
    of_stream: Option<&Arc<Watch>>,
) -> Request<RequestBody> {
    let Conversation { link, control, .. } = &**conversation;
    request.extensions_mut().insert(OfServer(Some(Arc::clone(link))));
    #[cfg(feature = "connect-info")]
    if let Some(peer) = link.peer.filter(|_| control.limits.connect_info) {
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    }
    let is_http2 = request.version() >= Version::HTTP_2;
    request.map(|incoming| {
        let watcher = || match of_stream {
            Some(watch) => Watcher::Stream(Arc::clone(watch)),
            None => Watcher::Connection(Arc::clone(conversation)),
        };
        RequestBody::new(incoming, &control.limits, is_http2, watcher)
    })
}

/// A client of HTTP/1.1 is told of the server's end before it sends its next request; hyper closes the connection behind
/// this response.
fn say_closing<B>(response: &mut Response<B>, conversation: &Conversation) {
    let goes_on = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !goes_on && conversation.link.stages.closing.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
