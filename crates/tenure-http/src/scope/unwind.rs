//! Closing a stack where nobody can await it: in a poll that is about something else, or in a drop.
//!
//! # Invariants
//! 1. What goes wrong is told to the report sink by the name and the place of the resource whose exit it was.

use std::future::ready;
use std::panic::Location;

use super::ExitFailed;
use super::handle::Stack;
use tenure::{AsyncExit, Ending, Incident, IncidentKind, Outcome, with_at};

/// Exits all, told `ending`: here and now as far as that needs no waiting, the rest in the background.
///
/// So exits that do not wait, such as giving a connection back to its pool, are cheap: no task is spawned for them. Within
/// another exit, that one waits for the rest.
pub(crate) fn close_now(stack: Stack, ending: Ending) {
    stack.detach_reported(ending);
}

/// Exits all in the background, told `ending`, behind what was entered later and is still exiting there.
pub(crate) fn hand_over(stack: Stack, ending: Ending) {
    let mut suspended = false;
    stack.defer_async(move || async move {
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut suspended, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        Ok(())
    });
    close_now(stack, ending);
}

/// Exits all in place, told `ending`, of a scope that was first used there.
///
/// Dropped before its end, the exits go on in the background.
pub(crate) async fn exit_reported(stack: Stack, ending: Ending, location: &'static Location<'static>) {
    let closing = ready(Ok::<_, ExitFailed>(Closing { stack, ending }));
    let closed = with_at(location, closing, async |_| Ok::<_, ExitFailed>(()));
    closed.await.expect("neither the enter nor the exit can fail");
}

/// A stack whose exits are those of a tenure, so that they can be awaited.
struct Closing {
    stack: Stack,
    ending: Ending,
}

impl AsyncExit for Closing {
    type Error = ExitFailed;

    async fn exit(self, _: Outcome<'_>) -> Result<(), ExitFailed> {
        // What does not end at once is awaited with this exit.
        close_now(self.stack, self.ending);
        Ok(())
    }
}

/// Tells the report sink.
pub(super) fn report(failed: ExitFailed) {
    let ExitFailed { name, location, message } = failed;
    let mut incident = Incident::new(IncidentKind::ExitFailed, name, message);
    incident.location = location;
    tenure::report(incident);
}
