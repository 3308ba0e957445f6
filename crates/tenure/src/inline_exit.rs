//! An exit that is polled in place, by its caller, and handed over half-polled when the caller is dropped.

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
    /// There until a guard may begin.
    gate: Option<Gate>,
    /// Whether nobody waits for its end: dropped, it is not abandoned.
    is_detached: bool,
}

impl<'t, F> InlineExit<'t, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    /// The exit of a body, which waits for no sibling.
    #[inline]
    pub(crate) fn new(future: F, tenure: &'t mut Tenure) -> Self {
        Self { future: Some(Box::pin(future)), tenure, gate: None, is_detached: false }
    }

    /// The exit of a guard, by hand: it begins when those that were entered later, and are dropped, have ended.
    pub(crate) fn of_guard(future: F, tenure: &'t mut Tenure) -> Self {
        Self { future: Some(Box::pin(future)), tenure, gate: Some(Gate::default()), is_detached: false }
    }

    /// As [`of_guard`](Self::of_guard), by code that does not wait for its end.
    pub(crate) fn detached(future: F, tenure: &'t mut Tenure) -> Self {
        Self { future: Some(Box::pin(future)), tenure, gate: Some(Gate::default()), is_detached: true }
    }

    #[cold]
    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(gate) = &mut self.gate else { return Poll::Ready(()) };
        // Looked up at each poll: the code that waits may have moved.
        let (mut scopes, is_root) = frame::scopes_up_to(self.tenure.home());
        if is_root {
            scopes.extend(registry::current().root_scope(RootKey::here()));
        }
        let id = self.tenure.node.id();
        if gate.poll(&scopes, id, context).is_pending() {
            self.tenure.list(Phase::Waiting, context);
            return Poll::Pending;
        }
        self.gate = None;
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
        if this.gate.is_some() {
            ready!(this.poll_gate(context));
        }
        let future = this.future.as_mut().expect("a future is not polled after its end");
        let frame = this.tenure.node.enter(context);
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            // In its frame: what it drops last is its own.
            this.future = None;
        }
        drop(frame);
        if polled.is_pending() {
            this.tenure.list(Phase::Exiting, context);
        }
        let output = ready!(polled);
        this.tenure.count_exit(&output, context);
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
            let begun = match (self.is_detached, &self.gate) {
                (true, Some(_)) => Begun::Guard,
                (true, None) => Begun::Branch,
                (false, Some(_)) => Begun::No,
                (false, None) => Begun::Inline,
            };
            self.tenure.hand_over(future, begun);
        }
    }
}
