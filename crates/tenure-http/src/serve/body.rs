//! Bodies: of requests as they come in, and of responses as they go out.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::conversation::{Conversation, InFlight};
use super::limits::Limits;
use super::watch::Watch;
use crate::stall::Patience;

/// The body of a request, as it comes in.
///
/// Whoever waits for its next part waits for at most the [`body_read_timeout`](super::Serve::body_read_timeout). It does not
/// fail then: the request is over, and its handler is dropped. So it is where the client goes away amid the body. It fails
/// where the client sends what is no body; and, one second later, where a handler goes on without its client.
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
    loss: Loss,
}

/// How the loss of a client is told to who reads a body: by being dropped.
///
/// A handler that sees an error first takes it for its own, logs it, and answers to nobody.
#[derive(Debug)]
enum Loss {
    /// With whether it is HTTP/2, and whether a client may close its side and wait for an answer.
    None { http2: bool, half_close: bool },
    /// It is lost; whoever is not dropped until then is told.
    Lost(Option<RequestBodyError>, Pin<Box<Sleep>>),
}

/// How long a reader whose client is lost may take to be dropped before it is told.
const LOSS_TIMEOUT: Duration = Duration::from_secs(1);

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        limits: &Limits,
        http2: bool,
        watcher: impl FnOnce() -> Watcher,
    ) -> Self {
        let wait = || Wait {
            patience: Patience::new(limits.body_read_timeout),
            watcher: watcher(),
            loss: Loss::None { http2, half_close: limits.half_close },
        };
        let wait = (!incoming.is_end_stream()).then(wait);
        Self { incoming, wait }
    }
}

impl Loss {
    /// Returns `true` if a body breaks off because its client is gone, so that its handler is dropped.
    fn is_told_by(&self, error: &hyper::Error) -> bool {
        let Self::None { http2, half_close } = *self else { return false };
        if http2 {
            // The stream, and with it the request, is over.
            return true;
        }
        match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::UnexpectedEof) => !half_close,
            Some(
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::TimedOut,
            ) => true,
            _ => false,
        }
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
        let Some(wait) = &mut this.wait else {
            let frame = ready!(Pin::new(&mut this.incoming).poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError)));
        };
        if let Loss::Lost(error, timer) = &mut wait.loss {
            ready!(timer.as_mut().poll(context));
            return Poll::Ready(error.take().map(Err));
        }
        match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(Some(Err(error))) if wait.loss.is_told_by(&error) => {
                let mut timer = Box::pin(sleep(LOSS_TIMEOUT));
                // Registers the reader, who is to be told if it goes on.
                let _ = timer.as_mut().poll(context);
                wait.loss = Loss::Lost(Some(RequestBodyError(error)), timer);
                Poll::Pending
            }
            Poll::Ready(frame) => {
                wait.patience.renew();
                Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError)))
            }
            Poll::Pending => {
                if wait.patience.poll_lost(context).is_ready() {
                    wait.watcher.give_up();
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
