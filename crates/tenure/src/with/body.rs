//! The body of a tenure, polled and dropped in its frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::stop::{Stop, Stopped};
use crate::guarded::Payload;
use crate::registry::Phase;
use crate::tenure::Tenure;

/// How a body ended.
pub(crate) enum Ended<T, E> {
    Value(T),
    Error(E),
    Panic(Payload),
    Stopped(Stopped),
}

pin_project! {
    /// Polls the body until it ends or `stop` is ready. The body's own end wins a tie (law 14).
    ///
    /// However it ends, the body is dropped in the frame of its tenure, before the exit can begin (laws 11, 13).
    pub(crate) struct Body<'t, F, S> {
        tenure: &'t mut Tenure,
        #[pin]
        body: Option<F>,
        stop: S,
    }

    impl<F, S> PinnedDrop for Body<'_, F, S> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.body.is_some() {
                let _frame = this.tenure.node.enter();
                this.body.set(None);
            }
        }
    }
}

impl<'t, F, S> Body<'t, F, S> {
    pub(crate) fn new(tenure: &'t mut Tenure, body: F, stop: S) -> Self {
        Self { tenure, body: Some(body), stop }
    }
}

impl<F, S, T, E> Future for Body<'_, F, S>
where
    F: Future<Output = Result<T, E>>,
    S: Stop,
{
    type Output = Ended<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let frame = this.tenure.node.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let Some(body) = this.body.as_mut().as_pin_mut() else {
                unreachable!("a body is not polled after its end");
            };
            let polled = body.poll(context);
            if polled.is_ready() {
                this.body.set(None);
            }
            polled
        }));
        let ended = match polled {
            Ok(Poll::Ready(Ok(value))) => Ended::Value(value),
            Ok(Poll::Ready(Err(error))) => Ended::Error(error),
            Err(payload) => {
                // Should the drop panic as well, the first panic counts.
                let _ = catch_unwind(AssertUnwindSafe(|| this.body.set(None)));
                Ended::Panic(payload)
            }
            Ok(Poll::Pending) => {
                drop(frame);
                let Poll::Ready(stopped) = this.stop.poll_body(context) else {
                    this.tenure.list(Phase::Held);
                    return Poll::Pending;
                };
                let _frame = this.tenure.node.enter();
                match catch_unwind(AssertUnwindSafe(|| this.body.set(None))) {
                    Ok(()) => Ended::Stopped(stopped),
                    Err(payload) => Ended::Panic(payload),
                }
            }
        };
        Poll::Ready(ended)
    }
}
