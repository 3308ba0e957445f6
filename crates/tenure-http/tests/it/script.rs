//! A response body that does as it is told.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tenure_http::RequestScopeBody;

/// A body of frames, each ready at once, and what comes after them.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) frames: Vec<Frame<Bytes>>,
    pub(crate) end: End,
    pub(crate) hint: SizeHint,
}

#[derive(Debug)]
pub(crate) enum End {
    Ends,
    Fails,
    Panics,
    Waits,
}

impl Script {
    pub(crate) fn new(chunks: &[&'static str], end: End) -> Self {
        let frames = chunks.iter().rev().map(|chunk| Frame::data(Bytes::from_static(chunk.as_bytes())));
        Self { frames: frames.collect(), end, hint: SizeHint::default() }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match (self.frames.pop(), &self.end) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, End::Ends) => Poll::Ready(None),
            (None, End::Fails) => Poll::Ready(Some(Err("broken"))),
            (None, End::Panics) => panic!("the body is out of order"),
            (None, End::Waits) => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// The next frame.
pub(crate) async fn frame(
    body: Pin<&mut RequestScopeBody<Script>>,
) -> Option<Result<Frame<Bytes>, &'static str>> {
    let mut body = body;
    std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
}
