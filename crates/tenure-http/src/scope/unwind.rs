//! Closing a stack where nobody can await it: in a poll that is about something else, or in a drop.

use std::any::type_name;
use std::future::{pending, poll_fn, ready};
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::ExitFailed;
use super::handle::Stack;
use tenure::{AsyncExit, Ending, ExitError, ExitErrors, Outcome, with_at};

/// Exits all, told `ending`: here and now as far as that needs no waiting, the rest in the background.
///
/// So exits that do not wait, such as giving a connection back to its pool, are cheap: no task is spawned for them.
pub(crate) fn close_now(stack: Stack, ending: Ending, location: &'static Location<'static>) {
    if let Some(Err(errors)) = stack.detach(ending) {
        report_all(errors, location);
    }
}

/// Exits all in the background, told `ending`, behind what was entered later and is still exiting there.
pub(crate) fn hand_over(stack: Stack, ending: Ending, location: &'static Location<'static>) {
    let mut suspended = false;
    stack.defer_async(move || async move {
        poll_fn(|context| {
            if std::mem::replace(&mut suspended, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        Ok(())
    });
    close_now(stack, ending, location);
}

/// Exits all in place; what fails reaches the report sink, since the caller has something else to return.
///
/// Dropped before its end, the exits go on in the background.
pub(crate) async fn exit_reported(stack: Stack, ending: Ending, location: &'static Location<'static>) {
    if let Err(errors) = stack.close_with(ending).await {
        report_all(errors, location);
    }
}

/// Exits all as a part of another exit, whose failure it would be otherwise; what fails is reported as what it is.
pub(crate) async fn exit_told(stack: Stack, outcome: Outcome<'_>) {
    if let Err(failed) = AsyncExit::exit(stack, outcome).await {
        report(failed);
    }
}

fn report_all(errors: ExitErrors<ExitFailed>, location: &'static Location<'static>) {
    match errors {
        ExitErrors::One(error) => report(error),
        ExitErrors::Several(errors) => {
            for error in errors {
                report(match error {
                    ExitError::Failed(error) => error,
                    other => nameless(other.to_string(), location),
                });
            }
        }
    }
}

/// Has the exit of a resource that was entered there run in the background, told what a tenure that is dropped is told.
pub(super) fn exit_in_background<R: AsyncExit>(location: &'static Location<'static>, resource: R) {
    let entered = ready(Ok::<_, ExitFailed>(OnItsOwn { resource, location }));
    let mut dropped_amid =
        pin!(with_at(location, entered, async |_| pending::<Result<(), ExitFailed>>().await));
    let polled = dropped_amid.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(polled);
}

/// A resource that is cut off from its scope.
struct OnItsOwn<R> {
    resource: R,
    location: &'static Location<'static>,
}

impl<R: AsyncExit> AsyncExit for OnItsOwn<R> {
    type Error = ExitFailed;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), ExitFailed> {
        let Self { resource, location } = self;
        let failed = |error| ExitFailed { name: type_name::<R>(), location, message: format!("{error:?}") };
        resource.exit(outcome).await.map_err(failed)
    }
}

/// Tells the report sink. What it is told of are exits that fail in the background, so this is one.
pub(super) fn report(failed: ExitFailed) {
    exit_in_background(failed.location, Reported(failed));
}

/// A failure on its way to the report sink.
struct Reported(ExitFailed);

impl AsyncExit for Reported {
    type Error = ExitFailed;

    async fn exit(self, _: Outcome<'_>) -> Result<(), ExitFailed> {
        Err(self.0)
    }
}

/// A failure of which it is not known whose it is; the scope was first used there.
fn nameless(message: String, location: &'static Location<'static>) -> ExitFailed {
    ExitFailed { name: "a resource of a request", location, message }
}
