//! Closing a stack: one exit after the other, each told what those before it have made of the outcome.
//!
//! It is a loop, so that ten thousand exits need no more stack than one (law 26).

use std::pin::Pin;
use std::task::{Context, Poll};

use super::ExitLimit;
use super::arena::{Exits, Taken};
use super::entry::ToldExit;
use crate::frame::Label;
use crate::guarded::{Caught, Fault, Guarded, Payload, panic_message};
use crate::job::{Record, Settle};
use crate::with::Told;
use crate::{ErrorValue, Outcome, Stopped, Verdict};

/// What came of all exits.
pub(super) struct Unwound<E> {
    /// The first trouble, if the body brought none and nobody recovered from it: the result.
    pub(super) first: Option<(Label, First<E>)>,
    /// What went wrong beside the result, in order.
    pub(super) others: Vec<(Label, Fault<E>)>,
    /// Whether an exit recovered from the body's error.
    pub(super) recovered: bool,
}

/// The first trouble of an exit.
pub(super) enum First<E> {
    Failed(E),
    Panicked(Payload, String),
}

pub(super) async fn unwind<E: ErrorValue>(
    exits: &mut Exits<E>,
    told: impl Told,
    limit: Option<ExitLimit<E>>,
    may_recover: bool,
) -> Unwound<E> {
    let mut course = Course { told, unwound: Unwound { first: None, others: Vec::new(), recovered: false } };
    loop {
        let Some(taken) = exits.next() else {
            return course.unwound;
        };
        let label = taken.label();
        let exit = Exiting::begin(taken, course.outcome());
        let exit = match limit {
            None => Caught::new(exit).await,
            Some(ExitLimit { limit, .. }) => Guarded::new(exit, Some(limit)).await,
        };
        exit.count(true);
        match exit {
            Ok(Verdict::Propagate) => {}
            Ok(Verdict::Recover) => course.recover(may_recover),
            Err(fault) => course.fail(label, fault, limit),
        }
    }
}

/// The exit of one entry. The call itself is part of the exit: should it panic, that is the exit's panic.
enum Exiting<'x, E> {
    InPlace(Taken<'x, E>),
    Told(ToldExit<'x, E>),
}

impl<'x, E: 'static> Exiting<'x, E> {
    fn begin(mut taken: Taken<'x, E>, outcome: Outcome<'x>) -> Self {
        if outcome.is_completed() { Self::InPlace(taken) } else { Self::Told(taken.entry().exit(outcome)) }
    }
}

impl<E: 'static> Future for Exiting<'_, E> {
    type Output = Result<Verdict, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::InPlace(taken) => taken.entry().poll_exit(context),
            Self::Told(exit) => exit.as_mut().poll(context),
        }
    }
}

struct Course<K, E> {
    told: K,
    unwound: Unwound<E>,
}

impl<K: Told, E: ErrorValue> Course<K, E> {
    /// The outcome as the exits so far have left it.
    fn outcome(&self) -> Outcome<'_> {
        match &self.unwound.first {
            Some((_, First::Failed(error))) => Outcome::failed(error),
            Some((_, First::Panicked(_, message))) => Outcome::Panicked(message),
            None if self.unwound.recovered => Outcome::Completed,
            None => self.told.outcome(),
        }
    }

    /// Only errors can be recovered from; the body's own only where the type of the call shows it.
    fn recover(&mut self, may_recover: bool) {
        match &self.unwound.first {
            Some((_, First::Failed(_))) => self.unwound.first = None,
            Some((_, First::Panicked(..))) => {}
            None => self.unwound.recovered |= may_recover && self.told.outcome().is_failed(),
        }
    }

    fn fail(&mut self, label: Label, fault: Fault<E>, limit: Option<ExitLimit<E>>) {
        if !self.outcome().is_completed() {
            self.unwound.others.push((label, fault));
            return;
        }
        let first = match (fault, limit) {
            (Fault::Failed(error), _) => First::Failed(error),
            (Fault::TimedOut(after), Some(ExitLimit { error, .. })) => {
                First::Failed(error(Stopped::ExitLimit(after)))
            }
            (Fault::TimedOut(_), None) => {
                unreachable!("no exit runs out of a limit that is not set")
            }
            (Fault::Panicked(payload), _) => {
                let message = panic_message(&*payload);
                First::Panicked(payload, message)
            }
        };
        self.unwound.first = Some((label, first));
    }
}

/// A stack that was handed over: all that went wrong is reported, under the name of its entry.
impl<E: ErrorValue> Settle for Unwound<E> {
    fn settle(self, record: &Record) {
        if let Some((label, first)) = self.first {
            let fault = match first {
                First::Failed(error) => Fault::Failed(error),
                First::Panicked(payload, _) => Fault::Panicked(payload),
            };
            record.fault_of(label, &fault);
        }
        for (label, fault) in self.others {
            record.fault_of(label, &fault);
        }
    }
}
