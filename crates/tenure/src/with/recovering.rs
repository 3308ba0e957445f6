//! `with_recovering`: the exit may suppress the body's error, and the type shows it.

use std::any::type_name;
use std::fmt::Debug;
use std::panic::Location;

use super::body::Ended;
use super::body_fn::BodyFn;
use super::core::{Course, run};
use super::leave::Recovering;
use super::simple::{error_of, result_of};
use super::stop::{Never, Stopped};
use crate::fault::Fault;
use crate::label::Label;
use crate::{RecoverExit, Verdict};

/// Runs a body as [`with`](crate::with) does, with a resource whose exit may recover from the body's error.
///
/// The body's value comes as `Ok(Some(value))`; `Ok(None)` says that the body failed and the exit recovered.
///
/// ```
/// use tenure::{Outcome, RecoverExit, Verdict, with_recovering};
///
/// #[derive(Debug, PartialEq)]
/// enum Error { NotFound, Broken }
///
/// /// Python's `contextlib.suppress`, for one error.
/// struct IgnoreNotFound;
///
/// impl RecoverExit for IgnoreNotFound {
///     type Error = Error;
///     async fn exit(self, outcome: Outcome<'_>) -> Result<Verdict, Error> {
///         match outcome.error() {
///             Some(Error::NotFound) => Ok(Verdict::Recover),
///             _ => Ok(Verdict::Propagate),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let ignore = async || Ok::<_, Error>(IgnoreNotFound);
/// let found = with_recovering(ignore(), async |_| Ok::<_, Error>(7)).await;
/// assert_eq!(found, Ok(Some(7)));
/// let missing = with_recovering(ignore(), async |_| Err::<i32, _>(Error::NotFound)).await;
/// assert_eq!(missing, Ok(None));
/// let broken = with_recovering(ignore(), async |_| Err::<i32, _>(Error::Broken)).await;
/// assert_eq!(broken, Err(Error::Broken));
/// # }
/// ```
///
/// # Guarantees, errors, panics, cancel safety
/// Those of [`with`](crate::with). A panic always resumes, whatever the verdict.
#[track_caller]
pub fn with_recovering<C, R, N, T, E, F>(
    context: C,
    body: F,
) -> impl Future<Output = Result<Option<T>, E>> + Send
where
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
    R: RecoverExit,
    F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
    N: Send,
    T: Send,
    E: From<N> + From<R::Error> + Debug + Send + Sync + 'static,
{
    let label = Label { name: type_name::<R>(), location: Location::caller() };
    run::<Recovering<R>, _, _, _, _, _, _, _>(label, context, body, Never, |label, course| {
        // `Never` stops nothing, and there is no limit to run out of.
        recovered::<R, _, _, _>(label, course, |stopped| {
            unreachable!("nothing could have stopped it: {stopped}")
        })
    })
}

pub(super) fn recovered<R, T, N, E>(
    label: Label,
    course: Course<T, N, E, Verdict, R::Error>,
    stop: impl FnOnce(Stopped) -> E,
) -> Result<Option<T>, E>
where
    R: RecoverExit,
    E: From<N> + From<R::Error>,
{
    match course {
        Course::Run { body: Ended::Error(_) | Ended::Resource, exit: Ok(Verdict::Recover) } => Ok(None),
        Course::Run { body: Ended::Error(_), exit: Err(fault @ (Fault::Failed(_) | Fault::Panicked(_))) }
            if R::FAILS_AFTER_RECOVERY =>
        {
            Err(error_of(label, fault, stop))
        }
        course => result_of(label, course, stop).map(Some),
    }
}
