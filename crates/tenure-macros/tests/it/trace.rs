//! What happened, in order; and the error type of these tests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tenure::NeverLent;
use tenure_test::Fault;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    Enter,
    Body,
    Exit,
    NeverLent,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}

impl From<Fault> for Error {
    fn from(_: Fault) -> Self {
        Self::Body
    }
}

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Self::NeverLent
    }
}

/// A list of events that any number of contexts write to.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&self, event: impl Into<String>) {
        self.events().push(event.into());
    }

    /// Takes the events so far, which have to be these.
    #[track_caller]
    pub(crate) fn expect(&self, events: &[&str]) {
        assert_eq!(self.take(), events);
    }

    /// Takes the events so far, to look at.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.events())
    }

    fn events(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("nothing panics while it is locked")
    }

    /// A value that writes `event` when it is dropped.
    pub(crate) fn on_drop(&self, event: &'static str) -> OnDrop {
        OnDrop { trace: self.clone(), event }
    }
}

pub(crate) struct OnDrop {
    trace: Trace,
    event: &'static str,
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.trace.push(self.event);
    }
}

/// How an outcome is written into a trace.
pub(crate) fn word(outcome: tenure::Outcome<'_>) -> String {
    match outcome {
        tenure::Outcome::Completed => "completed".into(),
        tenure::Outcome::Failed(failure) => format!("failed: {failure:?}"),
        tenure::Outcome::Panicked(message) => format!("panicked: {message}"),
        tenure::Outcome::Cancelled => "cancelled".into(),
    }
}
