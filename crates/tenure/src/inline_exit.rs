//! An exit that is polled in place, by its caller, and handed over half-polled when the caller is dropped.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::frame;
use crate::job::{Begun, Settle};
use crate::registry::{self, Phase, RootKey};
use crate::scope::Gate;
use crate::tenure::Tenure;

/// Polls a boxed future inline, in the frame of its tenure. Dropped before its end, it hands the future over as it stands
/// (law 12).
///
/// The future must catch its own panics: it is polled again after a hand-over.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct InlineExit<'t, F, B>
where
    F: Future<Output: Settle> + Send + 'static,
    B: Begin,
{
    // There until it is ready.
    future: Option<Pin<Box<F>>>,
    tenure: &'t mut Tenure,
    begin: B,
    /// `true` if nobody waits for its end: dropped, it is not abandoned.
    is_detached: bool,
}

/// How an exit begins.
pub(crate) trait Begin: Unpin {
    /// Returns `true` if the body has ended in this very poll.
    fn is_behind_body(&mut self) -> bool;
    /// Returns `true` if it has to wait before it begins.
    fn waits(&self) -> bool;
    /// Ready when it need not wait any more.
    fn poll(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) -> Poll<()>;
}

/// An exit that waits for no sibling. `true` until its first poll, if that is the poll in which the body has ended.
pub(crate) struct AtOnce(bool);

impl Begin for AtOnce {
    #[inline]
    fn is_behind_body(&mut self) -> bool {
        mem::replace(&mut self.0, false)
    }

    #[inline]
    fn waits(&self) -> bool {
        false
    }

    #[inline]
    fn poll(&mut self, _: &mut Tenure, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// The exit of a guard, which may have to wait for those that were entered later.
pub(crate) enum InTurn {
    Unasked,
    Waiting(Box<Gate>),
    Begun,
}

impl Begin for InTurn {
    #[inline]
    fn is_behind_body(&mut self) -> bool {
        false
    }

    #[inline]
    fn waits(&self) -> bool {
        !matches!(self, Self::Begun)
    }

    #[inline]
    fn poll(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) -> Poll<()> {
        if frame::has_no_scopes() && !registry::has_root_scopes() {
            // Nothing was left anywhere that it would have to wait for.
            *self = Self::Begun;
            return Poll::Ready(());
        }
        self.poll_scopes(tenure, context)
    }
}

impl InTurn {
    #[cold]
    fn poll_scopes(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) -> Poll<()> {
        // Looked up at each poll: the code that waits may have moved.
        let (mut scopes, is_root) = frame::scopes_up_to(tenure.home());
        if is_root {
            scopes.extend(registry::current().root_scope(RootKey::here()));
        }
        let id = tenure.node.id();
        let mut gate = match mem::replace(self, Self::Unasked) {
            Self::Waiting(gate) => gate,
            Self::Unasked | Self::Begun => Box::default(),
        };
        if gate.poll(&scopes, id, context).is_pending() {
            *self = Self::Waiting(gate);
            tenure.list(Phase::Waiting, context);
            return Poll::Pending;
        }
        *self = Self::Begun;
        Poll::Ready(())
    }
}

impl<'t, F> InlineExit<'t, F, AtOnce>
where
    F: Future<Output: Settle> + Send + 'static,
{
    /// An exit that waits for no sibling.
    #[inline]
    pub(crate) fn new(future: F, tenure: &'t mut Tenure) -> Self {
        Self::begin(|| future, tenure, AtOnce(false))
    }

    /// The exit of a body that has just ended. To be polled at once: the place of the body is its own, if there was a body.
    ///
    /// The future is made where it stays: values that are put together in one place and then moved cost more than their
    /// instructions, since a load that is wider than the stores before it waits for them.
    #[inline]
    pub(crate) fn behind_body(tenure: &'t mut Tenure, has_body: bool, make: impl FnOnce() -> F) -> Self {
        Self::begin(make, tenure, AtOnce(has_body))
    }
}

impl<'t, F> InlineExit<'t, F, InTurn>
where
    F: Future<Output: Settle> + Send + 'static,
{
    /// The exit of a guard, by hand: it begins when those that were entered later, and are dropped, have ended.
    #[inline]
    pub(crate) fn of_guard(tenure: &'t mut Tenure, make: impl FnOnce() -> F) -> Self {
        Self::begin(make, tenure, InTurn::Unasked)
    }

    /// As [`of_guard`](Self::of_guard), by code that does not wait for its end.
    pub(crate) fn detached(tenure: &'t mut Tenure, make: impl FnOnce() -> F) -> Self {
        let mut exit = Self::of_guard(tenure, make);
        exit.is_detached = true;
        exit
    }
}

impl<'t, F, B> InlineExit<'t, F, B>
where
    F: Future<Output: Settle> + Send + 'static,
    B: Begin,
{
    #[inline]
    fn begin(make: impl FnOnce() -> F, tenure: &'t mut Tenure, begin: B) -> Self {
        let future = Box::write(Box::new_uninit(), make());
        Self { future: Some(Box::into_pin(future)), tenure, begin, is_detached: false }
    }
}

impl<F, B> Future for InlineExit<'_, F, B>
where
    F: Future<Output: Settle> + Send + 'static,
    B: Begin,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let frame = if this.begin.is_behind_body() {
            this.tenure.node.enter_behind_body(context)
        } else {
            if this.begin.waits() {
                ready!(this.begin.poll(this.tenure, context));
            }
            this.tenure.node.enter(context)
        };
        let future = this.future.as_mut().expect("a future is not polled after its end");
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            // In its frame: what it drops last is its own.
            this.future = None;
        }
        let place = frame.leave();
        if polled.is_pending() {
            this.tenure.list(Phase::Exiting, context);
        }
        let output = ready!(polled);
        this.tenure.count_exit(output.counts(), place);
        Poll::Ready(output)
    }
}

impl<F, B> Drop for InlineExit<'_, F, B>
where
    F: Future<Output: Settle> + Send + 'static,
    B: Begin,
{
    #[inline]
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let begun = match (self.is_detached, self.begin.waits()) {
                (true, true) => Begun::Guard,
                (true, false) => Begun::Branch,
                (false, true) => Begun::No,
                (false, false) => Begun::Inline,
            };
            self.tenure.hand_over(future, begun);
        }
    }
}
