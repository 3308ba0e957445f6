//! What may stop a body from outside: a deadline, a token, any future.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep};

/// A tenure did not run its course: its body was stopped, or its exit was cut off.
///
/// Whatever it was, the caller gets this after the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// The body was dropped after it had run for this long.
    BodyTimeout(Duration),
    /// The token or future it was to stop by asked for it. The body was dropped, or not begun.
    Cancelled,
    /// The body completed, but its exit was dropped after this long, unfinished.
    ExitLimit(Duration),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyTimeout(limit) => {
                write!(f, "the body was stopped at its time limit of {limit:?}")
            }
            Self::Cancelled => f.write_str("the body was asked to stop"),
            Self::ExitLimit(limit) => {
                write!(f, "the exit was cut off at its time limit of {limit:?}")
            }
        }
    }
}

impl Error for Stopped {}

/// Where a request to stop comes from.
///
/// Polled, not awaited: futures named by a trait would hide from the compiler that the whole can be spawned.
pub(crate) trait Stop: Unpin + 'static {
    /// Ready when the enter has to stop.
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Stopped>;
    /// Ready when the body has to stop.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Stopped>;

    /// Drops what it asks, once there is nothing left that it could stop.
    fn forget(&mut self) {}

    /// How long the exit may run.
    fn exit_limit(&self) -> Option<Duration> {
        None
    }
}

/// Polls `enter`, unless a request to stop comes before its end.
pub(crate) async fn unless_stopped<F: Future>(stop: &mut impl Stop, enter: F) -> Result<F::Output, Stopped> {
    let mut enter = pin!(enter);
    poll_fn(|context| match stop.poll_enter(context) {
        Poll::Ready(stopped) => Poll::Ready(Err(stopped)),
        Poll::Pending => enter.as_mut().poll(context).map(Ok),
    })
    .await
}

/// Nobody stops it. Costs nothing.
pub(super) struct Never;

impl Stop for Never {
    fn poll_enter(&mut self, _: &mut Context<'_>) -> Poll<Stopped> {
        Poll::Pending
    }

    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Stopped> {
        Poll::Pending
    }
}

pub(super) type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A deadline for the body and requests for both, each if set.
pub(super) struct Requests {
    body_timeout: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    requests: Vec<Request>,
    exit_limit: Option<Duration>,
}

impl Requests {
    pub(super) fn new(
        body_timeout: Option<Duration>,
        requests: Vec<Request>,
        exit_limit: Option<Duration>,
    ) -> Self {
        Self { body_timeout, timer: None, requests, exit_limit }
    }
}

// Both are polled out of tokio's budget, lest a body that uses it all up is never stopped.
impl Stop for Requests {
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        let mut requests = self.requests.iter_mut();
        let asked = requests.any(|request| pin!(unconstrained(request)).poll(context).is_ready());
        if asked { Poll::Ready(Stopped::Cancelled) } else { Poll::Pending }
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        if let Poll::Ready(stopped) = self.poll_enter(context) {
            return Poll::Ready(stopped);
        }
        let Some(limit) = self.body_timeout else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        pin!(unconstrained(timer)).poll(context).map(|()| Stopped::BodyTimeout(limit))
    }

    fn forget(&mut self) {
        self.timer = None;
        self.requests = Vec::new();
    }

    fn exit_limit(&self) -> Option<Duration> {
        self.exit_limit
    }
}
