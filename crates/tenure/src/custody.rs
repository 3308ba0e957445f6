//! An exit in the custody of its caller: polled in place, and handed over half-polled when the caller is dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::job::Settle;
use crate::registry::Phase;
use crate::tenure::Tenure;

/// Polls a boxed future inline. Dropped before its end, it hands the future over as it stands (law 12).
///
/// The future must catch its own panics: it is polled again after a hand-over.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Custody<F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    // Both are there until the future is ready.
    kept: Option<(Pin<Box<F>>, Tenure)>,
}

impl<F> Custody<F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    pub(crate) fn new(future: F, tenure: Tenure) -> Self {
        Self { kept: Some((Box::pin(future), tenure)) }
    }
}

impl<F> Future for Custody<F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (future, tenure) = self.kept.as_mut().expect("a future is not polled after its end");
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            tenure.list(Phase::Exiting);
        }
        let output = ready!(polled);
        self.kept = None;
        Poll::Ready(output)
    }
}

impl<F> Drop for Custody<F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    fn drop(&mut self) {
        if let Some((future, mut tenure)) = self.kept.take() {
            tenure.hand_over(future, Phase::Exiting);
        }
    }
}
