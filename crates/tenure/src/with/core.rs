//! The state machine: enter, body, exit, and what becomes of each when the caller is dropped.
//!
//! # Invariants
//! 1. From a successful enter to the end, the resource is owned by exactly one of: the body's guard, the exit's
//!    future. Each hands over when it is dropped (law 7). Nothing is awaited, and nothing panics, in between.
//! 2. The exit's future owns the body's error, so that it can outlive the caller, and gives it back (law 3).
//! 3. The body is dropped before the exit's future is made (law 11).

use std::fmt::Debug;
use std::time::Duration;

use super::Leave;
use super::body::{Body, Ended};
use super::body_fn::BodyFn;
use super::guard::Guard;
use super::steps::{Entered, Steps};
use super::stop::{Stop, Stopped};
use crate::exiting::Exiting;
use crate::fault::{self, Fault, Payload, describe, panic_message};
use crate::frame;
use crate::inline_exit::InlineExit;
use crate::job::{Record, Settle};
use crate::label::Label;
use crate::registry::{self, Count, IncidentKind};
use crate::tenure::Tenure;
use crate::{Ending, ErrorValue, Failure, Outcome, Verdict};

/// All that came of a tenure.
pub(super) enum Course<T, N, E, V, X> {
    NotEntered(N),
    NotBegun(Stopped),
    Run { body: Ended<T, E>, exit: Result<V, Fault<X>> },
}

/// Runs a tenure from its enter to its end, and makes of its course what the caller is to get.
pub(super) fn run<L, C, N, T, E, F, S, O>(
    label: Label,
    context: C,
    body: F,
    stop: S,
    result: impl FnOnce(Label, Course<T, N, E, L::Verdict, L::Error>) -> O,
) -> impl Future<Output = O>
where
    L: Leave,
    C: IntoFuture<Output = Result<L::Resource, N>>,
    F: for<'r> BodyFn<&'r mut L::Resource, Result<T, E>>,
    E: ErrorValue,
    S: Stop,
{
    let then = move |label, stop, entered| {
        let (resource, panicked) = match entered {
            Entered::Output(Ok(resource), panicked) => (resource, panicked),
            Entered::Output(Err(error), panicked) => {
                if let Some(payload) = panicked {
                    std::panic::resume_unwind(payload);
                }
                registry::current().log_failed_enter(label);
                return Err(result(label, Course::NotEntered(error)));
            }
            Entered::Stopped(stopped) => return Err(result(label, Course::NotBegun(stopped))),
        };
        // Captured, not a local: so there is one place for it in the future.
        let mut guard = Guard::<L, E, S>::new(L::of(resource), Tenure::entered(label), stop, panicked);
        Ok(async move {
            let panicked = guard.take_panic();
            let has_body = panicked.is_none();
            let ended = match panicked {
                // The enter's future panicked when it was dropped, behind its end: the body does not run.
                Some(payload) => Ended::Panic(payload),
                None => {
                    let by_resource = guard.stop_body();
                    let (resource, watched) = guard.body();
                    // The call itself is part of the body: should it panic, the exit is told.
                    Body::new(watched, by_resource, move || body(resource)).await
                }
            };
            if let Ended::Process = ended {
                // There is nobody left to whom a result would matter, and none that could be given.
                drop(guard);
                return std::future::pending().await;
            }
            let leave = guard.take();
            match ended {
                // The common case by itself, so that it is short.
                Ended::Value(value) if guard.is_plain() => {
                    let make = || Exiting::alone(|| leave.leave(Outcome::Completed));
                    let exit = InlineExit::behind_body(&mut guard.watched.tenure, true, make).await;
                    let exit = exit.map_err(|fault| *fault);
                    result(guard.watched.tenure.label(), Course::Run { body: Ended::Value(value), exit })
                }
                ended => {
                    // The exit takes along what it is told; the rest stays here.
                    let (kept, told) = Kept::split(ended);
                    let exit = guard.exit_job(leave, told);
                    let Exited { exit, told, .. } =
                        InlineExit::behind_body(&mut guard.watched.tenure, has_body, move || exit).await;
                    let exit = exit.map_err(|fault| *fault);
                    result(guard.watched.tenure.label(), Course::Run { body: kept.join(told), exit })
                }
            }
        })
    };
    Steps::new(label, || context.into_future(), stop, then)
}

/// How a body ended, less the error.
enum Kept<T> {
    Value(T),
    Error,
    Panic(Payload),
    Stopped(Stopped),
    Resource,
}

impl<T> Kept<T> {
    #[inline]
    fn split<E>(ended: Ended<T, E>) -> (Self, Known<E>) {
        match ended {
            Ended::Value(value) => (Self::Value(value), Known::Completed),
            Ended::Error(error) => (Self::Error, Known::Failed(error)),
            Ended::Stopped(stopped) => (Self::Stopped(stopped), Known::Cancelled),
            Ended::Resource | Ended::Process => (Self::Resource, Known::Cancelled),
            Ended::Panic(payload) => {
                let message = panic_message(&*payload);
                (Self::Panic(payload), Known::Panicked(message))
            }
        }
    }

    #[inline]
    fn join<E>(self, told: Known<E>) -> Ended<T, E> {
        match (self, told) {
            (Self::Value(value), _) => Ended::Value(value),
            (Self::Panic(payload), _) => Ended::Panic(payload),
            (Self::Stopped(stopped), _) => Ended::Stopped(stopped),
            (Self::Resource, _) => Ended::Resource,
            (Self::Error, Known::Failed(error)) => Ended::Error(error),
            (Self::Error, _) => unreachable!("the exit was told of an error"),
        }
    }
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

/// What an exit's future leaves behind.
pub(crate) struct Exited<V, K, X> {
    pub(crate) exit: fault::Ended<V, X>,
    pub(crate) told: K,
    /// `true` if the exit has seen the body's error: not if it began when its caller was gone.
    saw_error: bool,
    /// That of the resource, see [`Leave`].
    fails_after_recovery: bool,
}

/// An exit without a caller: it is counted, and a fault is reported.
impl<V, X: Debug> Settle for fault::Ended<V, X> {
    #[inline]
    fn counts(&self) -> Option<Option<Count>> {
        Some(self.as_ref().err().map(|fault| fault.count()))
    }

    fn settle(self, record: &Record) {
        if let Err(fault) = &self {
            record.fault(fault);
        }
    }
}

/// What an exit says of the body's error.
pub(crate) trait Says {
    fn is_recovered(&self) -> bool;
}

impl Says for () {
    fn is_recovered(&self) -> bool {
        false
    }
}

impl Says for Verdict {
    fn is_recovered(&self) -> bool {
        *self == Self::Recover
    }
}

impl<V: Says, K: Told, X: Debug> Settle for Exited<V, K, X> {
    fn counts(&self) -> Option<Option<Count>> {
        self.exit.counts()
    }

    fn settle(self, record: &Record) {
        // An error that the exit has dealt with is nobody's any more.
        let is_recovered = self.saw_error
            && match &self.exit {
                Ok(said) => said.is_recovered(),
                Err(fault) => self.fails_after_recovery && !matches!(**fault, Fault::TimedOut(_)),
            };
        self.exit.settle(record);
        if let Some(unclaimed) = self.told.unclaimed().filter(|_| !is_recovered) {
            record.incident(IncidentKind::BodyUnclaimed, unclaimed);
        }
    }
}

/// The exit, with what it is told.
pub(crate) async fn exit_job<L: Leave, K: Told>(
    leave: L,
    told: K,
    limit: Option<Duration>,
) -> Exited<L::Verdict, K, L::Error> {
    let mut saw_error = false;
    let begin = || {
        let outcome = outcome_now(told.outcome());
        saw_error = outcome.is_failed();
        leave.leave(outcome)
    };
    let exit = Exiting::with_limit(begin, limit).await;
    Exited { exit, told, saw_error, fails_after_recovery: L::FAILS_AFTER_RECOVERY }
}

/// What an exit is told that begins now. Whoever waited for its end may be gone by now, and there is nobody left to whom
/// a commit could be told (law 21).
pub(crate) fn outcome_now(outcome: Outcome<'_>) -> Outcome<'_> {
    if frame::is_abandoned() { Outcome::Cancelled } else { outcome }
}
