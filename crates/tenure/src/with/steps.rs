//! The enter, and then all the rest, in the same place.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::lazy::Lazy;
use super::leftover::Leftover;
use super::stop::{Stop, Stopped};
use crate::fault::Payload;
use crate::label::Label;

/// What came of an enter.
pub(crate) enum Entered<O> {
    /// What it returned; and the panic with which it was dropped, if it was.
    Output(O, Option<Payload>),
    Stopped(Stopped),
}

pin_project! {
    /// Polls the enter until it ends or `stop` is ready; then the future that `then` makes of it.
    ///
    /// An async block that awaits one after the other keeps room for both, and for the captures that it moves on.
    #[project = StepsProjection]
    pub(super) enum Steps<C, F, S, G, A> {
        Entering { #[pin] enter: Lazy<C, F>, left: Leftover, stopped: Option<Stopped>, after: Option<(S, G)> },
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
    pub(super) fn new(enter: C, stop: S, left: Leftover, then: G) -> Self {
        Self::Entering { enter: Lazy::new(enter), left, stopped: None, after: Some((stop, then)) }
    }
}

/// Polls the enter; or, once it has been stopped, waits for what it has left behind: the end of a shielded enter, and its
/// exit (law 14).
fn poll_enter<C, F, S>(
    enter: Pin<&mut Lazy<C, F>>,
    left: &mut Leftover,
    stopped: &mut Option<Stopped>,
    stop: &mut S,
    context: &mut Context<'_>,
) -> Poll<Entered<F::Output>>
where
    C: FnOnce() -> F,
    F: Future,
    S: Stop,
{
    if let (None, Poll::Ready(by)) = (&stopped, stop.poll_enter(context)) {
        *stopped = Some(by);
        let _frame = left.node().enter(context);
        enter.finish();
    } else if stopped.is_none() {
        let output = ready!(enter.poll_kept(context));
        return Poll::Ready(output);
    }
    ready!(left.poll_empty(context));
    Poll::Ready(Entered::Stopped(stopped.take().expect("it was just set, if not before")))
}

/// Enters, unless `stop` is ready before; what an enter that was stopped has left behind is waited for.
pub(crate) async fn entered<C: IntoFuture>(
    label: Label,
    context: C,
    stop: &mut impl Stop,
) -> Entered<C::Output> {
    let mut enter = pin!(Lazy::new(|| context.into_future()));
    let mut left = Leftover::new(label);
    let mut stopped = None;
    poll_fn(|context| poll_enter(enter.as_mut(), &mut left, &mut stopped, stop, context)).await
}

/// Enters; what the enter's future panics with when it is dropped does not take the output along.
pub(crate) async fn kept<C: IntoFuture>(context: C) -> (C::Output, Option<Payload>) {
    let mut enter = pin!(Lazy::new(|| context.into_future()));
    match poll_fn(|context| enter.as_mut().poll_kept(context)).await {
        Entered::Output(output, panicked) => (output, panicked),
        Entered::Stopped(stopped) => unreachable!("nothing could have stopped it: {stopped}"),
    }
}

impl<C, F> Lazy<C, F>
where
    C: FnOnce() -> F,
    F: Future,
{
    /// Polls; what its drop panics with does not take the output along.
    #[inline]
    fn poll_kept(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Entered<F::Output>> {
        let output = ready!(self.as_mut().poll_only(context));
        let panicked = catch_unwind(AssertUnwindSafe(|| self.finish())).err();
        Poll::Ready(Entered::Output(output, panicked))
    }
}

impl<C, F, S, G, A> Future for Steps<C, F, S, G, A>
where
    C: FnOnce() -> F,
    F: Future,
    S: Stop,
    G: FnOnce(S, Entered<F::Output>) -> Result<A, A::Output>,
    A: Future,
{
    type Output = A::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        if let StepsProjection::Entering { enter, left, stopped, after } = self.as_mut().project() {
            let (stop, _) = after.as_mut().expect("an enter that has panicked is not polled again");
            let entered = ready!(poll_enter(enter, left, stopped, stop, context));
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
