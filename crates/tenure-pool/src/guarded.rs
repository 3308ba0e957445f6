//! A call of a manager, with its time limit and with its panics caught.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use crate::builder::load;
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
///
/// Boxed where it is returned: results are moved on the way of a checked get.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: BoxError,
    pub(crate) is_permanent: bool,
}

impl Failed {
    #[cold]
    fn mishap(mishap: Mishap) -> Box<Self> {
        Box::new(Self { error: Box::new(mishap), is_permanent: false })
    }
}

/// Awaits a call of a manager: an async block around it, so that a panic of the call itself is one of a poll.
///
/// The first poll comes before a timer is made, so that a call that returns at once costs no clock read. A future
/// that panicked is not polled again. The future is pinned by the caller because that makes a small frame.
pub(crate) async fn guarded<T, E, F>(
    limit_nanos: &AtomicU64,
    is_permanent: impl Fn(&E) -> bool,
    mut call: Pin<&mut F>,
) -> Result<T, Box<Failed>>
where
    E: Into<BoxError>,
    F: Future<Output = Result<T, E>>,
{
    // On the heap, for it is large and most calls do not get to it.
    let mut timer = None;
    let ended = poll_fn(|cx| {
        let polled = panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => poll_timer(&mut timer, load(limit_nanos), cx),
            Err(payload) => Poll::Ready(Err(Mishap::Panicked(message(&*payload)))),
        }
    });
    match ended.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let is_permanent = is_permanent(&error);
            Err(Box::new(Failed { error: error.into(), is_permanent }))
        }
        Err(mishap) => Err(Failed::mishap(mishap)),
    }
}

/// Polls the timer, which is made at the first call.
#[cold]
fn poll_timer<T>(
    timer: &mut Option<(Duration, Pin<Box<Sleep>>)>,
    limit_nanos: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Mishap>> {
    // Off the runtime there is no timer; the holder of this future is then on its own.
    if timer.is_none() && limit_nanos != NEVER && Handle::try_current().is_ok() {
        let limit = Duration::from_nanos(limit_nanos);
        *timer = Some((limit, Box::pin(sleep(limit))));
    }
    match timer {
        Some((limit, sleep)) => sleep.as_mut().poll(cx).map(|()| Err(Mishap::TimedOut(*limit))),
        None => Poll::Pending,
    }
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
