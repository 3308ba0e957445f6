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
pub(crate) struct InlineExit<'t, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    // There until it is ready.
    future: Option<Pin<Box<F>>>,
    tenure: &'t mut Tenure,
    stage: Stage,
    /// Whether nobody waits for its end: dropped, it is not abandoned.
    is_detached: bool,
}

/// What is to be done at its next poll.
enum Stage {
    /// It begins, in the poll in which the body has ended.
    BehindBody,
    /// It is a guard's, and may have to wait before it begins.
    Guard,
    /// It waits for those that were entered later.
    Waiting(Box<Gate>),
    Exiting,
}

impl<'t, F> InlineExit<'t, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    /// An exit that waits for no sibling.
    #[inline]
    pub(crate) fn new(future: F, tenure: &'t mut Tenure) -> Self {
        Self::begin(|| future, tenure, Stage::Exiting)
    }

    /// The exit of a body that has just ended. To be polled at once: the place of the body is its own.
    ///
    /// The future is made where it stays: values that are put together in one place and then moved cost more than their
    /// instructions, since a load that is wider than the stores before it waits for them.
    #[inline]
    pub(crate) fn behind_body(tenure: &'t mut Tenure, make: impl FnOnce() -> F) -> Self {
        Self::begin(make, tenure, Stage::BehindBody)
    }

    /// The exit of a guard, by hand: it begins when those that were entered later, and are dropped, have ended.
    #[inline]
    pub(crate) fn of_guard(tenure: &'t mut Tenure, make: impl FnOnce() -> F) -> Self {
        Self::begin(make, tenure, Stage::Guard)
    }

    /// As [`of_guard`](Self::of_guard), by code that does not wait for its end.
    pub(crate) fn detached(tenure: &'t mut Tenure, make: impl FnOnce() -> F) -> Self {
        let mut exit = Self::of_guard(tenure, make);
        exit.is_detached = true;
        exit
    }

    #[inline]
    fn begin(make: impl FnOnce() -> F, tenure: &'t mut Tenure, stage: Stage) -> Self {
        let future = Box::write(Box::new_uninit(), make());
        Self { future: Some(Box::into_pin(future)), tenure, stage, is_detached: false }
    }

    /// Ready when it may begin.
    #[inline]
    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if frame::has_no_scopes() && !self.tenure.has_root_scopes() {
            // Nothing was left anywhere that it would have to wait for.
            self.stage = Stage::Exiting;
            return Poll::Ready(());
        }
        self.poll_scopes(context)
    }

    #[cold]
    fn poll_scopes(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Looked up at each poll: the code that waits may have moved.
        let (mut scopes, is_root) = frame::scopes_up_to(self.tenure.home());
        if is_root {
            scopes.extend(registry::current().root_scope(RootKey::here()));
        }
        let id = self.tenure.node.id();
        let mut gate = match mem::replace(&mut self.stage, Stage::Guard) {
            Stage::Waiting(gate) => gate,
            _ => Box::default(),
        };
        if gate.poll(&scopes, id, context).is_pending() {
            self.stage = Stage::Waiting(gate);
            self.tenure.list(Phase::Waiting, context);
            return Poll::Pending;
        }
        self.stage = Stage::Exiting;
        Poll::Ready(())
    }
}

impl<F> Future for InlineExit<'_, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let frame = match this.stage {
            Stage::BehindBody => {
                this.stage = Stage::Exiting;
                this.tenure.node.enter_behind_body(context)
            }
            Stage::Guard | Stage::Waiting(_) => {
                ready!(this.poll_gate(context));
                this.tenure.node.enter(context)
            }
            Stage::Exiting => this.tenure.node.enter(context),
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

impl<F> Drop for InlineExit<'_, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    #[inline]
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let waits = matches!(self.stage, Stage::Guard | Stage::Waiting(_));
            let begun = match (self.is_detached, waits) {
                (true, true) => Begun::Guard,
                (true, false) => Begun::Branch,
                (false, true) => Begun::No,
                (false, false) => Begun::Inline,
            };
            self.tenure.hand_over(future, begun);
        }
    }
}
