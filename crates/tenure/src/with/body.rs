//! The body of a tenure, polled and dropped in its frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::lazy::Lazy;
use super::stop::{Stop, Stopped};
use crate::exit::StopBody;
use crate::fault::{Payload, drop_payload, quietly};
use crate::registry::Phase;
use crate::tenure::Tenure;

/// How a body ended.
pub(crate) enum Ended<T, E> {
    Value(T),
    Error(E),
    Panic(Payload),
    Stopped(Stopped),
    /// The resource has stopped it: a task group, one of whose children failed. Its exit says why.
    Resource,
    /// The process ends, and has asked it to stop.
    Process,
}

pin_project! {
    /// Polls the body until it ends or is stopped. The body's own end wins a tie (law 14).
    ///
    /// However it ends, the body is dropped in the frame of its tenure, before the exit can begin (laws 11, 13).
    pub(crate) struct Body<'t, C, F, S>
    where
        C: FnOnce() -> F,
        F: Future,
    {
        tenure: &'t mut Tenure,
        stop: &'t mut S,
        by_resource: Option<StopBody>,
        #[pin]
        body: Lazy<C, F>,
    }

    impl<C, F, S> PinnedDrop for Body<'_, C, F, S>
    where
        C: FnOnce() -> F,
        F: Future,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if !this.body.is_over() {
                let _frame = this.tenure.node.enter_to_drop();
                this.body.finish();
            }
        }
    }
}

impl<'t, C, F, S> Body<'t, C, F, S>
where
    C: FnOnce() -> F,
    F: Future,
{
    #[inline]
    pub(crate) fn new(tenure: &'t mut Tenure, stop: &'t mut S, by_resource: Option<StopBody>, body: C) -> Self {
        Self { tenure, stop, by_resource, body: Lazy::new(body) }
    }
}

impl<C, F, S, T, E> Future for Body<'_, C, F, S>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<T, E>>,
    S: Stop,
{
    type Output = Ended<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let frame = this.tenure.node.enter_body(context);
        let polled = catch_unwind(AssertUnwindSafe(|| this.body.as_mut().poll_only(context)));
        let ended = match polled {
            Ok(Poll::Ready(Ok(value))) => Ended::Value(value),
            Ok(Poll::Ready(Err(error))) => Ended::Error(error),
            Err(payload) => Ended::Panic(payload),
            Ok(Poll::Pending) => {
                drop(frame);
                let asked = catch_unwind(AssertUnwindSafe(|| match this.stop.poll_body(context) {
                    Poll::Ready(stopped) => Poll::Ready(Ended::Stopped(stopped)),
                    Poll::Pending => match this.by_resource {
                        Some(asked) => asked.poll_stop(context).map(|()| Ended::Resource),
                        None => Poll::Pending,
                    },
                }));
                let ended = match asked {
                    Ok(Poll::Ready(ended)) => ended,
                    // What asks it to stop has panicked: as if the body had.
                    Err(payload) => Ended::Panic(payload),
                    Ok(Poll::Pending) => {
                        this.tenure.list(Phase::Held, context);
                        if !this.tenure.is_asked_to_stop() || !this.stop.stops_with_process() {
                            return Poll::Pending;
                        }
                        if S::CAN_STOP { Ended::Stopped(Stopped::Cancelled) } else { Ended::Process }
                    }
                };
                let _frame = this.tenure.node.enter_body(context);
                return Poll::Ready(finish(ended, this.body, *this.stop));
            }
        };
        Poll::Ready(finish(ended, this.body, *this.stop))
    }
}

/// Drops what is left, in the frame of the tenure. A panic of that is the body's, unless it had panicked before.
#[inline]
fn finish<C, F, S, T, E>(ended: Ended<T, E>, body: Pin<&mut Lazy<C, F>>, stop: &mut S) -> Ended<T, E>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<T, E>>,
    S: Stop,
{
    let ended = match catch_unwind(AssertUnwindSafe(|| body.finish())) {
        Ok(()) => ended,
        Err(payload) => panicked_last(ended, payload),
    };
    if S::CAN_STOP {
        quietly(|| stop.forget());
    }
    ended
}

#[cold]
fn panicked_last<T, E>(ended: Ended<T, E>, payload: Payload) -> Ended<T, E> {
    if let Ended::Panic(first) = ended {
        drop_payload(payload);
        return Ended::Panic(first);
    }
    quietly(|| drop(ended));
    Ended::Panic(payload)
}
