//! `Held`: the guard form of a tenure, for a resource that is not tied to a block.

use std::any::type_name;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, resume_unwind};
use std::thread;
use std::time::Duration;

use crate::exiting::Exiting;
use crate::fault::{Fault, Payload};
use crate::inline_exit::{InTurn, InlineExit};
use crate::job::Begun;
use crate::label::Label;
use crate::registry::{self, Phase};
use crate::tenure::Tenure;
use crate::with::{
    Entered, Exited, Known, Leave, Plain, Stop, Stopped, Told, entered, error_of, exit_job, kept, outcome_now,
    report,
};
use crate::{AsyncExit, Ending, ErrorValue, Outcome};

/// Enters `context` and gives the resource out in a guard.
///
/// Use it where a block does not fit: a field of a struct, a resource that moves to another task. Where a block fits,
/// use [`with`](crate::with): its exit is awaited in place and its errors have a caller. A [`Held`] that is dropped
/// exits in the background, and who drops it by leaving a function early sees none of its errors.
///
/// ```
/// use tenure::{closing, hold};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), &'static str> {
/// let connect = closing(async { Ok::<_, &str>(vec![1]) }, async |_| Ok::<_, &str>(()));
/// let mut connection = hold(connect).await?;
/// connection.push(2);
/// assert_eq!(connection.len(), 2);
/// connection.close().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The enter's error.
///
/// # Cancel safety
/// As the enter of [`with`](crate::with): it is dropped where it stands, unless it is shielded.
#[track_caller]
pub fn hold<C, R, N>(context: C) -> impl Future<Output = Result<Held<R>, N>>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: AsyncExit,
{
    let label = Label { name: type_name::<R>(), location: Location::caller() };
    async move {
        let (resource, panicked) = kept(context, None).await;
        guard(label, resource, panicked, None)
    }
}

/// `hold` for [`Options::hold`](crate::Options::hold).
pub(crate) async fn enter<C, R, N>(label: Label, context: C, mut stop: impl Stop) -> Result<Held<R>, N>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: AsyncExit,
    N: From<Stopped>,
{
    match entered(label, context, &mut stop).await {
        Entered::Stopped(stopped) => Err(stopped.into()),
        Entered::Output(resource, panicked) => guard(label, resource, panicked, stop.exit_limit()),
    }
}

fn guard<R: AsyncExit, N>(
    label: Label,
    resource: Result<R, N>,
    panicked: Option<Payload>,
    exit_limit: Option<Duration>,
) -> Result<Held<R>, N> {
    let held = resource.map(|resource| Held::hold(label, resource, exit_limit));
    if held.is_err() {
        registry::current().log_failed_enter(label);
    }
    if let Some(payload) = panicked {
        // Entered, and then its future panicked when it was dropped: the guard exits, told of the panic.
        resume_unwind(payload);
    }
    held
}

/// A resource that is held; it derefs to it. Made by [`hold`].
///
/// # Guarantees
/// One exit, as in [`with`](crate::with). Dropped, the exit is handed over: it runs in the background on the runtime
/// the resource was entered on, behind all that was entered later inside the same body and is dropped with it, and
/// before the exit of the enclosing tenure. Outside of any body the same holds for what one task drops last to first, as
/// it does with locals. It is told `Panicked` if a panic drops it, else `Cancelled`.
#[must_use = "dropped, the resource exits at once, in the background"]
pub struct Held<R: AsyncExit> {
    // There until the exit, or until it is disarmed.
    resource: Option<R>,
    tenure: Tenure,
    exit_limit: Option<Duration>,
}

impl<R: AsyncExit> Held<R> {
    /// Creates a guard for a resource that is there already: entered without waiting, or taken over from elsewhere.
    ///
    /// ```
    /// use tenure::{Closing, Held};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), &'static str> {
    /// let socket = Held::new(Closing::of(7, async |_socket| Ok::<_, &str>(())));
    /// assert_eq!(**socket, 7);
    /// socket.close().await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn new(resource: R) -> Self {
        let label = Label { name: type_name::<R>(), location: Location::caller() };
        Self::hold(label, resource, None)
    }

    pub(crate) fn hold(label: Label, resource: R, exit_limit: Option<Duration>) -> Self {
        let mut tenure = Tenure::entered(label);
        // It can be dropped anywhere from now on.
        tenure.list_given_out(Phase::Held);
        Self { resource: Some(resource), tenure, exit_limit }
    }

    /// Hands the exit over, told this ending: it runs in the background, as that of a guard that is dropped.
    ///
    /// Use it where the caller cannot wait and knows how it went. What goes wrong is told to the report sink.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenure::{Closing, Ending, Held};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let file = Held::new(Closing::of(7, async |_file| Ok::<_, &str>(())));
    /// file.detach(Ending::Completed);
    /// assert_eq!(tenure::drain(Duration::from_secs(5)).await.ended, 1);
    /// # }
    /// ```
    pub fn detach(mut self, ending: Ending) {
        self.hand_over(ending);
    }

    fn hand_over(&mut self, ending: Ending) {
        if let Some(resource) = self.resource.take() {
            let exit = exit_job(Plain::of(resource), ending, self.exit_limit);
            self.tenure.hand_over(Box::pin(exit), Begun::Guard);
        }
    }

    /// Exits, told that the body completed.
    ///
    /// # Errors
    /// The exit's error.
    ///
    /// # Panics
    /// Resumes a panic of the exit.
    ///
    /// # Cancel safety
    /// Dropped before its end, the exit goes on in the background.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` cannot say that its future is `Send`")]
    pub fn close(mut self) -> impl Future<Output = Result<(), R::Error>> + Send {
        async move {
            let (resource, limit) = (self.resource.take().expect(FULL), self.exit_limit);
            // Nothing that was told has to be kept beside it.
            let call = move || resource.exit(outcome_now(Outcome::Completed));
            let exit = InlineExit::of_guard(&mut self.tenure, move || Exiting::with_limit(call, limit)).await;
            result_of(self.tenure.label(), exit.map_err(|fault| *fault))
        }
    }

    /// Exits, told this ending.
    ///
    /// # Errors
    /// The exit's error. An exit that was cut off at its time limit is `Ok` here, since no error of the resource
    /// says so; the report sink is told. Use [`exit_with`](Self::exit_with) to get it as an error.
    ///
    /// # Panics
    /// Resumes a panic of the exit.
    ///
    /// # Cancel safety
    /// Dropped before its end, the exit goes on in the background.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` cannot say that its future is `Send`")]
    pub fn exit(mut self, ending: Ending) -> impl Future<Output = Result<(), R::Error>> + Send {
        async move {
            let exited = self.leave(ending).await;
            result_of(self.tenure.label(), exited.exit.map_err(|fault| *fault))
        }
    }

    /// Exits, told how `result` ended, and gives back what [`with`](crate::with) would have: `result`, unless it is
    /// `Ok` and the exit fails.
    ///
    /// # Errors
    /// The error in `result`; else the exit's; else [`Stopped`] at the exit's time limit.
    ///
    /// # Panics
    /// Resumes a panic of the exit after an `Ok`.
    ///
    /// # Cancel safety
    /// Dropped before its end, the exit goes on in the background.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` cannot say that its future is `Send`")]
    pub fn exit_with<T, E>(mut self, result: Result<T, E>) -> impl Future<Output = Result<T, E>> + Send
    where
        T: Send,
        E: From<R::Error> + From<Stopped> + ErrorValue,
    {
        async move {
            let (value, told) = match result {
                Ok(value) => (Some(value), Known::Completed),
                Err(error) => (None, Known::Failed(error)),
            };
            let Exited { exit, told, .. } = self.leave(told).await;
            let label = self.tenure.label();
            match (value, told, exit) {
                (Some(value), _, Ok(())) => Ok(value),
                (Some(_), _, Err(fault)) => Err(error_of(label, *fault, E::from)),
                (None, Known::Failed(error), exit) => {
                    if let Err(fault) = exit {
                        report(label, &fault);
                    }
                    Err(error)
                }
                (None, ..) => unreachable!("without a value, the exit was told an error"),
            }
        }
    }

    /// Gives the resource out; it will not be exited. The caller owns it.
    ///
    /// # Panics
    /// Never: a guard is full until it is consumed.
    #[must_use = "the resource is not exited any more"]
    pub fn disarm(mut self) -> R {
        self.tenure.count_disarmed();
        self.resource.take().expect(FULL)
    }

    fn leave<K: Told + 'static>(
        &mut self,
        told: K,
    ) -> InlineExit<'_, impl Future<Output = Exited<(), K, R::Error>> + Send + use<R, K>, InTurn> {
        let (resource, limit) = (self.resource.take().expect(FULL), self.exit_limit);
        InlineExit::of_guard(&mut self.tenure, move || exit_job(Plain::of(resource), told, limit))
    }
}

/// The result of an exit by hand. One that ran out of time has no error of the resource's.
fn result_of<X: fmt::Debug>(label: Label, exit: Result<(), Fault<X>>) -> Result<(), X> {
    match exit {
        Ok(()) => Ok(()),
        Err(Fault::Failed(error)) => Err(error),
        Err(Fault::Panicked(payload)) => resume_unwind(payload),
        Err(fault @ Fault::TimedOut(_)) => {
            report(label, &fault);
            Ok(())
        }
    }
}

const FULL: &str = "a guard is full until it is consumed";

impl<R: AsyncExit> Deref for Held<R> {
    type Target = R;

    fn deref(&self) -> &R {
        self.resource.as_ref().expect(FULL)
    }
}

impl<R: AsyncExit> DerefMut for Held<R> {
    fn deref_mut(&mut self) -> &mut R {
        self.resource.as_mut().expect(FULL)
    }
}

impl<R: AsyncExit> Drop for Held<R> {
    fn drop(&mut self) {
        if self.resource.is_some() {
            self.hand_over(ending_of_drop());
        }
    }
}

/// What an exit is told whose guard is dropped.
pub(crate) fn ending_of_drop() -> Ending {
    if thread::panicking() {
        Ending::Panicked("the holder of the resource panicked".to_owned())
    } else {
        Ending::Cancelled
    }
}

impl<R: AsyncExit + fmt::Debug> fmt::Debug for Held<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&**self).finish()
    }
}
