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
pub(crate) struct Custody<'t, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    // There until it is ready.
    future: Option<Pin<Box<F>>>,
    tenure: &'t mut Tenure,
}

impl<'t, F> Custody<'t, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    #[inline]
    pub(crate) fn new(future: F, tenure: &'t mut Tenure) -> Self {
        Self { future: Some(Box::pin(future)), tenure }
    }
}

impl<F> Future for Custody<'_, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, tenure } = self.get_mut();
        let polled = future.as_mut().expect("a future is not polled after its end").as_mut().poll(context);
        if polled.is_pending() {
            tenure.list(Phase::Exiting);
        }
        let output = ready!(polled);
        *future = None;
        output.count(tenure.is_counted());
        Poll::Ready(output)
    }
}

impl<F> Drop for Custody<'_, F>
where
    F: Future<Output: Settle> + Send + 'static,
{
    #[inline]
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.tenure.hand_over(future, Phase::Exiting);
        }
    }
}
