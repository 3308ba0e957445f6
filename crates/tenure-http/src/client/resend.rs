//! Sending a request once more, where it has crossed with the server's closing of its connection.
//!
//! # Invariants
//! 1. A request is sent again only if the server has not acted on it, or acting on it twice is the same as once.
//! 2. What was sent of a body is kept up to [`MAX_KEPT_BYTES`], and no body is sent again without all of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::Cause;
use super::requests::RequestBody;

/// How much of a body is kept for sending it again.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// How long the body of a request that has failed may take to come back from the task that drove its connection.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// By these headers a client says that its request may be sent again.
const KEYS: [&str; 2] = ["idempotency-key", "x-idempotency-key"];

/// A request that may have to be sent more than once.
pub(super) struct Resendable {
    head: Request<()>,
    returned: oneshot::Receiver<Returned>,
}

impl Resendable {
    /// The request as it is to be sent now, and what makes another one of it.
    pub(super) fn new<B>(request: Request<B>) -> (Request<RequestBody>, Self)
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        let body = Returned { sent: Vec::new(), rest: body.map_err(Into::into).boxed_unsync() };
        Self::lend(head, body)
    }

    fn lend(head: Request<()>, body: Returned) -> (Request<RequestBody>, Self) {
        let (back, returned) = oneshot::channel();
        let lent = Lent {
            next: 0,
            kept: body.sent.iter().map(Part::len).sum(),
            body: Some(body),
            is_whole: true,
            back: Some(back),
        };
        (head.clone().map(|()| lent.boxed_unsync()), Self { head, returned })
    }

    /// Returns `true` if it may be sent although the server may have acted on it.
    pub(super) fn is_idempotent(&self) -> bool {
        let by_method =
            [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
        by_method.contains(self.head.method()) || KEYS.iter().any(|key| self.head.headers().contains_key(*key))
    }

    /// The request once more, if its body can be sent again.
    pub(super) async fn again(self) -> Option<(Request<RequestBody>, Self)> {
        let body = timeout(RETURN_TIMEOUT, self.returned).await.ok()?.ok()?;
        Some(Self::lend(self.head, body))
    }
}

/// A body that has come back: what was sent of it, and what was not.
struct Returned {
    sent: Vec<Part>,
    rest: RequestBody,
}

enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

/// A body on its way, which comes back when it is dropped.
struct Lent {
    /// There until it is dropped.
    body: Option<Returned>,
    /// The next of what was sent before.
    next: usize,
    kept: usize,
    /// `true` if all that was sent is kept, and the body has not failed.
    is_whole: bool,
    back: Option<oneshot::Sender<Returned>>,
}

impl Body for Lent {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Some(part) = body.sent.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(part.frame())));
        }
        let frame = ready!(Pin::new(&mut body.rest).poll_frame(context));
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                this.is_whole = false;
                return Poll::Ready(Some(Err(error)));
            }
            None => return Poll::Ready(None),
        };
        let part = match frame.into_data() {
            Ok(data) => Part::Data(data),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Part::Trailers(trailers),
                // Nothing else is known today.
                Err(frame) => {
                    this.is_whole = false;
                    return Poll::Ready(Some(Ok(frame)));
                }
            },
        };
        let frame = part.frame();
        this.kept += part.len();
        if this.kept > MAX_KEPT_BYTES {
            this.is_whole = false;
            body.sent.clear();
            this.next = 0;
        }
        if this.is_whole {
            body.sent.push(part);
            this.next += 1;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| self.next == body.sent.len() && body.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else { return SizeHint::with_exact(0) };
        let before: usize = body.sent.iter().skip(self.next).map(Part::len).sum();
        let (before, rest) = (before as u64, body.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(before));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(before)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (true, Some(body), Some(back)) = (self.is_whole, self.body.take(), self.back.take()) {
            // Nobody waits for it if the request was answered.
            let _ = back.send(body);
        }
    }
}
