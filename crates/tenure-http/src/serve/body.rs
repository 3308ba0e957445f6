//! Bodies: of requests as they come in, and of responses as they go out.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::conversation::{Conversation, InFlight};
use super::watch::Watch;
use crate::stall::Patience;

/// The body of a request, as it comes in.
///
/// Whoever waits for its next part waits for at most the [`body_read_timeout`](super::Serve::body_read_timeout). It does not
/// fail then: the request is over, and its handler is dropped.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    // None where there is nothing to wait for.
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    patience: Patience,
    watcher: Watcher,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, limit: Duration, watcher: impl FnOnce() -> Watcher) -> Self {
        let wait = || Wait { patience: Patience::new(limit), watcher: watcher() };
        let wait = (!incoming.is_end_stream()).then(wait);
        Self { incoming, wait }
    }
}

/// Who is told that a client sends nothing of a body: the innermost that can do without it.
pub(super) enum Watcher {
    Connection(Arc<Conversation>),
    Stream(Arc<Watch>),
}

impl Watcher {
    fn give_up(&self) {
        match self {
            Self::Connection(conversation) => conversation.progress.watch.give_up(),
            Self::Stream(watch) => watch.give_up(),
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection(_) => "Connection",
            Self::Stream(_) => "Stream",
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some(wait) = &mut this.wait {
                    wait.patience.renew();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError)))
            }
            Poll::Pending => {
                if let Some(Wait { patience, watcher }) = &mut this.wait
                    && patience.poll_lost(context).is_ready()
                {
                    watcher.give_up();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The rest of a request's body did not come; why is its [`source`](Error::source).
#[derive(Debug)]
pub struct RequestBodyError(hyper::Error);

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request broke off")
    }
}

impl Error for RequestBodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

pin_project! {
    /// The body of a response, which tells the watch of its stream when a frame has to wait.
    pub(super) struct Watched<B> {
        #[pin]
        body: B,
        // None over HTTP/1.1, where the connection's stream tells.
        watch: Option<Arc<Watch>>,
        // Dropped after the body.
        in_flight: InFlight,
    }
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, watch: Option<Arc<Watch>>, in_flight: InFlight) -> Self {
        Self { body, watch, in_flight }
    }
}

impl<B: Body> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context);
        if let Some(watch) = this.watch {
            // Asked for a frame, the stream has sent the one before.
            watch.go_on();
            if polled.is_ready() {
                watch.wait();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
