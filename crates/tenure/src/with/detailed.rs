//! `with_detailed`: the body's error and the exit's, both.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::time::Duration;

use super::body::Ended;
use super::body_fn::BodyFn;
use super::core::{Course, run};
use super::leave::Plain;
use super::simple::report;
use super::stop::{Never, Stopped};
use crate::fault::{Fault, drop_payload, panic_message};
use crate::label::Label;
use crate::{AsyncExit, ErrorValue};

/// Failure of a tenure, stage by stage: of the enter `N`, of the body `E`, of the exit `X`; `T` is the body's
/// value.
#[derive(Debug)]
#[non_exhaustive]
pub enum WithError<N, E, X, T = ()> {
    /// The enter failed. Nothing was entered, nothing exited.
    Enter(N),
    /// The body failed, and so perhaps did the exit after it.
    Body {
        /// The very error the body returned.
        error: E,
        /// What went wrong with the exit.
        exit: Option<ExitError<X>>,
    },
    /// The body was stopped, or not begun, and so perhaps the exit went wrong after it.
    Stopped {
        /// What stopped it.
        by: Stopped,
        /// What went wrong with the exit.
        exit: Option<ExitError<X>>,
    },
    /// The body completed, and the exit went wrong.
    Exit {
        /// What the body returned: the work may count although the exit failed.
        value: T,
        /// What went wrong with the exit.
        error: ExitError<X>,
    },
}

/// Failure of an exit.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExitError<X> {
    /// It returned this error.
    Failed(X),
    /// It panicked with this message, after a body that had failed or been stopped.
    Panicked(String),
    /// It was dropped at this time limit.
    TimedOut(Duration),
}

impl<X> From<Fault<X>> for ExitError<X> {
    fn from(fault: Fault<X>) -> Self {
        match fault {
            Fault::Failed(error) => Self::Failed(error),
            Fault::Panicked(payload) => {
                let message = panic_message(&*payload);
                drop_payload(payload);
                Self::Panicked(message)
            }
            Fault::TimedOut(expired) => Self::TimedOut(expired.limit.unwrap_or_default()),
        }
    }
}

impl<X> fmt::Display for ExitError<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the exit failed"),
            Self::Panicked(message) => write!(f, "the exit panicked: {message}"),
            Self::TimedOut(limit) => {
                write!(f, "the exit was cut off at its time limit of {limit:?}")
            }
        }
    }
}

impl<X: Error + 'static> Error for ExitError<X> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked(_) | Self::TimedOut(_) => None,
        }
    }
}

impl<N, E, X, T> fmt::Display for WithError<N, E, X, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exit = match self {
            Self::Enter(_) => return f.write_str("the enter failed"),
            Self::Exit { error, .. } => return error.fmt(f),
            Self::Body { exit, .. } => {
                f.write_str("the body failed")?;
                exit
            }
            Self::Stopped { by, exit } => {
                by.fmt(f)?;
                exit
            }
        };
        exit.as_ref().map_or(Ok(()), |exit| write!(f, ", and {exit}"))
    }
}

impl<N, E, X, T> Error for WithError<N, E, X, T>
where
    N: Error + 'static,
    E: Error + 'static,
    X: Error + 'static,
    T: fmt::Debug,
{
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Enter(error) => Some(error),
            Self::Body { error, .. } => Some(error),
            Self::Stopped { by, .. } => Some(by),
            Self::Exit { error, .. } => error.source(),
        }
    }
}

/// Runs a body as [`with`](crate::with) does, and keeps all errors apart: nothing is converted, nothing goes to the report
/// sink.
///
/// Use it where the caller decides by the stage that failed: a commit that failed after the work was done is not a
/// work that failed. [`WithError::Exit`] has the body's value.
///
/// ```
/// use tenure::{WithError, closing, with_detailed};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let context = closing(async { Ok::<_, String>(1) }, async |_| Err("close"));
/// let result = with_detailed(context, async |_| Err::<(), _>("body")).await;
/// match result {
///     Err(WithError::Body { error: "body", exit: Some(exit) }) => println!("and {exit}"),
///     other => panic!("{other:?}"),
/// }
/// # }
/// ```
///
/// # Errors
/// Those of each stage, as [`WithError`].
///
/// # Panics
/// As [`with`](crate::with). A panic of the exit after a body that panicked goes to the report sink.
///
/// # Cancel safety
/// As [`with`](crate::with).
#[track_caller]
pub fn with_detailed<C, R, N, T, E, F>(
    context: C,
    body: F,
) -> impl Future<Output = Result<T, WithError<N, E, R::Error, T>>> + Send
where
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
    R: AsyncExit,
    F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
    N: Send,
    T: Send,
    E: ErrorValue,
{
    let label = Label { name: type_name::<R>(), location: Location::caller() };
    run::<Plain<R>, _, _, _, _, _, _, _>(label, context, body, Never, detailed)
}

pub(super) fn detailed<T, N, E, V, X: fmt::Debug>(
    label: Label,
    course: Course<T, N, E, V, X>,
) -> Result<T, WithError<N, E, X, T>> {
    let (body, exit) = match course {
        Course::NotEntered(error) => return Err(WithError::Enter(error)),
        Course::NotBegun(by) => return Err(WithError::Stopped { by, exit: None }),
        Course::Run { body, exit } => (body, exit.err()),
    };
    match (body, exit) {
        (Ended::Value(value), None) => Ok(value),
        (Ended::Value(_), Some(Fault::Panicked(payload))) => resume_unwind(payload),
        (Ended::Value(value), Some(fault)) => Err(WithError::Exit { value, error: fault.into() }),
        (Ended::Error(error), exit) => Err(WithError::Body { error, exit: exit.map(Into::into) }),
        (Ended::Stopped(by), exit) => Err(WithError::Stopped { by, exit: exit.map(Into::into) }),
        (Ended::Resource | Ended::Process, Some(Fault::Panicked(payload))) => resume_unwind(payload),
        (Ended::Resource | Ended::Process, exit) => {
            Err(WithError::Stopped { by: Stopped::Cancelled, exit: exit.map(Into::into) })
        }
        (Ended::Panic(payload), exit) => {
            if let Some(fault) = exit {
                report(label, &fault);
            }
            resume_unwind(payload)
        }
    }
}
