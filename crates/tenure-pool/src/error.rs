//! What can go wrong at a `get`, with the state of the pool when it did.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::manager::BoxError;
use crate::status::Status;

/// An error of a manager, shared by all it was told to.
pub(crate) type Cause = Arc<BoxError>;

/// Why a [`get`](crate::Pool::get) failed.
///
/// It carries the state of the pool at that moment ([`status`](Self::status)) and, if creating fails, the
/// last error of the manager, as the [source](Error::source).
pub struct GetError(Box<Inner>);

struct Inner {
    kind: GetErrorKind,
    status: Status,
    waited: Duration,
    cause: Option<Cause>,
}

/// The kinds of a [`GetError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GetErrorKind {
    /// The time limit ended while every resource was in use.
    Exhausted,
    /// The time limit ended while creating kept failing, or creating failed for good and nothing is alive.
    /// The last error of the manager is the source.
    CreateFailing,
    /// The time limit ended while a create was still running; the status tells [for how
    /// long](Status::creating_for).
    CreatePending,
    /// The time limit ended while the resource was being checked. The check goes on, for the next get.
    CheckPending,
    /// As many wait already as may; this one was not let in.
    Saturated,
    /// [More](crate::Pool::get_many) were asked for than may be alive.
    TooMany,
    /// The queue was too slow for too long, and this one was dropped from it.
    Shed,
    /// The pool is closed.
    Closed,
    /// The task that asks holds every resource itself: it would wait for itself.
    SelfDeadlock,
    /// The get is not polled on a tokio runtime, and the pool is used on no other one.
    NoRuntime,
}

impl GetErrorKind {
    /// Returns `true` if the time limit of the get ended, and creating had not failed.
    #[must_use]
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::Exhausted | Self::CreatePending | Self::CheckPending)
    }

    /// Returns `true` if others had everything for too long, or too many waited: it may go better in a moment, and nothing is broken.
    #[must_use]
    pub fn is_overload(self) -> bool {
        matches!(self, Self::Exhausted | Self::Saturated | Self::Shed)
    }
}

impl GetError {
    #[cold]
    pub(crate) fn new(kind: GetErrorKind, status: Status, waited: Duration, cause: Option<Cause>) -> Self {
        Self(Box::new(Inner { kind, status, waited, cause }))
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> GetErrorKind {
        self.0.kind
    }

    /// Returns the state of the pool when it went wrong.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// Returns how long the get had waited.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.0.waited
    }

    /// Returns the last error of [`create`](crate::Manager::create), if creating fails.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.cause.as_ref().map(|cause| &***cause)
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, status, waited, .. } = &*self.0;
        let said = match kind {
            GetErrorKind::Exhausted => "no resource became free in time",
            GetErrorKind::CreateFailing => "no resource could be created",
            GetErrorKind::CreatePending => {
                return write!(
                    f,
                    "no resource was created in time: opening for {:.1?} (after {waited:.0?}; {status})",
                    status.creating_for
                );
            }
            GetErrorKind::CheckPending => "no resource passed its check in time",
            GetErrorKind::Saturated => "too many wait already",
            GetErrorKind::TooMany => "more were asked for than may be alive",
            GetErrorKind::Shed => "dropped from a queue that is too slow",
            GetErrorKind::Closed => "the pool is closed",
            GetErrorKind::SelfDeadlock => "the task that asks holds every resource itself",
            GetErrorKind::NoRuntime => "the pool has no running tokio runtime",
        };
        write!(f, "{said} (after {waited:.0?}; {status})")
    }
}

impl fmt::Debug for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetError")
            .field("kind", &self.0.kind)
            .field("waited", &self.0.waited)
            .field("status", &self.0.status)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl Error for GetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_ref().map(|cause| &***cause as &(dyn Error + 'static))
    }
}

/// Why a builder built nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_size` is zero or above the million that is the most.
    MaxSize(usize),
    /// `min_idle` is above `max_size`.
    MinIdle(usize),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxSize(size) => write!(f, "max_size is {size}, but has to be from 1 to 1000000"),
            Self::MinIdle(size) => write!(f, "min_idle is {size}, which is above max_size"),
        }
    }
}

impl Error for BuildError {}

/// A resource that could not be [added](crate::Pool::add), and why.
pub struct AddError<R> {
    /// The resource, given back.
    pub resource: R,
    /// Why it was not taken.
    pub kind: AddErrorKind,
}

/// The kinds of an [`AddError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddErrorKind {
    /// [`Manager::assess_completed`](crate::Manager::assess_completed) says that it is of no use.
    Broken,
    /// As many are alive as may be.
    Full,
    /// The pool is closed.
    Closed,
    /// There is no tokio runtime on which the pool could close it later.
    NoRuntime,
}

impl<R> fmt::Debug for AddError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddError").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<R> fmt::Display for AddError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AddErrorKind::Broken => "the resource is broken",
            AddErrorKind::Full => "the pool is full",
            AddErrorKind::Closed => "the pool is closed",
            AddErrorKind::NoRuntime => "the pool has no running tokio runtime",
        })
    }
}

impl<R> Error for AddError<R> {}
