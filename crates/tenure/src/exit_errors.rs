//! What went wrong with several exits.

use std::error::Error;
use std::fmt;

use crate::fault::Fault;
use crate::with::ExitError;

/// Failures of the exits of a stack, of joined contexts, or of a task group: one failure as it is, several as
/// a list (law 25).
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "one or several: there is nothing else")]
pub enum ExitErrors<E> {
    /// One exit failed, with this error.
    One(E),
    /// Several went wrong, in this order.
    Several(Vec<ExitError<E>>),
}

impl<E> ExitErrors<E> {
    /// Of one fault or more, in order.
    pub(crate) fn of(faults: impl IntoIterator<Item = Fault<E>>) -> Self {
        let mut faults = faults.into_iter().peekable();
        let first = faults.next();
        match (first, faults.peek()) {
            (Some(Fault::Failed(error)), None) => Self::One(error),
            (first, _) => Self::Several(first.into_iter().chain(faults).map(Into::into).collect()),
        }
    }

    /// Returns the first error that an exit returned, if one did. The others are dropped.
    #[must_use]
    pub fn into_first(self) -> Option<E> {
        match self {
            Self::One(error) => Some(error),
            Self::Several(errors) => errors.into_iter().find_map(|error| match error {
                ExitError::Failed(error) => Some(error),
                ExitError::Panicked(_) | ExitError::TimedOut(_) => None,
            }),
        }
    }
}

/// One failure, for instance of the body, in the type of the exits' errors.
impl<E> From<E> for ExitErrors<E> {
    fn from(error: E) -> Self {
        Self::One(error)
    }
}

/// One failure as it prints itself, several one behind the other.
impl<E: fmt::Display> fmt::Display for ExitErrors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(error) => error.fmt(f),
            Self::Several(errors) => {
                write!(f, "{} went wrong", errors.len())?;
                for error in errors {
                    f.write_str("; ")?;
                    match error {
                        ExitError::Failed(error) => error.fmt(f)?,
                        other => other.fmt(f)?,
                    }
                }
                Ok(())
            }
        }
    }
}

// For every `E` that prints, not for errors alone: `anyhow::Error` and `Box<dyn Error + Send + Sync>` are none themselves,
// and with them `?` has to work as well. So the failures are part of what this prints, and it has no source.
impl<E: fmt::Debug + fmt::Display> Error for ExitErrors<E> {}
