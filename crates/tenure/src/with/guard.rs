//! Who sees to the exit while a body runs.
//!
//! # Invariants
//! 1. The resource is here from the enter until its exit begins. Dropped with it, the guard hands over.

use std::marker::PhantomData;

use super::Leave;
use super::core::{Known, exit_job};
use super::stop::Stop;
use crate::ErrorValue;
use crate::exit::StopBody;
use crate::fault::Payload;
use crate::job::Begun;
use crate::tenure::Tenure;

pub(super) struct Guard<L: Leave, E: ErrorValue, S: Stop> {
    leave: Option<L>,
    pub(super) watched: Watched<S>,
    /// What the enter's future panicked with when it was dropped, behind its end. Boxed, since it is rare.
    panicked: Option<Box<Payload>>,
    error: PhantomData<fn() -> E>,
}

/// What a body is polled with: one reference to both.
pub(super) struct Watched<S> {
    pub(super) tenure: Tenure,
    pub(super) stop: S,
}

const HELD: &str = "the guard holds the resource until its exit begins";

impl<L: Leave, E: ErrorValue, S: Stop> Guard<L, E, S> {
    #[inline]
    pub(super) fn new(leave: L, tenure: Tenure, stop: S, panicked: Option<Payload>) -> Self {
        let panicked = panicked.map(Box::new);
        Self { leave: Some(leave), watched: Watched { tenure, stop }, panicked, error: PhantomData }
    }

    #[inline]
    pub(super) fn take_panic(&mut self) -> Option<Payload> {
        self.panicked.take().map(|payload| *payload)
    }

    /// What a body is polled with.
    #[inline]
    pub(super) fn body(&mut self) -> (&mut L::Resource, &mut Watched<S>) {
        (self.leave.as_mut().expect(HELD).resource(), &mut self.watched)
    }

    /// By which the resource itself may stop the body.
    #[inline]
    pub(super) fn stop_body(&self) -> Option<StopBody> {
        self.leave.as_ref().and_then(Leave::stop_body)
    }

    /// Whether the exit has nothing to wait for and no limit.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.watched.tenure.node.children.is_none() && self.watched.stop.exit_limit().is_none()
    }

    /// Gives the resource out: whoever takes it begins the exit at once.
    #[inline]
    pub(super) fn take(&mut self) -> L {
        self.leave.take().expect(HELD)
    }

    /// The exit with all that may have to be done before and beside it.
    pub(super) fn exit_job(
        &mut self,
        leave: L,
        told: Known<E>,
    ) -> impl Future<Output = super::Exited<L::Verdict, Known<E>, L::Error>> + Send + use<L, E, S> {
        exit_job(leave, told, self.watched.stop.exit_limit())
    }

    #[cold]
    fn hand_over(&mut self, leave: L) {
        let exit = Box::pin(self.exit_job(leave, Known::Cancelled));
        self.watched.tenure.hand_over(exit, Begun::Branch);
    }
}

impl<L: Leave, E: ErrorValue, S: Stop> Drop for Guard<L, E, S> {
    #[inline]
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            self.hand_over(leave);
        }
    }
}
