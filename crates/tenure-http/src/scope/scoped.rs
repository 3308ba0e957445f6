//! What a handler gets of a resource on its request's stack: an owned guard that brings it back.
//!
//! # Invariants
//! 1. A resource is owned by its guard or is on its way back to its place: never by both, never by neither. A guard whose
//!    place is gone hands its resource over.
//! 2. A place on the stack exits what comes back to it. A guard that will bring nothing (its enter failed or was
//!    dropped, or it was exited early) says so by closing the way back.

use std::any::type_name;
use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::future::ready;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use tenure::{AsyncExit, Ending, Held, Outcome, hold};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::ExitFailed;
use super::unwind::report;
use crate::stop::OfServer;

/// A resource on the stack of a request, for as long as the handler uses it; it derefs to the resource. Made by
/// [`RequestScope::enter`](crate::RequestScope::enter).
///
/// # Guarantees
/// Dropped, it gives the resource back to its place on the stack, where it exits in order when the request has ended.
/// The stack waits at that place for a guard that is still alive somewhere, in a spawned task for instance: under
/// [`serve`](crate::serve()) until the server's grace is over. Then the guard is cut off from the scope and reported; its
/// resource exits by itself when the guard is dropped, told that it was cancelled. On another server a guard that is leaked
/// keeps the scope from closing; [`tenure::open`] shows it.
#[must_use = "the resource goes back to the request's stack when this is dropped"]
pub struct Scoped<R: AsyncExit> {
    // Both are there until the guard is dropped or exited.
    out: Option<(R, oneshot::Sender<R>)>,
    location: &'static Location<'static>,
}

impl<R: AsyncExit> Scoped<R> {
    pub(super) fn new(resource: R, back: oneshot::Sender<R>, location: &'static Location<'static>) -> Self {
        Self { out: Some((resource, back)), location }
    }

    /// Exits now, told this ending; its place on the stack stays empty.
    ///
    /// For an exit that decides the answer: to commit before `201 Created` is sent.
    ///
    /// # Errors
    /// The exit's error.
    ///
    /// # Panics
    /// Resumes a panic of the exit.
    ///
    /// # Cancel safety
    /// Dropped before its end, the exit goes on in the background.
    #[track_caller]
    pub fn exit(mut self, ending: Ending) -> impl Future<Output = Result<(), R::Error>> {
        let (resource, back) = self.out.take().expect(FULL);
        let held = hold(ready(Ok::<_, Infallible>(resource)));
        async move {
            let Ok(held) = held.await;
            let exited = held.exit(ending).await;
            // What lies deeper on the stack may exit from now on.
            drop(back);
            exited
        }
    }
}

const FULL: &str = "a guard is full until it is consumed";

impl<R: AsyncExit> Deref for Scoped<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.out.as_ref().expect(FULL).0
    }
}

impl<R: AsyncExit> DerefMut for Scoped<R> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.out.as_mut().expect(FULL).0
    }
}

impl<R: AsyncExit> Drop for Scoped<R> {
    fn drop(&mut self) {
        let Some((resource, back)) = self.out.take() else { return };
        // Nobody is there to take it when it was cut off, or when the runtime died with the stack: then it is a tenure of
        // its own, which is handed over, or reported as lost.
        if let Err(resource) = back.send(resource) {
            drop(Held::new_at(self.location, resource));
        }
    }
}

impl<R: AsyncExit + Debug> Debug for Scoped<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scoped").field(&**self).finish()
    }
}

/// The place of a resource on the stack of its request.
pub(super) struct OfRequest<R> {
    pub(super) back: oneshot::Receiver<R>,
    pub(super) location: &'static Location<'static>,
    pub(super) server: OfServer,
}

impl<R: AsyncExit> OfRequest<R> {
    fn failed(&self, message: String) -> ExitFailed {
        ExitFailed { name: type_name::<R>(), location: self.location, message }
    }

    /// What comes back, if anything will.
    async fn resource(&mut self) -> Option<R> {
        // It is there as a rule, and is not to wait then because its task has used up tokio's budget.
        match self.back.try_recv() {
            Ok(resource) => return Some(resource),
            Err(TryRecvError::Closed) => return None,
            Err(TryRecvError::Empty) => {}
        }
        tokio::select! {
            biased;
            back = &mut self.back => return back.ok(),
            () = self.server.cut() => {}
        }
        self.back.close();
        // What came before the way was closed.
        if let Ok(resource) = self.back.try_recv() {
            return Some(resource);
        }
        report(self.failed("its guard was still in use when the server's grace was over".to_owned()));
        None
    }
}

impl<R: AsyncExit> AsyncExit for OfRequest<R> {
    type Error = ExitFailed;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), ExitFailed> {
        let Some(resource) = self.resource().await else { return Ok(()) };
        resource.exit(outcome).await.map_err(|error| self.failed(format!("{error:?}")))
    }
}
