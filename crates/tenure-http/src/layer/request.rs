//! A request as resources of the hub: while its handler runs, and when it runs on without a client.

use std::pin::Pin;

use http::Response;
use http_body::Body;
use tenure::{AsyncExit, Ending, Outcome};

use super::RequestScopeBody;
use crate::scope::{Closed, close_now};
use crate::stop::OfServer;
use crate::{ExitFailed, RequestScope};

/// A request whose handler runs.
///
/// A handler that returns leaves the scope to the response body. One that panics or is dropped takes it along here; the
/// hub calls this exit after those of all that was entered inside the handler, however it came to be dropped.
pub(super) struct Handling {
    pub(super) scope: RequestScope,
}

impl AsyncExit for Handling {
    type Error = ExitFailed;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), ExitFailed> {
        if outcome.is_completed() {
            return Ok(());
        }
        if let Some(Closed { stack, .. }) = self.scope.close() {
            let ending = match outcome {
                Outcome::Panicked(message) => Ending::Panicked(message.to_owned()),
                _ => Ending::Cancelled,
            };
            // This exit has not ended before those have.
            close_now(stack, ending);
        }
        Ok(())
    }
}

pub(super) type Handler<B, E> = Pin<Box<dyn Future<Output = Result<Response<RequestScopeBody<B>>, E>> + Send>>;

/// A handler whose client is gone, to be polled to its end: that is the exit.
pub(super) struct Orphaned<B, E> {
    pub(super) handler: Handler<B, E>,
    pub(super) stop: OfServer,
}

impl<B, E> AsyncExit for Orphaned<B, E>
where
    B: Body + Send + 'static,
    E: Send + 'static,
{
    type Error = ExitFailed;

    async fn exit(self, _: Outcome<'_>) -> Result<(), ExitFailed> {
        let Self { handler, stop } = self;
        let handled = tokio::select! {
            biased;
            handled = handler => handled,
            () = stop.cut() => return Ok(()),
        };
        // Where there was an error, the scope was closed before it came out, and was told of it.
        if let Ok(response) = handled {
            response.into_body().leave_unread();
        }
        Ok(())
    }
}
