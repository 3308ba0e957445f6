//! A call of a manager, with its time limit and with its panics caught.
//!
//! # Invariants
//! 1. No code of the manager runs outside of a catch: neither its calls, nor the drop of their futures, nor the
//!    conversion of its errors.
//! 2. When a guarded call has ended, its future is dropped, and what it owned with it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Sleep, sleep};

use crate::clock::NEVER;
use crate::manager::BoxError;
use crate::settings::load;

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

/// A timer that fires whatever the task has done with its budget.
pub(crate) type Timer = Pin<Box<Unconstrained<Sleep>>>;

/// A timer for this long. There has to be a runtime.
pub(crate) fn timer(limit: Duration) -> Timer {
    Box::pin(unconstrained(sleep(limit)))
}

/// Awaits a call of a manager: an async block around it, so that a panic of the call itself is one of a poll.
///
/// The first poll comes before a timer is made, so that a call that returns at once costs no clock read. A future
/// that panicked is not polled again. The future is pinned by the caller because that makes a small frame.
pub(crate) async fn guarded<T, E, F>(
    limit_nanos: &AtomicU64,
    is_permanent: impl Fn(&E) -> bool,
    mut call: Pin<&mut Option<F>>,
) -> Result<T, Box<Failed>>
where
    E: Into<BoxError>,
    F: Future<Output = Result<T, E>>,
{
    // On the heap, for it is large and most calls do not get to it.
    let mut timer = None;
    let ended = poll_fn(|cx| {
        let polled = panic::catch_unwind(AssertUnwindSafe(|| match call.as_mut().as_pin_mut() {
            Some(call) => call.poll(cx),
            None => Poll::Pending,
        }));
        match polled {
            Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => poll_timer(&mut timer, load(limit_nanos), cx),
            Err(payload) => Poll::Ready(Err(Mishap::Panicked(message(payload)))),
        }
    });
    let ended = ended.await;
    // A panic here says nothing of the result, which is there.
    catch(|| call.set(None));
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(judge(error, is_permanent)),
        Err(mishap) => Err(Failed::mishap(mishap)),
    }
}

/// Asks the manager what it makes of its error.
#[cold]
fn judge<E: Into<BoxError>>(error: E, is_permanent: impl Fn(&E) -> bool) -> Box<Failed> {
    let judged = panic::catch_unwind(AssertUnwindSafe(|| {
        let is_permanent = is_permanent(&error);
        Box::new(Failed { error: error.into(), is_permanent })
    }));
    judged.unwrap_or_else(|payload| Failed::mishap(Mishap::Panicked(message(payload))))
}

/// Polls the timer, which is made at the first call.
#[cold]
fn poll_timer<T>(
    timer_of: &mut Option<(Duration, Timer)>,
    limit_nanos: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Mishap>> {
    // Off the runtime there is no timer; the holder of this future is then on its own.
    if timer_of.is_none() && limit_nanos != NEVER && Handle::try_current().is_ok() {
        let limit = Duration::from_nanos(limit_nanos);
        *timer_of = Some((limit, timer(limit)));
    }
    match timer_of {
        Some((limit, timer)) => timer.as_mut().poll(cx).map(|()| Err(Mishap::TimedOut(*limit))),
        None => Poll::Pending,
    }
}

/// The message of a panic, whose payload is dropped.
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    let text = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a payload that is no text".to_owned()
    };
    discard(payload);
    text
}

/// Runs code of a user. Its panic ends here: the panic hook has shown it, and the accounts go on.
#[expect(clippy::mem_forget, reason = "a payload whose drop panics cannot be dropped")]
pub(crate) fn catch(run: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(run)) {
        // Its drop may panic as well; there is no end to this but to leak the second one.
        if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
    }
}

/// Drops a value of a user.
pub(crate) fn discard<T>(value: T) {
    catch(|| drop(value));
}
