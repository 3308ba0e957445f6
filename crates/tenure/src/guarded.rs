//! An exit's future, kept from doing harm: its panics are caught, its time is limited.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep};

use crate::frame::Label;
use crate::job::{Record, Settle};
use crate::registry::{Count, Incident, IncidentKind, Registry};
use crate::tenure::count_exited;

pub(crate) type Payload = Box<dyn Any + Send>;

/// Why an exit did not end well.
pub(crate) enum Fault<X> {
    Failed(X),
    Panicked(Payload),
    TimedOut(Duration),
}

impl<X> Fault<X> {
    pub(crate) fn count(&self) -> Count {
        match self {
            Self::Failed(_) => Count::Failed,
            Self::Panicked(_) => Count::Panicked,
            Self::TimedOut(_) => Count::TimedOut,
        }
    }

    /// Reports a fault that is nobody's result.
    pub(crate) fn report(&self, registry: &Registry, label: Label) -> Incident
    where
        X: fmt::Debug,
    {
        match self {
            Self::Failed(error) => registry.report(IncidentKind::ExitFailed, label, describe(error)),
            Self::Panicked(payload) => {
                registry.report(IncidentKind::ExitPanicked, label, panic_message(&**payload))
            }
            Self::TimedOut(limit) => {
                registry.report(IncidentKind::ExitTimedOut, label, format!("its limit was {limit:?}"))
            }
        }
    }
}

/// The error in words. An error that cannot print itself must not keep the exits of others from running.
pub(crate) fn describe(error: &dyn fmt::Debug) -> String {
    catch_unwind(AssertUnwindSafe(|| format!("{error:?}")))
        .unwrap_or_else(|_| "an error whose `Debug` panics".to_owned())
}

/// The message of a panic, as the panic hook prints it.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic whose payload is not a string".to_owned()
    }
}

/// What an exit without a caller has come to: it is counted, and a fault is reported.
impl<V, X: fmt::Debug> Settle for Result<V, Fault<X>> {
    #[inline]
    fn count(&self, entered: bool) {
        count_exited(entered, self.as_ref().err().map(Fault::count));
    }

    fn settle(self, record: &Record) {
        if let Err(fault) = &self {
            record.fault(fault);
        }
    }
}

pin_project! {
    /// Polls `future` to its end or its panic; then drops it at once.
    ///
    /// Once it has panicked it is never polled again (law 12).
    #[project = CaughtProjection]
    pub(crate) enum Caught<F> {
        Running { #[pin] future: F },
        /// The call that should have made the future has panicked.
        Panicked { payload: Option<Payload> },
        Over,
    }
}

impl<F> Caught<F> {
    #[inline]
    pub(crate) fn new(future: F) -> Self {
        Self::Running { future }
    }

    /// Calls an exit. Should the call panic, that is the exit's panic.
    #[inline]
    pub(crate) fn call(exit: impl FnOnce() -> F) -> Self {
        match catch_unwind(AssertUnwindSafe(exit)) {
            Ok(future) => Self::Running { future },
            Err(payload) => Self::Panicked { payload: Some(payload) },
        }
    }

    /// Drops the future.
    fn finish(mut self: Pin<&mut Self>) {
        self.set(Self::Over);
    }
}

impl<F, V, X> Future for Caught<F>
where
    F: Future<Output = Result<V, X>>,
{
    type Output = Result<V, Fault<X>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let polled = match self.as_mut().project() {
                CaughtProjection::Running { future } => future.poll(context),
                CaughtProjection::Panicked { payload } => resume_unwind(payload.take().expect(ENDED)),
                CaughtProjection::Over => unreachable!("{ENDED}"),
            };
            if polled.is_ready() {
                // Dropped inside the guard: what the drop panics with is the exit's panic.
                self.as_mut().finish();
            }
            polled
        }));
        match polled {
            Ok(polled) => polled.map_err(Fault::Failed),
            Err(payload) => {
                // What panicked is dropped, not polled; should the drop panic as well, the first panic counts.
                let _ = catch_unwind(AssertUnwindSafe(|| self.finish()));
                Poll::Ready(Err(Fault::Panicked(payload)))
            }
        }
    }
}

const ENDED: &str = "an exit is not polled after its end";

pin_project! {
    /// A [`Caught`] future that is dropped at its time limit.
    pub(crate) struct Guarded<F> {
        #[pin]
        caught: Caught<F>,
        limit: Option<Duration>,
        // Made at the first suspension: an exit that never waits needs no timer.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Guarded<F> {
    pub(crate) fn new(future: F, limit: Option<Duration>) -> Self {
        Self { caught: Caught::new(future), limit, timer: None }
    }
}

impl<F, V, X> Future for Guarded<F>
where
    F: Future<Output = Result<V, X>>,
{
    type Output = Result<V, Fault<X>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(ended) = this.caught.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        let Some(limit) = *this.limit else { return Poll::Pending };
        let in_time = catch_unwind(AssertUnwindSafe(|| {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
            // Out of tokio's budget, lest an exit that uses it all up is never out of time.
            ready!(Pin::new(&mut unconstrained(timer)).poll(context));
            this.caught.finish();
            Poll::Ready(())
        }));
        match in_time {
            Ok(passed) => passed.map(|()| Err(Fault::TimedOut(limit))),
            // The runtime has no timer, or the resource's `Drop` panicked.
            Err(payload) => Poll::Ready(Err(Fault::Panicked(payload))),
        }
    }
}
