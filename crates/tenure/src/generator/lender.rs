//! The lender's side: lend a value, get it back with the way the body ended.
//!
//! # Invariants
//! 1. The slot goes Empty → Lent → Borrowed → Returned → Taken, or stops on the way. The function moves it to Lent and
//!    to Taken, the context the rest; the one polls the other, so the lock does not wait.
//! 2. A look at the outcome runs inside the exit's poll, where the outcome is: the function never holds a borrow.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::Outcome;

/// The context's function returned without having lent anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NeverLent;

impl fmt::Display for NeverLent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the context's function ended before it had lent a value: it has to call `lend` on every path that returns `Ok`")
    }
}

impl Error for NeverLent {}

impl From<NeverLent> for io::Error {
    fn from(error: NeverLent) -> Self {
        Self::other(error)
    }
}

impl From<NeverLent> for String {
    fn from(error: NeverLent) -> Self {
        error.to_string()
    }
}

/// Where the value is, and what the function wants to know.
pub(super) struct Exchange<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    slot: Slot<T>,
    look: Option<Look>,
    /// Of whatever polls the function's `lend` or `look`: the function itself, or something inside that polls only what
    /// was woken.
    waker: Option<Waker>,
}

enum Slot<T> {
    Empty,
    Lent(T),
    Borrowed,
    Returned(T, Ended),
    Taken,
}

type Look = Box<dyn FnOnce(Outcome<'_>) + Send>;

impl<T> Exchange<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { slot: Slot::Empty, look: None, waker: None }) })
    }

    /// What was lent, the first time it is asked for.
    #[inline]
    pub(super) fn borrow(&self) -> Option<T> {
        let mut state = self.state();
        match mem::replace(&mut state.slot, Slot::Borrowed) {
            Slot::Lent(value) => Some(value),
            other => {
                state.slot = other;
                None
            }
        }
    }

    /// Gives the value back to the function, which is polled with this context next.
    #[inline]
    pub(super) fn give_back(&self, value: T, ended: Ended, context: &Context<'_>) {
        let waker = {
            let mut state = self.state();
            state.slot = Slot::Returned(value, ended);
            state.waker.take()
        };
        wake(waker, context);
    }

    /// Lets the function look at the outcome, if it has asked to; says whether it had.
    #[inline]
    pub(super) fn show(&self, outcome: Outcome<'_>, context: &Context<'_>) -> bool {
        let look = self.state().look.take();
        let Some(look) = look else { return false };
        look(outcome);
        let waker = self.state().waker.take();
        wake(waker, context);
        true
    }

    /// Remembers whom to wake.
    fn wait(&self, context: &Context<'_>) {
        let waker = context.waker().clone();
        let old = self.state().waker.replace(waker);
        drop(old);
    }

    #[inline]
    fn take_back(&self) -> Option<(T, Ended)> {
        let mut state = self.state();
        match mem::replace(&mut state.slot, Slot::Taken) {
            Slot::Returned(value, ended) => Some((value, ended)),
            other => {
                state.slot = other;
                None
            }
        }
    }

    #[inline]
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code of others runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes, unless it is about to be polled anyway.
fn wake(waker: Option<Waker>, context: &Context<'_>) {
    if let Some(waker) = waker.filter(|waker| !waker.will_wake(context.waker())) {
        waker.wake();
    }
}

/// Lends one value to the body. Given to the function of a [`context`](crate::context()).
#[must_use = "a context that never lends cannot be entered"]
pub struct Lender<T> {
    pub(super) exchange: Arc<Exchange<T>>,
}

impl<T: Send + 'static> Lender<T> {
    /// Lends `value` to the body, and waits for it to come back when the body has ended.
    ///
    /// It takes the lender: lending twice does not compile (law 28).
    ///
    /// # Cancel safety
    /// Dropped before the value is back, for instance in a `select!`, the value is dropped when the body has ended.
    pub async fn lend(self, value: T) -> Returned<T> {
        self.exchange.state().slot = Slot::Lent(value);
        // The exit, which returns the value, polls the function itself. Until this poll has ended, it cannot have begun.
        let mut suspended = false;
        let take_back = poll_fn(|context| {
            if mem::replace(&mut suspended, true)
                && let Some(returned) = self.exchange.take_back()
            {
                return Poll::Ready(returned);
            }
            self.exchange.wait(context);
            Poll::Pending
        });
        let (value, ended) = take_back.await;
        Returned { value, ended, exchange: self.exchange }
    }
}

impl<T> fmt::Debug for Lender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").finish_non_exhaustive()
    }
}

/// A value that was lent and has come back.
pub struct Returned<T> {
    /// The value.
    pub value: T,
    /// End of the body.
    pub ended: Ended,
    exchange: Arc<Exchange<T>>,
}

impl<T> Returned<T> {
    /// Looks at the outcome itself, for instance to downcast the body's error.
    ///
    /// The error belongs to the caller, and the context's function may suspend: so it does not get a borrow, but sends
    /// a function to where the error is.
    ///
    /// Await it in the context's function itself. In a task of its own it would wait for ever.
    ///
    /// ```
    /// # use tenure::{NeverLent, context, with};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # #[derive(Debug, PartialEq)] struct Error(u8);
    /// # impl From<NeverLent> for Error { fn from(_: NeverLent) -> Self { Self(0) } }
    /// let watched = context(async |lender| {
    ///     let back = lender.lend("value").await;
    ///     let code = back.look(|outcome| outcome.error::<Error>().map(|error| error.0)).await;
    ///     assert_eq!(code, Some(7));
    ///     Ok::<(), Error>(())
    /// });
    /// assert_eq!(with(watched, async |_| Err::<(), _>(Error(7))).await, Err(Error(7)));
    /// # }
    /// ```
    pub async fn look<O: Send + 'static>(&self, look: impl FnOnce(Outcome<'_>) -> O + Send + 'static) -> O {
        let seen = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&seen);
        let look: Look = Box::new(move |outcome| {
            let looked = look(outcome);
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
        });
        // One that was given up is dropped behind the lock.
        let old = self.exchange.state().look.replace(look);
        drop(old);
        poll_fn(|context| {
            let looked = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(looked) = looked {
                return Poll::Ready(looked);
            }
            self.exchange.wait(context);
            Poll::Pending
        })
        .await
    }
}

impl<T: fmt::Debug> fmt::Debug for Returned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, ended, .. } = self;
        f.debug_struct("Returned").field("value", value).field("ended", ended).finish_non_exhaustive()
    }
}

/// End of the body of a generator context, for its function to keep. The error itself is shown by
/// [`Returned::look`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the twin of `Outcome`, complete for the same reason")]
pub enum Ended {
    /// The body returned `Ok`.
    Completed,
    /// The body returned an error.
    Failed,
    /// The body panicked with this message.
    Panicked(String),
    /// The body was stopped before it ended.
    Cancelled,
}

impl Ended {
    /// Returns `true` if the body returned `Ok`.
    #[must_use]
    pub const fn is_completed(&self) -> bool {
        matches!(self, Self::Completed)
    }
}

impl From<Outcome<'_>> for Ended {
    #[inline]
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Panicked(message) => Self::Panicked(message.to_owned()),
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}
