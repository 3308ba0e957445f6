//! The body of a response.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::error::Cause;
use super::{ClientError, Stage};

/// The body of a response, as it comes in.
///
/// It is read as long as its connection lives: read it before the connection's scope ends. Over HTTP/1.1 the next request
/// waits until it has been read to its end; dropped before that, the connection is closed.
#[derive(Debug)]
#[must_use = "over HTTP/1.1, a body that is dropped unread closes the connection"]
pub struct ResponseBody {
    incoming: Incoming,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self { incoming }
    }

    /// Reads it to its end, at most `limit` bytes.
    ///
    /// # Errors
    /// If the connection fails, or there are more bytes.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped with what was read of it.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, ClientError> {
        let body = Limited::new(self.incoming, limit);
        let collected = body.collect().await.map_err(|cause: Cause| ClientError::new(Stage::Body, cause))?;
        Ok(collected.to_bytes())
    }

    /// Reads it to its end as text, at most `limit` bytes.
    ///
    /// # Errors
    /// If the connection fails, there are more bytes, or they are no UTF-8.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped with what was read of it.
    pub async fn text(self, limit: usize) -> Result<String, ClientError> {
        let bytes = self.bytes(limit).await?;
        String::from_utf8(bytes.into()).map_err(|error| ClientError::new(Stage::Body, error))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        polled.map(|frame| frame.map(|frame| frame.map_err(|error| ClientError::new(Stage::Body, error))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
