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
    pub(super) made: Made<E>,
    /// What went wrong beside it, in order.
    pub(super) others: Vec<(Label, Fault<E>)>,
}

/// What the exits have made of the body's outcome: what the next of them is told, and in the end the result.
pub(super) enum Made<E> {
    /// Nothing: it stands as the body left it.
    Unchanged,
    /// One recovered from the body's error.
    Recovered,
    /// This one failed, where all was well before it.
    Failed(Label, E),
    /// This one panicked, where all was well before it; with the payload and its message.
    Panicked(Label, Payload, String),
}

pub(super) async fn unwind<E: ErrorValue>(
    exits: &mut Exits<E>,
    told: impl Told,
    limit: Option<ExitLimit<E>>,
    may_recover: bool,
) -> Unwound<E> {
    let mut course = Course { told, unwound: Unwound { made: Made::Unchanged, others: Vec::new() } };
    loop {
        let Some(mut taken) = exits.next() else {
            return course.unwound;
        };
        let label = taken.label();
        let outcome = course.outcome();
        let fails_after_recovery = outcome.is_failed() && taken.entry().fails_after_recovery();
        let exit = Exiting::begin(taken, outcome);
        let exit = match limit {
            None => Caught::new(exit).await,
            Some(ExitLimit { limit, .. }) => Guarded::new(exit, Some(limit)).await,
        };
        exit.count(true);
        match exit {
            Ok(Verdict::Propagate) => {}
            Ok(Verdict::Recover) => course.recover(may_recover),
            Err(fault) => {
                if fails_after_recovery && !matches!(fault, Fault::TimedOut(_)) {
                    course.recover(may_recover);
                }
                course.fail(label, fault, limit);
            }
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
        match &self.unwound.made {
            Made::Unchanged => self.told.outcome(),
            Made::Recovered => Outcome::Completed,
            Made::Failed(_, error) => Outcome::failed(error),
            Made::Panicked(_, _, message) => Outcome::Panicked(message),
        }
    }

    /// Only errors can be recovered from; the body's own only where the type of the call shows it.
    fn recover(&mut self, may_recover: bool) {
        let body = self.told.outcome();
        match self.unwound.made {
            Made::Unchanged if body.is_failed() && may_recover => self.unwound.made = Made::Recovered,
            // All was well before that exit: either the body had completed, or its error was recovered from.
            Made::Failed(..) if body.is_completed() => self.unwound.made = Made::Unchanged,
            Made::Failed(..) => self.unwound.made = Made::Recovered,
            Made::Unchanged | Made::Recovered | Made::Panicked(..) => {}
        }
    }

    fn fail(&mut self, label: Label, fault: Fault<E>, limit: Option<ExitLimit<E>>) {
        if !self.outcome().is_completed() {
            self.unwound.others.push((label, fault));
            return;
        }
        self.unwound.made = match (fault, limit) {
            (Fault::Failed(error), _) => Made::Failed(label, error),
            (Fault::TimedOut(after), Some(ExitLimit { error, .. })) => {
                Made::Failed(label, error(Stopped::ExitLimit(after)))
            }
            (Fault::TimedOut(_), None) => {
                unreachable!("no exit runs out of a limit that is not set")
            }
            (Fault::Panicked(payload), _) => {
                let message = panic_message(&*payload);
                Made::Panicked(label, payload, message)
            }
        };
    }
}

/// A stack that was handed over: all that went wrong is reported, under the name of its entry.
impl<E: ErrorValue> Settle for Unwound<E> {
    fn settle(self, record: &Record) {
        match self.made {
            Made::Unchanged | Made::Recovered => {}
            Made::Failed(label, error) => record.fault_of(label, &Fault::Failed(error)),
            Made::Panicked(label, payload, _) => record.fault_of(label, &Fault::<E>::Panicked(payload)),
        }
        for (label, fault) in self.others {
            record.fault_of(label, &fault);
        }
    }
}
