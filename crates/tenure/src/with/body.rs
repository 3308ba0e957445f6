//! The body of a tenure, polled and dropped in its frame.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::guard::Watched;
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
    pub(super) struct Body<'t, C, F, S>
    where
        C: FnOnce() -> F,
        F: Future,
    {
        watched: &'t mut Watched<S>,
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
                let _frame = this.watched.tenure.node.enter_to_drop();
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
    pub(super) fn new(watched: &'t mut Watched<S>, by_resource: Option<StopBody>, body: C) -> Self {
        Self { watched, by_resource, body: Lazy::new(body) }
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
        let Watched { tenure, stop } = &mut **this.watched;
        let frame = tenure.node.enter_body(context);
        let mut result = None;
        // One catch around the poll and the drop that follows: it is entered each time.
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if let Poll::Ready(ended) = this.body.as_mut().poll_only(context) {
                result = Some(ended);
                this.body.as_mut().finish();
            }
        }));
        let ended = match (caught, result) {
            (Ok(()), Some(Ok(value))) => Ended::Value(value),
            (Ok(()), Some(Err(error))) => Ended::Error(error),
            (Ok(()), None) => {
                drop(frame);
                let ended = ready!(poll_stop(tenure, stop, this.by_resource.as_ref(), context));
                let _frame = tenure.node.enter_body(context);
                let ended = finish(ended, this.body);
                forget(stop);
                return Poll::Ready(ended);
            }
            (Err(payload), None) => finish(Ended::Panic(payload), this.body),
            // What its future panics with when it is dropped is the body's panic.
            (Err(payload), Some(result)) => {
                quietly(|| drop(result));
                Ended::Panic(payload)
            }
        };
        forget(stop);
        Poll::Ready(ended)
    }
}

/// Ready if a body that is not at its end is to be dropped. Else the tenure is listed.
#[inline]
fn poll_stop<S: Stop, T, E>(
    tenure: &mut Tenure,
    stop: &mut S,
    by_resource: Option<&StopBody>,
    context: &mut Context<'_>,
) -> Poll<Ended<T, E>> {
    if S::CAN_STOP || by_resource.is_some() {
        let asked = catch_unwind(AssertUnwindSafe(|| match (stop.poll_body(context), by_resource) {
            (Poll::Ready(stopped), _) => Poll::Ready(Ended::Stopped(stopped)),
            (Poll::Pending, Some(asked)) => asked.poll_stop(context).map(|()| Ended::Resource),
            (Poll::Pending, None) => Poll::Pending,
        }));
        match asked {
            Ok(Poll::Pending) => {}
            Ok(ended) => return ended,
            // What asks it to stop has panicked: as if the body had.
            Err(payload) => return Poll::Ready(Ended::Panic(payload)),
        }
    }
    tenure.list(Phase::Held, context);
    if !tenure.is_asked_to_stop() {
        return Poll::Pending;
    }
    Poll::Ready(if S::CAN_STOP { Ended::Stopped(Stopped::Cancelled) } else { Ended::Process })
}

/// Drops the body of a tenure that has not ended, in its frame. A panic of that is the body's, unless it had panicked before.
#[cold]
fn finish<C, F, T, E>(ended: Ended<T, E>, body: Pin<&mut Lazy<C, F>>) -> Ended<T, E> {
    match catch_unwind(AssertUnwindSafe(|| body.finish())) {
        Ok(()) => ended,
        Err(payload) => panicked_last(ended, payload),
    }
}

/// Drops what could have stopped the body.
#[inline]
fn forget<S: Stop>(stop: &mut S) {
    if S::CAN_STOP {
        quietly(|| stop.forget());
    }
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
