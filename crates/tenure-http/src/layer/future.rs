//! The handler's future, with its scope.

use std::fmt::{self, Debug};
use std::future::ready;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use tenure::{Ending, Held, with_at};

use super::RequestScopeBody;
use super::request::{Handler, Handling, Orphaned};
use super::service::{BodyMethod, Options};
use crate::scope::{Closed, Word, exit_reported};
use crate::stop::OfServer;
use crate::{ExitFailed, RequestFailed, RequestScope};

/// Runs the handler in a tenure of its own, which sees to the scope if it panics or is dropped.
///
/// The handler comes in a box of its own: it would be in this future more than once, and then more than allocators are
/// quick with (1 KB with glibc). A request under axum takes 9,896 instructions so, 10,013 with the handler pinned in here
/// (2026-11-22).
pub(super) async fn handle<F, B, E>(
    handler: Pin<Box<F>>,
    scope: RequestScope,
    method: BodyMethod,
    options: Options,
) -> Result<Response<RequestScopeBody<B>>, E>
where
    F: Future<Output = Result<Response<B>, E>> + Send,
    B: Body + Send,
    E: Debug + Send,
{
    let handling = Handling { scope: scope.clone() };
    // Put here, it is not moved through the hub.
    let mut answered = None;
    let handled = with_at(options.location, ready(Ok::<_, ExitFailed>(handling)), async |_| {
        answered = Some(handler.await);
        Ok::<_, ExitFailed>(())
    });
    handled.await.expect("neither the enter nor, after a completed body, the exit can fail");
    match answered.expect("the body has completed") {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let omitted = method.omits_body(head.status);
            let judgement = options.outcomes.judge(head.status, &head.headers);
            let body =
                RequestScopeBody::new(body, &head.headers, omitted, judgement, scope, options.completes());
            Ok(Response::from_parts(head, body))
        }
        Err(error) => {
            if let Some(Closed { stack, word, location }) = scope.close() {
                let failed = || Ending::failed(RequestFailed::Service(format!("{error:?}")));
                let ending = word.map_or_else(failed, Word::into_ending);
                // In a box, as in `Handling`: this future too would be much larger otherwise.
                Box::pin(exit_reported(stack, ending, location)).await;
            }
            Err(error)
        }
    }
}

/// The future of a [`RequestScopeService`](super::RequestScopeService).
///
/// # Cancel safety
/// Dropped, the handler is dropped and its scope closes in the background, told that the request was cancelled; or,
/// with [`OnDisconnect::Complete`](super::OnDisconnect::Complete), the handler goes on in the background.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<B, E>
where
    B: Body + Send + 'static,
    E: Send + 'static,
{
    /// There until it has ended or panicked.
    handler: Option<Handler<B, E>>,
    /// Set for a handler that goes on without its client: what stops it then.
    on: Option<OfServer>,
    begun: bool,
    /// Where its layer was made.
    location: &'static Location<'static>,
}

impl<B, E> ResponseFuture<B, E>
where
    B: Body + Send + 'static,
    E: Send + 'static,
{
    pub(super) fn new(
        handler: impl Future<Output = Result<Response<RequestScopeBody<B>>, E>> + Send + 'static,
        on: Option<OfServer>,
        location: &'static Location<'static>,
    ) -> Self {
        Self { handler: Some(Box::pin(handler)), on, begun: false, location }
    }
}

impl<B, E> Future for ResponseFuture<B, E>
where
    B: Body + Send + 'static,
    E: Send + 'static,
{
    type Output = Result<Response<RequestScopeBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.begun = true;
        // Out of its place while it is polled: a handler that panics is not to be polled again.
        let mut handler = this.handler.take().expect("a future is not polled after its end");
        let polled = handler.as_mut().poll(context);
        if polled.is_pending() {
            this.handler = Some(handler);
        }
        polled
    }
}

impl<B, E> Drop for ResponseFuture<B, E>
where
    B: Body + Send + 'static,
    E: Send + 'static,
{
    fn drop(&mut self) {
        // Before the first poll nothing has begun.
        if let (Some(handler), Some(stop), true) = (self.handler.take(), self.on.take(), self.begun) {
            // Its exit runs in the background: what becomes of a tenure that is dropped.
            drop(Held::new_at(self.location, Orphaned { handler, stop }));
        }
    }
}

impl<B, E> Debug for ResponseFuture<B, E>
where
    B: Body + Send + 'static,
    E: Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("ended", &self.handler.is_none()).finish_non_exhaustive()
    }
}
