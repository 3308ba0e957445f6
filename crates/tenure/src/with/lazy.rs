//! A future that is made where it is polled.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// Calls, then polls what the call has returned.
    ///
    /// `async move { call().await }` does the same, but keeps room for both the call's captures and the future.
    #[project = LazyProjection]
    pub(crate) enum Lazy<C, F> {
        Uncalled { call: Option<C> },
        Called { #[pin] future: F },
        Over,
    }
}

impl<C, F> Lazy<C, F>
where
    C: FnOnce() -> F,
    F: Future,
{
    #[inline]
    pub(crate) fn new(call: C) -> Self {
        Self::Uncalled { call: Some(call) }
    }
}

impl<C, F> Lazy<C, F> {
    /// Of the pinned future, for a shared reference to it would end the borrows that it holds of itself.
    pub(crate) fn is_over(self: Pin<&mut Self>) -> bool {
        matches!(self.project(), LazyProjection::Over)
    }

    /// Drops what is left.
    pub(crate) fn finish(mut self: Pin<&mut Self>) {
        self.set(Self::Over);
    }
}

impl<C, F> Lazy<C, F>
where
    C: FnOnce() -> F,
    F: Future,
{
    /// Polls, and drops nothing.
    #[inline]
    pub(crate) fn poll_only(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let LazyProjection::Uncalled { call } = self.as_mut().project() {
            let call = call.take().expect("what has panicked is not polled again");
            self.set(Self::Called { future: call() });
        }
        let LazyProjection::Called { future } = self.as_mut().project() else {
            unreachable!("a future is not polled after its end");
        };
        future.poll(context)
    }
}
