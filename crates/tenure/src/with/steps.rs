//! The enter, and then all the rest, in the same place.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::lazy::Lazy;
use super::stop::{Stop, Stopped};

pin_project! {
    /// Polls the enter until it ends or `stop` is ready; then the future that `then` makes of it.
    ///
    /// An async block that awaits one after the other keeps room for both, and for the captures that it moves on.
    #[project = StepsProjection]
    pub(super) enum Steps<C, F, S, G, A> {
        Entering { #[pin] enter: Lazy<C, F>, after: Option<(S, G)> },
        Entered { #[pin] rest: A },
        Over,
    }
}

impl<C, F, S, G, A> Steps<C, F, S, G, A>
where
    C: FnOnce() -> F,
    F: Future,
{
    /// `then` makes the rest, or, if there is none, the result.
    pub(super) fn new(enter: C, stop: S, then: G) -> Self {
        Self::Entering { enter: Lazy::new(enter), after: Some((stop, then)) }
    }
}

impl<C, F, S, G, A> Future for Steps<C, F, S, G, A>
where
    C: FnOnce() -> F,
    F: Future,
    S: Stop,
    G: FnOnce(S, Result<F::Output, Stopped>) -> Result<A, A::Output>,
    A: Future,
{
    type Output = A::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        if let StepsProjection::Entering { enter, after } = self.as_mut().project() {
            let (stop, _) = after.as_mut().expect("an enter that has panicked is not polled again");
            let entered = match stop.poll_enter(context) {
                Poll::Ready(stopped) => {
                    enter.finish();
                    Err(stopped)
                }
                Poll::Pending => Ok(ready!(enter.poll(context))),
            };
            let (stop, then) = after.take().expect("it was there a moment ago");
            match then(stop, entered) {
                Ok(rest) => self.set(Self::Entered { rest }),
                Err(result) => {
                    self.set(Self::Over);
                    return Poll::Ready(result);
                }
            }
        }
        match self.project() {
            StepsProjection::Entered { rest } => rest.poll(context),
            _ => unreachable!("a future is not polled after its end"),
        }
    }
}
