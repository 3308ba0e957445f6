//! What can be exited: the trait that resources implement.

use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Outcome;

/// A resource with an asynchronous exit: the one trait to implement.
///
/// Entering needs no trait; any future that yields the resource is an enter. For a foreign type, `closing`
/// makes a resource of a value and a function.
///
/// ```
/// use tenure::{AsyncExit, Outcome};
///
/// struct Transaction { /* … */ }
///
/// impl AsyncExit for Transaction {
///     type Error = std::io::Error;
///
///     async fn exit(self, outcome: Outcome<'_>) -> Result<(), std::io::Error> {
///         if outcome.is_completed() {
///             // commit().await
///         } else {
///             // rollback().await
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// # Guarantees
/// For each successful enter, `exit` is called once and its future is polled until it has ended, whatever
/// happens to the caller (law 7). What lies beyond: `panic = "abort"`, `process::exit`, SIGKILL, a future that
/// was leaked, a runtime that died before it was drained.
///
/// # Cancel safety
/// The exit's future is owned by the tenure. When its caller is dropped it goes on, half-polled, in a task of
/// its own, where task-locals are gone: do not rely on them. Its time limit, if it has one, drops it; the
/// resource's own `Drop` is then the forceful close (law 15).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no asynchronous exit",
    label = "this is no resource",
    note = "implement `AsyncExit` for it, or make a resource of it with `closing(value, async |value| …)`",
    note = "a value whose `Drop` is all the exit it needs goes into `released(value)`",
    note = "exits may end on another thread, so a resource has to be `Send + 'static`"
)]
pub trait AsyncExit: Send + 'static {
    /// What the exit fails with. For an exit that cannot fail, name the error of the enter: `Infallible` would
    /// ask every caller's error type for a conversion from it.
    type Error: Debug + Send + 'static;

    /// Releases the resource, told how the body ended.
    fn exit(self, outcome: Outcome<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ready when the body is to be dropped, since the exit will fail: for a task group, one of whose children failed.
    #[doc(hidden)]
    #[inline]
    fn stop_body(&self) -> Option<StopBody> {
        None
    }
}

/// See [`AsyncExit::stop_body`].
#[doc(hidden)]
pub type StopBody = Arc<dyn StopSource>;

/// Ready when the body is to be dropped.
#[doc(hidden)]
pub trait StopSource: Send + Sync {
    fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// Any of several resources may stop the body.
pub(crate) fn any_of(sources: impl IntoIterator<Item = Option<StopBody>>) -> Option<StopBody> {
    let mut sources = sources.into_iter().flatten();
    let first = sources.next()?;
    let rest: Vec<StopBody> = sources.collect();
    if rest.is_empty() { Some(first) } else { Some(Arc::new(Several { first, rest })) }
}

struct Several {
    first: StopBody,
    rest: Vec<StopBody>,
}

impl StopSource for Several {
    fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()> {
        let all = std::iter::once(&self.first).chain(&self.rest);
        // Each is polled, so that each knows the waker.
        if all.filter(|source| source.poll_stop(context).is_ready()).count() > 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A resource whose exit may recover from the body's error: what Python's `__aexit__` does by returning `True`.
///
/// It is another trait than [`AsyncExit`], entered by another function, [`with_recovering`](crate::with_recovering),
/// whose caller gets an `Option`: nothing is suppressed that the types do not show (law 8).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no exit that may recover",
    label = "this is no recovering resource",
    note = "implement `RecoverExit` for it, or use `with` if it has an `AsyncExit`"
)]
pub trait RecoverExit: Send + 'static {
    /// What the exit fails with.
    type Error: Debug + Send + 'static;

    /// Whether an error of the exit, after a body that failed, means that the body's error was dealt with before: what
    /// the error is the result of is then the exit. So it is with a stack, whose inner exits may recover and whose outer
    /// ones may then fail.
    #[doc(hidden)]
    const FAILS_AFTER_RECOVERY: bool = false;

    /// Releases the resource, told how the body ended, and says whether the body's error is dealt with.
    ///
    /// A verdict is asked for after every body; it has an effect only after one that failed. Panics always resume.
    fn exit(self, outcome: Outcome<'_>) -> impl Future<Output = Result<Verdict, Self::Error>> + Send;

    /// As that of [`AsyncExit`].
    #[doc(hidden)]
    #[inline]
    fn stop_body(&self) -> Option<StopBody> {
        None
    }
}

/// Decision of a recovering exit about the body's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an error goes on or it does not")]
pub enum Verdict {
    /// The error goes on to the caller.
    Propagate,
    /// The error is dealt with: the caller gets `Ok(None)`, and outer exits see a completed body.
    Recover,
}
