//! A call of a manager, with its time limit and with its panics caught.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use crate::clock::NEVER;
use crate::manager::BoxError;

/// How a call of a manager ended that did not end with a result.
#[derive(Debug)]
enum Mishap {
    Panicked(String),
    TimedOut(Duration),
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the manager panicked: {message}"),
            Self::TimedOut(limit) => write!(f, "the manager did not end within {limit:?}"),
        }
    }
}

impl Error for Mishap {}

/// What went wrong in a call of a manager, and whether the manager thinks it is so for good.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: BoxError,
    pub(crate) is_permanent: bool,
}

impl Failed {
    fn mishap(mishap: Mishap) -> Self {
        Self { error: Box::new(mishap), is_permanent: false }
    }
}

/// Awaits a call of a manager. The first poll comes before a timer is made, so that a call that returns at
/// once costs no clock read. A future that panicked is not polled again.
pub(crate) async fn guarded<T, E, F>(
    limit_nanos: u64,
    is_permanent: impl Fn(&E) -> bool,
    call: impl FnOnce() -> F,
) -> Result<T, Failed>
where
    E: Into<BoxError>,
    F: Future<Output = Result<T, E>>,
{
    // Inside the block, also a panic of `call` itself is a panic of a poll.
    let mut future = pin!(async { call().await });
    let mut timer = pin!(None::<Sleep>);
    let ended = poll_fn(|cx| {
        let polled = panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(payload) => return Poll::Ready(Err(Mishap::Panicked(message(&*payload)))),
        }
        if limit_nanos == NEVER {
            return Poll::Pending;
        }
        let limit = Duration::from_nanos(limit_nanos);
        // Off the runtime there is no timer; the holder of this future is then on its own.
        if timer.is_none() && Handle::try_current().is_ok() {
            timer.set(Some(sleep(limit)));
        }
        poll_timer(timer.as_mut().as_pin_mut(), cx).map(|()| Err(Mishap::TimedOut(limit)))
    });
    match ended.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let is_permanent = is_permanent(&error);
            Err(Failed { error: error.into(), is_permanent })
        }
        Err(mishap) => Err(Failed::mishap(mishap)),
    }
}

fn poll_timer(timer: Option<std::pin::Pin<&mut Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    timer.map_or(Poll::Pending, |timer| timer.poll(cx))
}

/// The message of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is no text".to_owned()
    }
}
