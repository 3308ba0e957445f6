//! The response body, which closes the scope when it has ended.
//!
//! # Invariants
//! 1. The inner body is dropped before the scope closes: what it has on loan from the stack is back by then.
//! 2. A server need not read a body to its `None`: it drops it once it is told, by `is_end_stream`, by a length, or by the
//!    kind of the response, that there is nothing to come. Dropped after that, a body has ended; before, the client
//!    went away.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tenure::Ending;

use super::outcomes::{AtTrailers, Judgement};
use crate::scope::{Closed, Word, close_now, hand_over};
use crate::{RequestFailed, RequestScope};

pin_project! {
    /// A response body that keeps the scope of its request open until it has ended. Made by
    /// [`RequestScopeService`](super::RequestScopeService).
    ///
    /// Frames, trailers, size hint and end of stream are the inner body's.
    #[must_use = "dropped before its end, the request counts as cancelled"]
    pub struct RequestScopeBody<B> {
        // Dropped before `closing`, in this order.
        #[pin]
        inner: Option<B>,
        closing: Closing,
    }
}

impl<B: Body> RequestScopeBody<B> {
    pub(super) fn new(
        inner: B,
        headers: &HeaderMap,
        omitted: bool,
        judgement: Judgement,
        scope: RequestScope,
        completes: bool,
    ) -> Self {
        let declared =
            || headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // What the body says of itself is what a server goes by in the first place.
        let unsent = inner.size_hint().exact().or_else(declared);
        let ended = omitted || unsent == Some(0) || inner.is_end_stream();
        let Judgement { failed, trailers } = judgement;
        Self { inner: Some(inner), closing: Closing { scope, failed, trailers, unsent, ended, completes } }
    }

    /// Closes the scope as if the body had been read, within the exit that calls it.
    pub(super) fn leave_unread(mut self) {
        self.inner = None;
        if let Some(Closed { stack, word, .. }) = self.closing.scope.close() {
            let ending = self.closing.ending(word);
            close_now(stack, ending);
        }
    }
}

/// What is to be told to the scope, and when. Dropped, it closes the scope.
struct Closing {
    scope: RequestScope,
    /// How the request failed, by its head, its trailers, or the lack of them.
    failed: Option<RequestFailed>,
    /// The rule for trailers that have not come.
    trailers: Option<AtTrailers>,
    /// How much data the server still expects, if it knows.
    unsent: Option<u64>,
    /// Whether there is nothing to come.
    ended: bool,
    /// Whether the handler alone decides the outcome.
    completes: bool,
}

impl Closing {
    fn sent(&mut self, data: &impl Buf) {
        if let Some(unsent) = &mut self.unsent {
            *unsent = unsent.saturating_sub(data.remaining() as u64);
            self.ended |= *unsent == 0;
        }
    }

    fn judge_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(rule) = self.trailers.take() {
            self.failed = rule.judge(Some(trailers));
        }
    }

    /// The ending of a response that was sent: by what was said, else by the rule.
    fn ending(&mut self, word: Option<Word>) -> Ending {
        if let Some(word) = word {
            return word.into_ending();
        }
        if let Some(rule) = self.trailers.take() {
            self.failed = rule.judge(None);
        }
        self.failed.take().map_or(Ending::Completed, Ending::failed)
    }

    fn close(&mut self) {
        let Some(Closed { stack, word, .. }) = self.scope.close() else {
            return;
        };
        match (self.ended, self.completes, word) {
            (true, _, word) => close_now(stack, self.ending(word)),
            (false, true, word) => hand_over(stack, self.ending(word)),
            (false, false, Some(word)) => hand_over(stack, word.into_ending()),
            // The hub tells it that it was cancelled, or that a panic drops it.
            (false, false, None) => drop(stack),
        }
    }

    fn close_with(&self, ending: Ending) {
        if let Some(Closed { stack, word, .. }) = self.scope.close() {
            let ending = match ending {
                Ending::Panicked(_) => ending,
                ending => word.map_or(ending, Word::into_ending),
            };
            hand_over(stack, ending);
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.close();
    }
}

impl<B: Body<Error: Debug>> Body for RequestScopeBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = match catch_unwind(AssertUnwindSafe(|| inner.poll_frame(context))) {
            Ok(polled) => ready!(polled),
            Err(payload) => {
                // Should the drop panic as well, the first panic counts.
                let _ = catch_unwind(AssertUnwindSafe(|| this.inner.set(None)));
                this.closing.close_with(Ending::Panicked(tenure::panic_message(&*payload)));
                resume_unwind(payload)
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.closing.sent(data);
                }
                let inner = this.inner.as_ref().as_pin_ref();
                if let Some(trailers) = frame.trailers_ref() {
                    this.closing.judge_trailers(trailers);
                }
                this.closing.ended |= frame.is_trailers() || inner.is_some_and(|inner| inner.is_end_stream());
            }
            Some(Err(error)) => {
                let failed = RequestFailed::Body(format!("{error:?}"));
                this.inner.set(None);
                this.closing.close_with(Ending::failed(failed));
            }
            None => {
                this.closing.ended = true;
                this.inner.set(None);
                this.closing.close();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Debug> Debug for RequestScopeBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestScopeBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}
