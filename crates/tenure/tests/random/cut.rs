//! A future that is dropped at a suspension, by who polls it or by its runtime.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};

use tokio::task::AbortHandle;

use super::machine::state::Event;
use super::world::{Boxed, Shared};

/// What becomes of a future at the suspension at which it is cut.
pub(crate) enum Blade {
    /// It is dropped in the very poll.
    Drop,
    /// Its task is aborted, and dropped by the runtime.
    Abort(Arc<OnceLock<AbortHandle>>),
}

/// Cuts its future at a suspension.
pub(crate) struct Cut<F> {
    pub(crate) inner: Option<Boxed<F>>,
    /// How many suspensions go by before that; `None` for all of them.
    pub(crate) left: Option<usize>,
    pub(crate) blade: Blade,
    /// Who notes that the whole is dropped, if this is the whole.
    pub(crate) noted: Option<Shared>,
}

impl<F> Future for Cut<F> {
    type Output = Option<F>;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<F>> {
        let this = self.get_mut();
        let inner = this.inner.as_mut().expect("it is not polled after its end");
        if let Poll::Ready(output) = inner.as_mut().poll(context) {
            this.inner = None;
            return Poll::Ready(Some(output));
        }
        match (&mut this.left, &this.blade) {
            (None, _) => Poll::Pending,
            (Some(0), Blade::Drop) => {
                this.end();
                Poll::Ready(None)
            }
            (Some(0), Blade::Abort(task)) => {
                task.get().expect("the task was spawned before it was polled").abort();
                Poll::Pending
            }
            (Some(left), _) => {
                *left -= 1;
                Poll::Pending
            }
        }
    }
}

impl<F> Cut<F> {
    fn end(&mut self) {
        if let (Some(run), true) = (&self.noted, self.inner.is_some()) {
            run.note(Event::Cancelled);
        }
        self.inner = None;
    }
}

impl<F> Drop for Cut<F> {
    fn drop(&mut self) {
        self.end();
    }
}
