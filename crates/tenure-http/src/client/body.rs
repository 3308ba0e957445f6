//! Bodies: of a response, and of a request on its way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::error::Cause;
use super::exchange::Half;
use super::{ClientError, Stage};
use crate::stall::Patience;

/// The body of a response, as it comes in.
///
/// It is read as long as its connection lives: read it before the connection's scope ends. Over HTTP/1.1 the next request
/// waits until it has been read to its end; dropped before that, the connection is closed.
#[derive(Debug)]
#[must_use = "over HTTP/1.1, a body that is dropped unread closes the connection"]
pub struct ResponseBody {
    incoming: Incoming,
    /// There until the end, if the connection can be used after it.
    answering: Option<Half>,
    patience: Patience,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, answering: Option<Half>, silence_limit: Duration) -> Self {
        let mut body = Self { incoming, answering, patience: Patience::new(silence_limit) };
        body.note_end();
        body
    }

    fn note_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(answering) = self.answering.take()
        {
            answering.end();
        }
    }

    /// Reads it to its end, at most `limit` bytes.
    ///
    /// # Errors
    /// If the connection fails, the server is silent for longer than the
    /// [`silence_limit`](super::Connect::silence_limit), or there are more bytes.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped with what was read of it.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, ClientError> {
        let collected = Limited::new(self, limit).collect().await.map_err(of_body)?;
        Ok(collected.to_bytes())
    }

    /// Reads it to its end as text, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and if they are no UTF-8.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped with what was read of it.
    pub async fn text(self, limit: usize) -> Result<String, ClientError> {
        let bytes = self.bytes(limit).await?;
        String::from_utf8(bytes.into()).map_err(|error| ClientError::new(Stage::Body, error))
    }
}

fn of_body(cause: Cause) -> ClientError {
    match cause.downcast() {
        Ok(error) => *error,
        Err(cause) => ClientError::new(Stage::Body, cause),
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.incoming).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            let limit = ready!(this.patience.poll_lost(context));
            return Poll::Ready(Some(Err(ClientError::timed_out(Stage::Body, limit))));
        };
        this.patience.renew();
        match &frame {
            Some(Ok(_)) => this.note_end(),
            Some(Err(_)) => this.answering = None,
            None => {
                if let Some(answering) = this.answering.take() {
                    answering.end();
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| ClientError::new(Stage::Body, error))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

pin_project! {
    /// The body of a request, which ends its half of the exchange when it is gone: sent, or given up with its connection.
    pub(super) struct Tracked<B> {
        #[pin]
        body: B,
        sending: Option<Half>,
    }

    impl<B> PinnedDrop for Tracked<B> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(sending) = this.project().sending.take() {
                sending.end();
            }
        }
    }
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, sending: Half) -> Self {
        Self { body, sending: Some(sending) }
    }
}

impl<B: Body> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
