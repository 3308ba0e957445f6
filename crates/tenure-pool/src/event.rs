//! What the pool tells while it runs.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use crate::error::GetErrorKind;
use crate::manager::{BoxError, Why};
use crate::status::Holder;

/// Something that happened in a pool. Nothing is told of the way without trouble but creates and closes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A resource was created, in this time.
    Created {
        /// Its number.
        id: u64,
        /// How long it took.
        took: Duration,
    },
    /// A create failed; the pool tries again after the pause, if somebody needs it then.
    CreateFailed {
        /// What the manager said, or that it panicked or ran out of time.
        error: &'a BoxError,
        /// How many have failed in a row.
        failures: u32,
        /// The pause before the next attempt.
        retry_after: Duration,
    },
    /// A check failed; the resource is closed.
    CheckFailed {
        /// The number of the resource.
        id: u64,
        /// What the manager said, or that it panicked or ran out of time.
        error: &'a BoxError,
    },
    /// A reset failed; the resource is closed.
    ResetFailed {
        /// The number of the resource.
        id: u64,
        /// What the manager said, or that it panicked or ran out of time.
        error: &'a BoxError,
    },
    /// A hook failed; the resource is closed.
    HookFailed {
        /// The number of the resource.
        id: u64,
        /// What the manager said, or that it panicked or ran out of time.
        error: &'a BoxError,
    },
    /// A resource was closed.
    Closed {
        /// Its number.
        id: u64,
        /// Why.
        why: Why,
    },
    /// A close failed; the resource is gone nevertheless.
    CloseFailed {
        /// The number of the resource.
        id: u64,
        /// What the manager said, or that it panicked or ran out of time.
        error: &'a BoxError,
    },
    /// A resource was dropped without a close because the runtime of the pool is gone.
    Dropped {
        /// The number of the resource.
        id: u64,
    },
    /// A get failed.
    GetFailed {
        /// How.
        kind: GetErrorKind,
    },
    /// A lease is held for longer than the leak threshold.
    Overdue {
        /// Who holds it.
        holder: Holder,
    },
    /// A lease that was reported as overdue has come back after all.
    ReturnedLate {
        /// Who held it.
        holder: Holder,
    },
    /// [`Manager::assess`](crate::Manager::assess) panicked; the resource is closed.
    AssessPanicked {
        /// The number of the resource.
        id: u64,
    },
}

impl Event<'_> {
    /// Returns `true` if it reports trouble.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Self::Created { .. } | Self::Closed { .. })
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { id, took } => write!(f, "resource {id} created in {took:.1?}"),
            Self::CreateFailed { error, failures, retry_after } => {
                write!(f, "create failed ({failures} in a row, next in {retry_after:.1?}): {error}")
            }
            Self::CheckFailed { id, error } => write!(f, "check of resource {id} failed: {error}"),
            Self::ResetFailed { id, error } => write!(f, "reset of resource {id} failed: {error}"),
            Self::HookFailed { id, error } => write!(f, "hook on resource {id} failed: {error}"),
            Self::Closed { id, why } => write!(f, "resource {id} closed ({why:?})"),
            Self::CloseFailed { id, error } => write!(f, "close of resource {id} failed: {error}"),
            Self::Dropped { id } => write!(f, "resource {id} dropped unclosed: no runtime"),
            Self::GetFailed { kind } => write!(f, "get failed: {kind:?}"),
            Self::Overdue { holder } => write!(f, "lease overdue: {holder}"),
            Self::ReturnedLate { holder } => write!(f, "overdue lease returned: {holder}"),
            Self::AssessPanicked { id } => write!(f, "assessing resource {id} panicked"),
        }
    }
}

type Sink = dyn Fn(&Event<'_>) + Send + Sync;

/// Where events go.
#[derive(Clone, Default)]
pub(crate) struct Events(Option<Arc<Sink>>);

impl Events {
    pub(crate) fn new(sink: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Tells the sink, and `tracing` of trouble. A panic of the sink ends here: it must not end a clean-up.
    pub(crate) fn emit(&self, name: &str, event: &Event<'_>) {
        #[cfg(feature = "tracing")]
        if event.is_trouble() {
            tracing::warn!(pool = name, "{event}");
        } else {
            tracing::debug!(pool = name, "{event}");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = name;
        if let Some(sink) = &self.0 {
            // The payload is dropped: the panic hook has shown it.
            drop(panic::catch_unwind(AssertUnwindSafe(|| sink(event))));
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.is_some()).finish()
    }
}
