//! How a body ended: [`Outcome`], as an exit sees it, and [`Ending`], its owned form.
//!
//! # Invariants
//! 1. An outcome never owns the error: the error belongs to the caller, as the result (law 3).
//! 2. A panic is known by its message alone. The payload is not `Sync`, so a look at it could not be held
//!    across an await; it stays with the caller, who resumes it (law 4).

use std::any::{Any, type_name};
use std::fmt;

/// End of the body of a tenure, as its exit is told.
///
/// It is complete: there is no fifth way, and an exit may match on it without a wildcard arm.
///
/// ```
/// use tenure::Outcome;
///
/// fn end_of_transaction(outcome: Outcome<'_>) -> &'static str {
///     match outcome {
///         Outcome::Completed => "COMMIT",
///         Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Cancelled => "ROLLBACK",
///     }
/// }
/// assert_eq!(end_of_transaction(Outcome::Completed), "COMMIT");
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "complete by law: a new way to end would be a breaking change on purpose"
)]
pub enum Outcome<'a> {
    /// The body returned `Ok`.
    Completed,
    /// The body returned this error, which the caller will get after the exit.
    Failed(Failure<'a>),
    /// The body panicked with this message; the panic resumes after the exit.
    Panicked(&'a str),
    /// The body was dropped, timed out, or stopped by a token before it ended.
    Cancelled,
}

impl<'a> Outcome<'a> {
    /// Creates an outcome that failed with `error`.
    pub fn failed<E: ErrorValue>(error: &'a E) -> Self {
        Self::Failed(Failure::new(error))
    }

    /// Returns `true` if the body returned `Ok`.
    #[must_use]
    pub const fn is_completed(self) -> bool {
        matches!(self, Self::Completed)
    }

    /// Returns `true` if the body returned an error.
    #[must_use]
    pub const fn is_failed(self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Returns `true` if the body panicked.
    #[must_use]
    pub const fn is_panicked(self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Returns `true` if the body was stopped before it ended.
    #[must_use]
    pub const fn is_cancelled(self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Returns the body's error, if it failed with one of type `E`.
    #[must_use]
    pub fn error<E: ErrorValue>(self) -> Option<&'a E> {
        match self {
            Self::Failed(failure) => failure.downcast_ref(),
            Self::Completed | Self::Panicked(_) | Self::Cancelled => None,
        }
    }
}

/// A look at the error with which a body failed.
///
/// What is seen is the very value that the caller gets back: not a copy, not a wrapper.
#[derive(Clone, Copy)]
pub struct Failure<'a> {
    error: &'a dyn ErrorValue,
}

impl<'a> Failure<'a> {
    /// Creates a view of `error`.
    pub fn new<E: ErrorValue>(error: &'a E) -> Self {
        Self { error }
    }

    /// A look at an error whose type is not known here.
    pub(crate) fn from_dyn(error: &'a dyn ErrorValue) -> Self {
        Self { error }
    }

    /// Returns the error, if it is of type `E`.
    #[must_use]
    pub fn downcast_ref<E: ErrorValue>(self) -> Option<&'a E> {
        let any: &'a dyn Any = self.error;
        any.downcast_ref()
    }

    /// Returns `true` if the error is of type `E`.
    #[must_use]
    pub fn is<E: ErrorValue>(self) -> bool {
        self.downcast_ref::<E>().is_some()
    }

    /// Returns the name of the error's type, for messages; its spelling is not stable.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        self.error.type_name()
    }
}

impl fmt::Debug for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Bounds on the error of a body: it can be printed, downcast, and looked at from an exit
/// that may end on another thread.
///
/// Implemented for every type that meets the bounds.
pub trait ErrorValue: Any + fmt::Debug + Send + Sync + private::Sealed {
    /// Returns the name of the error's type.
    fn type_name(&self) -> &'static str;
}

impl<T: Any + fmt::Debug + Send + Sync> ErrorValue for T {
    fn type_name(&self) -> &'static str {
        type_name::<T>()
    }
}

mod private {
    pub trait Sealed {}
    impl<T: std::any::Any + std::fmt::Debug + Send + Sync> Sealed for T {}
}

/// End of a body, owned: the argument of an exit that is called by hand.
///
/// A hand-called exit may outlive its caller (it is finished in the background when the caller is
/// dropped), so it cannot borrow the error from it.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "the owned twin of `Outcome`, complete for the same reason")]
pub enum Ending {
    /// The body returned `Ok`.
    Completed,
    /// The body returned this error.
    Failed(Box<dyn ErrorValue>),
    /// The body panicked with this message.
    Panicked(String),
    /// The body was stopped before it ended.
    Cancelled,
}

impl Ending {
    /// Creates an ending that failed with `error`.
    pub fn failed<E: ErrorValue>(error: E) -> Self {
        Self::Failed(Box::new(error))
    }

    /// Returns the ending as an exit is told it.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Completed => Outcome::Completed,
            Self::Failed(error) => Outcome::Failed(Failure::from_dyn(&**error)),
            Self::Panicked(message) => Outcome::Panicked(message),
            Self::Cancelled => Outcome::Cancelled,
        }
    }
}
