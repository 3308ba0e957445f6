//! The body of a tenure, polled and dropped in its frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::lazy::Lazy;
use super::stop::{Stop, Stopped};
use crate::guarded::Payload;
use crate::registry::Phase;
use crate::tenure::Tenure;

/// How a body ended.
pub(crate) enum Ended<T, E> {
    Value(T),
    Error(E),
    Panic(Payload),
    Stopped(Stopped),
}

pin_project! {
    /// Polls the body until it ends or `stop` is ready. The body's own end wins a tie (law 14).
    ///
    /// However it ends, the body is dropped in the frame of its tenure, before the exit can begin (laws 11, 13).
    pub(crate) struct Body<'t, C, F, S>
    where
        C: FnOnce() -> F,
        F: Future,
    {
        tenure: &'t mut Tenure,
        stop: &'t mut S,
        #[pin]
        body: Lazy<C, F>,
    }

    impl<C, F, S> PinnedDrop for Body<'_, C, F, S>
    where
        C: FnOnce() -> F,
        F: Future,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.body.is_over() {
                let _frame = this.tenure.node.enter();
                this.body.finish();
            }
        }
    }
}

impl<'t, C, F, S> Body<'t, C, F, S>
where
    C: FnOnce() -> F,
    F: Future,
{
    #[inline]
    pub(crate) fn new(tenure: &'t mut Tenure, stop: &'t mut S, body: C) -> Self {
        Self { tenure, stop, body: Lazy::new(body) }
    }
}

impl<C, F, S, T, E> Future for Body<'_, C, F, S>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<T, E>>,
    S: Stop,
{
    type Output = Ended<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let frame = this.tenure.node.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| this.body.as_mut().poll(context)));
        let ended = match polled {
            Ok(Poll::Ready(Ok(value))) => Ended::Value(value),
            Ok(Poll::Ready(Err(error))) => Ended::Error(error),
            Err(payload) => {
                // Should the drop panic as well, the first panic counts.
                let _ = catch_unwind(AssertUnwindSafe(|| this.body.finish()));
                Ended::Panic(payload)
            }
            Ok(Poll::Pending) => {
                drop(frame);
                let Poll::Ready(stopped) = this.stop.poll_body(context) else {
                    this.tenure.list(Phase::Held);
                    return Poll::Pending;
                };
                let _frame = this.tenure.node.enter();
                match catch_unwind(AssertUnwindSafe(|| this.body.finish())) {
                    Ok(()) => Ended::Stopped(stopped),
                    Err(payload) => Ended::Panic(payload),
                }
            }
        };
        this.stop.forget();
        Poll::Ready(ended)
    }
}
