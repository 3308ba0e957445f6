//! The enter, and then all the rest, in the same place.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

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
        Entering { #[pin] enter: Enter<C, F>, label: Label, stopped: Option<Box<WasStopped>>, after: Option<(S, G)> },
        Entered { #[pin] rest: A },
        Over,
    }
}

impl<C, F, S, G, A> Steps<C, F, S, G, A>
where
    C: FnOnce() -> F,
    F: Future,
    S: Stop,
{
    /// `then` makes the rest, or, if there is none, the result.
    pub(super) fn new(label: Label, enter: C, stop: S, then: G) -> Self {
        let enter = Enter::new(enter, stop.exit_limit());
        Self::Entering { enter, label, stopped: None, after: Some((stop, then)) }
    }
}

/// An enter that was stopped, and what it has left behind.
struct WasStopped {
    by: Stopped,
    left: Leftover,
}

/// Polls the enter; or, once it has been stopped, waits for what it has left behind: the end of a shielded enter, and its
/// exit (law 14).
#[inline]
fn poll_enter<C, F, S>(
    enter: Pin<&mut Enter<C, F>>,
    label: Label,
    stopped: &mut Option<Box<WasStopped>>,
    stop: &mut S,
    context: &mut Context<'_>,
) -> Poll<Entered<F::Output>>
where
    C: FnOnce() -> F,
    F: Future,
    S: Stop,
{
    let stopped = match stopped {
        Some(stopped) => stopped,
        None => match stop.poll_enter(context) {
            Poll::Pending => return enter.poll_kept(context),
            Poll::Ready(by) => {
                let stopped = stopped.insert(Box::new(WasStopped { by, left: Leftover::new(label) }));
                let frame = stopped.left.node().enter(context);
                enter.finish();
                drop(frame);
                stopped
            }
        },
    };
    ready!(stopped.left.poll_empty(context));
    Poll::Ready(Entered::Stopped(stopped.by))
}

/// Enters, unless `stop` is ready before; what an enter that was stopped has left behind is waited for.
pub(crate) async fn entered<C: IntoFuture>(
    label: Label,
    context: C,
    stop: &mut impl Stop,
) -> Entered<C::Output> {
    let mut enter = pin!(Enter::new(|| context.into_future(), stop.exit_limit()));
    let mut stopped = None;
    poll_fn(|context| poll_enter(enter.as_mut(), label, &mut stopped, stop, context)).await
}

/// Enters; what the enter's future panics with when it is dropped does not take the output along.
#[inline]
pub(crate) fn kept<C: IntoFuture>(
    context: C,
    exit_limit: Option<Duration>,
) -> Kept<impl FnOnce() -> C::IntoFuture, C::IntoFuture> {
    Kept { enter: Enter::new(|| context.into_future(), exit_limit) }
}

pin_project! {
    /// See [`kept`].
    pub(crate) struct Kept<C, F> {
        #[pin]
        enter: Enter<C, F>,
    }
}

impl<C, F> Future for Kept<C, F>
where
    C: FnOnce() -> F,
    F: Future,
{
    type Output = (F::Output, Option<Payload>);

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(self.project().enter.poll_kept(context)) {
            Entered::Output(output, panicked) => Poll::Ready((output, panicked)),
            Entered::Stopped(stopped) => unreachable!("nothing could have stopped it: {stopped}"),
        }
    }
}

thread_local! {
    /// The limit of the exit of what is entered by the enter that is being dropped.
    static EXIT_LIMIT: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// The time limit of the exit that follows a shielded enter, whose drop this is called in.
pub(crate) fn exit_limit_of_dropped() -> Option<Duration> {
    EXIT_LIMIT.try_with(Cell::get).ok().flatten()
}

pin_project! {
    /// An enter, with the limit of its exit: dropped, it leaves that to a shielded enter, which goes on without it.
    pub(super) struct Enter<C, F> {
        exit_limit: Option<Duration>,
        #[pin]
        lazy: Lazy<C, F>,
    }

    impl<C, F> PinnedDrop for Enter<C, F> {
        fn drop(this: Pin<&mut Self>) {
            if this.exit_limit.is_some() && !this.lazy.is_over() {
                this.finish();
            }
        }
    }
}

/// Takes the limit back.
struct Restore(Option<Duration>);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = EXIT_LIMIT.try_with(|limit| limit.set(self.0));
    }
}

impl<C, F> Enter<C, F> {
    /// Drops what is left.
    fn finish(self: Pin<&mut Self>) {
        let this = self.project();
        let _restore = Restore(EXIT_LIMIT.try_with(|limit| limit.replace(*this.exit_limit)).ok().flatten());
        this.lazy.finish();
    }
}

impl<C, F> Enter<C, F>
where
    C: FnOnce() -> F,
    F: Future,
{
    #[inline]
    fn new(enter: C, exit_limit: Option<Duration>) -> Self {
        Self { exit_limit, lazy: Lazy::new(enter) }
    }

    /// Polls; what its drop panics with does not take the output along.
    #[inline]
    fn poll_kept(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Entered<F::Output>> {
        let mut lazy = self.as_mut().project().lazy;
        let output = ready!(lazy.as_mut().poll_only(context));
        let panicked = if needs_drop::<F>() || needs_drop::<C>() {
            catch_unwind(AssertUnwindSafe(|| lazy.finish())).err()
        } else {
            lazy.finish();
            None
        };
        Poll::Ready(Entered::Output(output, panicked))
    }
}

impl<C, F, S, G, A> Future for Steps<C, F, S, G, A>
where
    C: FnOnce() -> F,
    F: Future,
    S: Stop,
    G: FnOnce(Label, S, Entered<F::Output>) -> Result<A, A::Output>,
    A: Future,
{
    type Output = A::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        if let StepsProjection::Entering { enter, label, stopped, after } = self.as_mut().project() {
            let (stop, _) = after.as_mut().expect("an enter that has panicked is not polled again");
            let label = *label;
            let entered = ready!(poll_enter(enter, label, stopped, stop, context));
            let (stop, then) = after.take().expect("it was there a moment ago");
            match then(label, stop, entered) {
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
