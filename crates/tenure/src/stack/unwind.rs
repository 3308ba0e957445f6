//! Closing a stack: one exit after the other, each told what those before it have made of the outcome.
//!
//! It is a loop, so that ten thousand exits need no more stack than one (law 26).

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::ExitLimit;
use super::arena::{Exits, Taken};
use super::entry::ToldExit;
use crate::as_part::AsPart;
use crate::exiting::Exiting;
use crate::fault::{Expired, Fault, Payload, drop_payload, panic_message};
use crate::frame;
use crate::job::{Record, Settle};
use crate::label::Label;
use crate::registry::Registry;
use crate::tenure::count_exited;
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
    registry: &Registry,
    exits: &mut Exits<E>,
    told: impl Told,
    limit: Option<ExitLimit<E>>,
    may_recover: bool,
) -> Unwound<E> {
    let stopped_by = exits.stopped_by();
    let unwound = Unwound { made: Made::Unchanged, others: Vec::new() };
    let mut course = Course { told, unwound, may_recover, has_stopped: false, abandoned: false };
    loop {
        let Some(mut taken) = exits.next() else {
            return course.unwound;
        };
        let (label, id, shown) = (taken.label(), taken.id_if_any(), taken.shown);
        course.abandoned = frame::is_abandoned();
        course.has_stopped = stopped_by == Some(taken.index);
        let outcome = course.outcome();
        let fails_after_recovery = outcome.is_failed() && taken.entry().fails_after_recovery();
        let mut progress = Progress { registry, cut_off: Some(label) };
        let ended = {
            let exit = EntryExit::begin(taken, outcome);
            let exit = Exiting::<Called<'_, E>, _, _, _>::called(exit, limit.map(|limit| limit.limit));
            let mut exit = pin!(AsPart::new(id, label, exit));
            poll_fn(|context| exit.as_mut().poll_exit(context, |id| shown.set(id))).await
        };
        progress.cut_off = None;
        let (exit, label) = ended;
        count_exited(registry, &exit);
        match exit {
            Ok(Verdict::Propagate) => {}
            Ok(Verdict::Recover) => course.recover(),
            Err(fault) => {
                if fails_after_recovery && !matches!(*fault, Fault::TimedOut(_)) {
                    course.recover();
                }
                course.fail(label, *fault, limit);
            }
        }
    }
}

/// An entry whose exit is under way. Dropped before its end, it was cut off with the exit of the stack.
struct Progress<'r> {
    registry: &'r Registry,
    /// There until it has ended.
    cut_off: Option<Label>,
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(label) = self.cut_off {
            let fault = Fault::<Stopped>::TimedOut(Expired { limit: None, waited_for: String::new() });
            let incident = fault.report(self.registry, label);
            count_exited(self.registry, &Err::<(), _>(Box::new(fault)));
            self.registry.log_incident(incident);
        }
    }
}

/// No code of a user runs until the exit of an entry is polled.
type Called<'x, E> = fn() -> EntryExit<'x, E>;

/// The exit of one entry.
enum EntryExit<'x, E> {
    InPlace(Taken<'x, E>),
    // Its entry lies in the arena until the exit has ended.
    Told(ToldExit<'x, E>),
}

impl<'x, E: 'static> EntryExit<'x, E> {
    fn begin(mut taken: Taken<'x, E>, outcome: Outcome<'x>) -> Self {
        if outcome.is_completed() { Self::InPlace(taken) } else { Self::Told(taken.entry().exit(outcome)) }
    }
}

impl<E: 'static> Future for EntryExit<'_, E> {
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
    /// Whether the body's own error may be recovered from.
    may_recover: bool,
    /// Whether the entry whose turn it is has stopped the body: its fault is the reason then.
    has_stopped: bool,
    /// Whether whoever waited for the end of the exits is gone.
    abandoned: bool,
}

impl<K: Told, E: ErrorValue> Course<K, E> {
    /// The outcome as the exits so far have left it. Nobody is left to be told of a success once the caller is gone: so
    /// it is with nested contexts, the outer of which are dropped with their bodies (law 21).
    fn outcome(&self) -> Outcome<'_> {
        if self.abandoned {
            return Outcome::Cancelled;
        }
        match &self.unwound.made {
            Made::Unchanged => self.told.outcome(),
            Made::Recovered => Outcome::Completed,
            Made::Failed(_, error) => Outcome::failed(error),
            Made::Panicked(_, _, message) => Outcome::Panicked(message),
        }
    }

    /// Only errors can be recovered from; the body's own only where the type of the call shows it.
    fn recover(&mut self) {
        if self.abandoned {
            return;
        }
        let body = self.told.outcome();
        match self.unwound.made {
            Made::Unchanged if body.is_failed() && self.may_recover => self.unwound.made = Made::Recovered,
            // All was well before that exit: the body had completed, or its error was recovered from, or the entry had
            // stopped the body, whose error it is then.
            Made::Failed(..) if body.is_completed() => self.unwound.made = Made::Unchanged,
            Made::Failed(..) if body.is_failed() || self.may_recover => self.unwound.made = Made::Recovered,
            Made::Failed(..) | Made::Unchanged | Made::Recovered | Made::Panicked(..) => {}
        }
    }

    fn fail(&mut self, label: Label, fault: Fault<E>, limit: Option<ExitLimit<E>>) {
        let is_result = self.outcome().is_completed()
            || (self.has_stopped && matches!(self.unwound.made, Made::Unchanged) && !self.abandoned);
        if !is_result {
            self.unwound.others.push((label, fault));
            return;
        }
        self.unwound.made = match fault_as_error(fault, limit) {
            Ok(error) => Made::Failed(label, error),
            Err(payload) => {
                let message = panic_message(&*payload);
                Made::Panicked(label, payload, message)
            }
        };
    }
}

/// The fault of an exit as the error that the stack's caller gets, or its panic.
pub(super) fn fault_as_error<E>(fault: Fault<E>, limit: Option<ExitLimit<E>>) -> Result<E, Payload> {
    match (fault, limit) {
        (Fault::Failed(error), _) => Ok(error),
        (Fault::Panicked(payload), _) => Err(payload),
        (Fault::TimedOut(expired), Some(ExitLimit { error, limit })) => {
            let stopped = Stopped::ExitLimit(expired.limit.unwrap_or(limit));
            // The conversion is the user's: should it panic, that is the exit's panic.
            catch_unwind(AssertUnwindSafe(|| error(stopped)))
        }
        (Fault::TimedOut(_), None) => unreachable!("no exit runs out of a limit that is not set"),
    }
}

/// A stack that was handed over: all that went wrong is reported, under the name of its entry.
impl<E: ErrorValue> Settle for Unwound<E> {
    fn settle(self, record: &Record) {
        match self.made {
            Made::Unchanged | Made::Recovered => {}
            Made::Failed(label, error) => record.fault_of(label, &Fault::Failed(error)),
            Made::Panicked(label, payload, _) => {
                let fault = Fault::<E>::Panicked(payload);
                record.fault_of(label, &fault);
                if let Fault::Panicked(payload) = fault {
                    drop_payload(payload);
                }
            }
        }
        for (label, fault) in self.others {
            record.fault_of(label, &fault);
        }
    }
}
