//! The state machine: enter, body, exit, and what becomes of each when the caller is dropped.
//!
//! # Invariants
//! 1. From a successful enter to the end, the resource is owned by exactly one of: the body's guard, the exit's
//!    future. Each hands over when it is dropped (law 7).
//! 2. The exit's future owns the body's error, so that it can outlive the caller, and gives it back (law 3).
//! 3. The body is dropped before the exit's future is made (law 11).

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::Leave;
use super::body::{Body, Ended};
use super::stop::{Stop, Stopped, unless_stopped};
use crate::custody::Custody;
use crate::frame::Label;
use crate::guarded::{Fault, Guarded, describe, panic_message};
use crate::job::{Record, Settle};
use crate::registry::{IncidentKind, Phase};
use crate::scope::{Scope, until_childless};
use crate::tenure::{Tenure, count_exited};
use crate::{Ending, ErrorValue, Failure, Outcome};

/// All that came of a tenure.
pub(super) enum Course<T, N, E, V, X> {
    NotEntered(N),
    NotBegun(Stopped),
    Run { body: Ended<T, E>, exit: Result<V, Fault<X>> },
}

pub(super) async fn run<L, C, N, T, E, F, S>(
    label: Label,
    context: C,
    body: F,
    mut stop: S,
    exit_limit: Option<Duration>,
) -> Course<T, N, E, L::Verdict, L::Error>
where
    L: Leave,
    C: IntoFuture<Output = Result<L::Resource, N>>,
    F: AsyncFnOnce(&mut L::Resource) -> Result<T, E>,
    E: ErrorValue,
    S: Stop,
{
    let resource = match unless_stopped(&mut stop, context.into_future()).await {
        Ok(Ok(resource)) => resource,
        Ok(Err(error)) => return Course::NotEntered(error),
        Err(stopped) => return Course::NotBegun(stopped),
    };
    let mut guard = Guard::<L, E>::new(L::of(resource), Tenure::entered(label), exit_limit);
    let ended = {
        let (leave, tenure) = guard.parts();
        let resource = leave.resource();
        // The call itself is part of the body: should it panic, the exit is told.
        let body = async move { body(resource).await };
        Body::new(tenure, body, stop).await
    };
    let (told, kept) = Known::split(ended);
    let Exited { exit, told } = guard.exit(told).await;
    Course::Run { body: kept.join(told), exit }
}

/// What an exit is told, owned by the exit's future.
pub(crate) trait Told: Send + Sync {
    fn outcome(&self) -> Outcome<'_>;

    /// What nobody else knows when the caller is gone.
    fn unclaimed(&self) -> Option<String>;
}

/// How the body ended, with the error that its caller is to get back.
pub(crate) enum Known<E> {
    Completed,
    Failed(E),
    Panicked(String),
    Cancelled,
}

impl<E: ErrorValue> Told for Known<E> {
    fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Completed => Outcome::Completed,
            Self::Failed(error) => Outcome::Failed(Failure::new(error)),
            Self::Panicked(message) => Outcome::Panicked(message),
            Self::Cancelled => Outcome::Cancelled,
        }
    }

    fn unclaimed(&self) -> Option<String> {
        match self {
            Self::Failed(error) => Some(describe(error)),
            Self::Panicked(message) => Some(format!("panicked: {message}")),
            Self::Completed | Self::Cancelled => None,
        }
    }
}

/// The outcome of a tenure around this one, which sees to it that nothing goes unclaimed.
impl Told for Outcome<'_> {
    fn outcome(&self) -> Outcome<'_> {
        *self
    }

    fn unclaimed(&self) -> Option<String> {
        None
    }
}

/// An ending that its caller made and gave away.
impl Told for Ending {
    fn outcome(&self) -> Outcome<'_> {
        self.outcome()
    }

    fn unclaimed(&self) -> Option<String> {
        None
    }
}

impl<E> Known<E> {
    /// Parts what the exit's future takes along from what stays with the caller.
    fn split<T>(ended: Ended<T, E>) -> (Self, Kept<T>) {
        match ended {
            Ended::Value(value) => (Self::Completed, Kept(Ended::Value(value))),
            Ended::Error(error) => (Self::Failed(error), Kept(Ended::Error(()))),
            Ended::Panic(payload) => (Self::Panicked(panic_message(&*payload)), Kept(Ended::Panic(payload))),
            Ended::Stopped(stopped) => (Self::Cancelled, Kept(Ended::Stopped(stopped))),
        }
    }
}

/// A body's end without its error.
struct Kept<T>(Ended<T, ()>);

impl<T> Kept<T> {
    /// Puts the error back.
    fn join<E>(self, told: Known<E>) -> Ended<T, E> {
        match (self.0, told) {
            (Ended::Value(value), _) => Ended::Value(value),
            (Ended::Panic(payload), _) => Ended::Panic(payload),
            (Ended::Stopped(stopped), _) => Ended::Stopped(stopped),
            (Ended::Error(()), Known::Failed(error)) => Ended::Error(error),
            (Ended::Error(()), _) => unreachable!("`split` gave the exit an error to keep"),
        }
    }
}

/// What an exit's future leaves behind.
pub(crate) struct Exited<V, K, X> {
    pub(crate) exit: Result<V, Fault<X>>,
    pub(crate) told: K,
}

impl<V, K: Told, X: Debug> Settle for Exited<V, K, X> {
    fn settle(self, record: &Record) {
        if let Err(fault) = &self.exit {
            record.fault(fault);
        }
        if let Some(unclaimed) = self.told.unclaimed() {
            record.incident(IncidentKind::BodyUnclaimed, unclaimed);
        }
    }
}

/// The exit: first the children that were handed over inside the body, then the resource's own.
pub(crate) async fn exit_job<L: Leave, K: Told>(
    leave: L,
    told: K,
    children: Option<Arc<Scope>>,
    limit: Option<Duration>,
) -> Exited<L::Verdict, K, L::Error> {
    until_childless(children).await;
    let outcome = told.outcome();
    // The call itself is part of the exit: should it panic, that is the exit's panic.
    let exit = Guarded::new(async move { leave.leave(outcome).await }, limit).await;
    count_exited(&exit);
    Exited { exit, told }
}

/// Owns the resource while the body runs, and sees to the exit if the caller is dropped.
struct Guard<L: Leave, E: ErrorValue> {
    kept: Option<(L, Tenure)>,
    exit_limit: Option<Duration>,
    error: PhantomData<fn() -> E>,
}

impl<L: Leave, E: ErrorValue> Guard<L, E> {
    fn new(leave: L, tenure: Tenure, exit_limit: Option<Duration>) -> Self {
        Self { kept: Some((leave, tenure)), exit_limit, error: PhantomData }
    }

    fn parts(&mut self) -> (&mut L, &mut Tenure) {
        let (leave, tenure) = self.kept.as_mut().expect("the guard is full until its exit");
        (leave, tenure)
    }

    fn exit(
        mut self,
        told: Known<E>,
    ) -> Custody<impl Future<Output = Exited<L::Verdict, Known<E>, L::Error>> + Send + 'static> {
        let (leave, mut tenure) = self.kept.take().expect("the guard is full until its exit");
        let children = tenure.node.children.take();
        Custody::new(exit_job(leave, told, children, self.exit_limit), tenure)
    }
}

impl<L: Leave, E: ErrorValue> Drop for Guard<L, E> {
    fn drop(&mut self) {
        let Some((leave, mut tenure)) = self.kept.take() else {
            return;
        };
        let children = tenure.node.children.take();
        let exit = exit_job(leave, Known::<E>::Cancelled, children, self.exit_limit);
        tenure.hand_over(Box::pin(exit), Phase::Exiting);
    }
}
