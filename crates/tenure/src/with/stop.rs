//! What may stop a body from outside: a deadline, a token, any future.

use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep};

use crate::fault::quietly;

/// A tenure did not run its course: its body was stopped, or its exit was cut off.
///
/// Whatever it was, the caller gets this after the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// The enter was dropped after it had run for this long.
    EnterTimeout(Duration),
    /// The body was dropped after it had run for this long.
    BodyTimeout(Duration),
    /// The enter or the body was dropped after both together had run for this long.
    Timeout(Duration),
    /// The token or future it was to stop by asked for it. The body was dropped, or not begun.
    Cancelled,
    /// The body completed, but its exit was dropped after this long, unfinished.
    ExitLimit(Duration),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnterTimeout(limit) => {
                write!(f, "the enter was stopped at its time limit of {limit:?}")
            }
            Self::Timeout(limit) => {
                write!(f, "enter and body were stopped at their time limit of {limit:?}")
            }
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
    /// Whether it ever does.
    const CAN_STOP: bool = true;

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

    /// Returns `true` if the body stops because the process ends.
    fn stops_with_process(&self) -> bool {
        true
    }
}

/// Nobody stops it. Costs nothing.
pub(super) struct Never;

impl Stop for Never {
    const CAN_STOP: bool = false;

    fn poll_enter(&mut self, _: &mut Context<'_>) -> Poll<Stopped> {
        Poll::Pending
    }

    fn poll_body(&mut self, _: &mut Context<'_>) -> Poll<Stopped> {
        Poll::Pending
    }
}

pub(super) type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) type StaysWhile = Box<dyn Fn() -> bool + Send>;

/// A time limit, if there is one. Its clock starts with the first poll.
#[derive(Default)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None }
    }

    /// Ready with the limit when it has passed.
    #[inline]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        self.limit.map_or(Poll::Pending, |limit| self.poll_timer(limit, context))
    }

    /// Out of tokio's budget, lest a body that uses it all up is never stopped.
    fn poll_timer(&mut self, limit: Duration, context: &mut Context<'_>) -> Poll<Duration> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        pin!(unconstrained(timer)).poll(context).map(|()| limit)
    }
}

/// Deadlines and requests, each if set.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) enter: Deadline,
    pub(super) body: Deadline,
    pub(super) whole: Deadline,
    pub(super) requests: Vec<Request>,
    pub(super) exit_limit: Option<Duration>,
    pub(super) stays_while: Option<StaysWhile>,
}

impl Requests {
    #[inline]
    fn poll_both(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        let mut requests = self.requests.iter_mut();
        // Out of tokio's budget, as a deadline is.
        if requests.any(|request| pin!(unconstrained(request)).poll(context).is_ready()) {
            return Poll::Ready(Stopped::Cancelled);
        }
        self.whole.poll(context).map(Stopped::Timeout)
    }
}

impl Stop for Requests {
    #[inline]
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        if let Poll::Ready(stopped) = self.poll_both(context) {
            return Poll::Ready(stopped);
        }
        self.enter.poll(context).map(Stopped::EnterTimeout)
    }

    #[inline]
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        if let Poll::Ready(stopped) = self.poll_both(context) {
            return Poll::Ready(stopped);
        }
        self.body.poll(context).map(Stopped::BodyTimeout)
    }

    fn forget(&mut self) {
        let exit_limit = self.exit_limit;
        *self = Self { exit_limit, ..Self::default() };
    }

    fn exit_limit(&self) -> Option<Duration> {
        self.exit_limit
    }

    fn stops_with_process(&self) -> bool {
        let mut stays = false;
        if let Some(is_left) = &self.stays_while {
            quietly(|| stays = is_left());
        }
        !stays
    }
}
