//! Faults of exits, and the catch around the code of users.
//!
//! # Invariants
//! 1. A payload is dropped inside a catch of its own: what it does when it is dropped is the user's code too.

use std::any::Any;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::label::Label;
use crate::registry::{Count, Incident, IncidentKind, Registry};

pub(crate) type Payload = Box<dyn Any + Send>;

/// A way in which an exit did not end well.
pub(crate) enum Fault<X> {
    Failed(X),
    Panicked(Payload),
    TimedOut(Expired),
}

/// What came of an exit. The fault is in a box, so that a result without one goes through registers.
pub(crate) type Ended<V, X> = Result<V, Box<Fault<X>>>;

/// A time limit that has passed, and what it has passed in.
#[derive(Clone, Debug)]
pub(crate) struct Expired {
    /// `None` if it was that of the exit around.
    pub(crate) limit: Option<Duration>,
    /// What was waited for at that time, in words; empty if the exit's own code ran.
    pub(crate) waited_for: String,
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "its limit was {limit:?}")?,
            None => f.write_str("it was dropped together with the exit that it is part of")?,
        }
        if self.waited_for.is_empty() { Ok(()) } else { write!(f, ", and it waited for {}", self.waited_for) }
    }
}

impl<X> Fault<X> {
    pub(crate) fn count(&self) -> Count {
        match self {
            Self::Failed(_) => Count::Failed,
            Self::Panicked(_) => Count::Panicked,
            Self::TimedOut(_) => Count::TimedOut,
        }
    }

    /// Reports a fault that is nobody's result.
    pub(crate) fn report(&self, registry: &Registry, label: Label) -> Incident
    where
        X: fmt::Debug,
    {
        let (kind, message) = match self {
            Self::Failed(error) => (IncidentKind::ExitFailed, describe(error)),
            Self::Panicked(payload) => (IncidentKind::ExitPanicked, panic_message(&**payload)),
            Self::TimedOut(expired) => (IncidentKind::ExitTimedOut, expired.to_string()),
        };
        registry.report(kind, label, message)
    }
}

/// Runs code of a user that nobody waits for: a drop, a sink. The panic hook tells of a panic; it goes no further.
pub(crate) fn quietly(work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        drop_payload(payload);
    }
}

/// Drops the payload of a panic that nobody resumes.
pub(crate) fn drop_payload(payload: Payload) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload whose drop panics with a payload whose drop may panic: leaked, and that is the end of it.
        let _ = ManuallyDrop::new(second);
    }
}

/// Returns the error in words. An error that cannot print itself must not keep the exits of others from running.
pub(crate) fn describe(error: &dyn fmt::Debug) -> String {
    let mut words = None;
    quietly(|| words = Some(format!("{error:?}")));
    words.unwrap_or_else(|| "an error whose `Debug` panics".to_owned())
}

/// Returns the message of a panic, as the panic hook prints it.
///
/// ```
/// let payload = std::panic::catch_unwind(|| panic!("no {}", "luck")).unwrap_err();
/// assert_eq!(tenure::panic_message(&*payload), "no luck");
/// ```
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        (*message).to_owned()
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message.clone()
    } else {
        "a panic whose payload is not a string".to_owned()
    }
}
