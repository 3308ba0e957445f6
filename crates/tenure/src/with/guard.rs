//! Who sees to the exit while a `with` is under way.
//!
//! # Invariants
//! 1. The guard goes Body → Calling → Exit → Over. In the first the resource is here, in the third in the exit's
//!    future; dropped there, the guard hands over. In the second an exit is being called that turned out to panic.
//! 2. An exit that has nothing to wait for, nothing to be told and no limit is polled as it is: the common case is a
//!    small box. All others go through `exit_job`.

use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::Leave;
use super::core::{Exited, Known, exit_job};
use crate::ErrorValue;
use crate::guarded::{Caught, Fault};
use crate::registry::Phase;
use crate::tenure::{Tenure, count_exited};

pub(super) struct Guard<L, E, F>
where
    L: Leave,
    E: ErrorValue,
    F: Future<Output = Result<L::Verdict, L::Error>> + Send + 'static,
{
    stage: Stage<L, E, F>,
    tenure: Tenure,
    exit_limit: Option<Duration>,
    error: PhantomData<fn() -> E>,
}

enum Stage<L: Leave, E, F> {
    Body(L),
    Calling { counted: bool },
    Exit(Pin<Box<Exit<L, E, F>>>),
    Over,
}

type Told<L, E> = Exited<<L as Leave>::Verdict, Known<E>, <L as Leave>::Error>;

pin_project! {
    #[project = ExitProjection]
    enum Exit<L, E, F>
    where
        L: Leave,
    {
        Plain { #[pin] exit: Caught<F>, counted: bool },
        Full { exit: Pin<Box<dyn Future<Output = Told<L, E>> + Send>> },
    }
}

impl<L, E, F> Future for Exit<L, E, F>
where
    L: Leave,
    F: Future<Output = Result<L::Verdict, L::Error>>,
{
    type Output = Told<L, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ExitProjection::Plain { exit, counted } => {
                let exit = ready!(exit.poll(context));
                count_exited(*counted, &exit);
                Poll::Ready(Exited { exit, told: Known::Completed })
            }
            ExitProjection::Full { exit } => exit.as_mut().poll(context),
        }
    }
}

const BODY: &str = "the guard holds the resource until its exit begins";

impl<L, E, F> Guard<L, E, F>
where
    L: Leave,
    E: ErrorValue,
    F: Future<Output = Result<L::Verdict, L::Error>> + Send + 'static,
{
    #[inline]
    pub(super) fn new(leave: L, tenure: Tenure, exit_limit: Option<Duration>) -> Self {
        Self { stage: Stage::Body(leave), tenure, exit_limit, error: PhantomData }
    }

    #[inline]
    pub(super) fn body(&mut self) -> (&mut L, &mut Tenure) {
        let Stage::Body(leave) = &mut self.stage else { unreachable!("{BODY}") };
        (leave, &mut self.tenure)
    }

    /// Begins the exit; `call` calls it for a body that completed.
    #[inline]
    pub(super) fn begin_exit(&mut self, told: Known<E>, call: impl FnOnce(L) -> F) {
        let counted = self.tenure.take_counted();
        let Stage::Body(leave) = mem::replace(&mut self.stage, Stage::Calling { counted }) else {
            unreachable!("{BODY}")
        };
        let plain = matches!(told, Known::Completed) && self.exit_limit.is_none();
        let exit = if plain && self.tenure.node.children.is_none() {
            Exit::Plain { exit: Caught::new(call(leave)), counted }
        } else {
            let children = self.tenure.node.children.take();
            Exit::Full { exit: Box::pin(exit_job(leave, told, children, self.exit_limit, counted)) }
        };
        self.stage = Stage::Exit(Box::pin(exit));
    }

    #[inline]
    pub(super) fn poll_exit(&mut self, context: &mut Context<'_>) -> Poll<Told<L, E>> {
        let Stage::Exit(exit) = &mut self.stage else { unreachable!("the exit has begun and not ended") };
        let polled = exit.as_mut().poll(context);
        match polled {
            Poll::Ready(_) => self.stage = Stage::Over,
            Poll::Pending => self.tenure.list(Phase::Exiting),
        }
        polled
    }
}

impl<L, E, F> Drop for Guard<L, E, F>
where
    L: Leave,
    E: ErrorValue,
    F: Future<Output = Result<L::Verdict, L::Error>> + Send + 'static,
{
    #[inline]
    fn drop(&mut self) {
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => {}
            Stage::Exit(exit) => self.tenure.hand_over(exit, Phase::Exiting),
            Stage::Body(leave) => {
                let children = self.tenure.node.children.take();
                // Listed by the hand-over at the latest, and so counted.
                let exit = exit_job(leave, Known::<E>::Cancelled, children, self.exit_limit, true);
                self.tenure.hand_over(Box::pin(exit), Phase::Exiting);
            }
            // The panic is on its way to the caller.
            Stage::Calling { counted } => {
                count_exited::<(), ()>(counted, &Err(Fault::Panicked(Box::new(()))));
            }
        }
    }
}
