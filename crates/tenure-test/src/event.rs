//! What a recorder writes down: [`Event`], its [`EventKind`], and the outcome an exit was told ([`Seen`]).

use std::fmt;
use std::panic::Location;

use tenure::{IncidentKind, Outcome};

use crate::{Fault, FaultKind};

/// The outcome that an exit was told, kept for assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the twin of `tenure::Outcome`, complete for the same reason")]
pub enum Seen {
    /// The body returned `Ok`.
    Completed,
    /// The body failed; the error, printed with `Debug`.
    Failed(String),
    /// The body panicked with this message.
    Panicked(String),
    /// The body was stopped before it ended.
    Cancelled,
}

impl From<Outcome<'_>> for Seen {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed(failure) => Self::Failed(format!("{failure:?}")),
            Outcome::Panicked(message) => Self::Panicked(message.to_owned()),
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// Kind of an event. The text behind the dash is how [`Event`] prints it, and what the assertions on a
/// [`Trace`](crate::Trace) compare.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// An enter was polled for the first time: `entering a`.
    Entering,
    /// An enter succeeded: `enter a`.
    Entered,
    /// An enter failed: `enter a failed`.
    EnterFailed,
    /// An enter panicked: `enter a panicked`.
    EnterPanicked,
    /// An enter was dropped before it ended: `enter a dropped`.
    EnterDropped,
    /// An exit was polled for the first time: `exit a: completed`, `exit a: failed: …`, `exit a: cancelled`.
    Exiting(Seen),
    /// An exit succeeded: `exited a`.
    Exited,
    /// An exit failed: `exit a failed`.
    ExitFailed,
    /// An exit panicked: `exit a panicked`.
    ExitPanicked,
    /// An exit was dropped before it ended: `exit a dropped`.
    ExitDropped,
    /// A resource that had been entered was dropped: `drop a`.
    Dropped,
    /// A step was passed: `step a`.
    Step,
    /// A note of the test's own: its text.
    Note,
    /// The harness injected a fault: `inject error in enter a`.
    Injected(FaultKind),
    /// The harness dropped the future under test: `cancel at suspension 3`, `cancel before the first poll`.
    Cancelled(u64),
    /// The hub reported an incident, an exit that failed for example: `incident: exit failed of …`.
    Incident(IncidentKind),
}

/// One line of a trace.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) kind: EventKind,
    pub(crate) name: String,
    /// Which resource; names may repeat. Zero for steps and notes.
    pub(crate) id: u64,
    pub(crate) location: &'static Location<'static>,
    pub(crate) task: Option<tokio::task::Id>,
    /// The error that an exit was shown, if it was a [`Fault`].
    pub(crate) fault: Option<Fault>,
}

impl Event {
    /// Returns the kind of the event.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// Returns the name of the resource or of the step, or the text of the note.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the place where the resource, step or note is written in the test.
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Whether it counts in [`Trace::assert_exactly`](crate::Trace::assert_exactly).
    pub(crate) fn is_principal(&self) -> bool {
        use EventKind as K;
        !matches!(
            self.kind,
            K::Entering | K::Exited | K::Dropped | K::Injected(_) | K::Cancelled(_) | K::Incident(_)
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EventKind as K;
        let name = &self.name;
        match &self.kind {
            K::Entering => write!(f, "entering {name}"),
            K::Entered => write!(f, "enter {name}"),
            K::EnterFailed => write!(f, "enter {name} failed"),
            K::EnterPanicked => write!(f, "enter {name} panicked"),
            K::EnterDropped => write!(f, "enter {name} dropped"),
            K::Exiting(seen) => write!(f, "exit {name}: {seen}"),
            K::Exited => write!(f, "exited {name}"),
            K::ExitFailed => write!(f, "exit {name} failed"),
            K::ExitPanicked => write!(f, "exit {name} panicked"),
            K::ExitDropped => write!(f, "exit {name} dropped"),
            K::Dropped => write!(f, "drop {name}"),
            K::Step => write!(f, "step {name}"),
            K::Note => f.write_str(name),
            K::Injected(kind) => write!(f, "inject {kind} in {name}"),
            K::Incident(_) => write!(f, "incident: {name}"),
            K::Cancelled(0) => f.write_str("cancel before the first poll"),
            K::Cancelled(n) => write!(f, "cancel at suspension {n}"),
        }
    }
}
