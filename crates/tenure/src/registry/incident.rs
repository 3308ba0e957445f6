//! What went wrong where no caller could be told, and who is told instead.

use std::fmt;
use std::io::{self, Write as _};
use std::panic::Location;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Registry, current};
use crate::fault::quietly;
use crate::label::Label;

/// Something that went wrong at an exit and is not the result of any caller.
///
/// Each one reaches the report sink; those of handed-over exits also reach the next drain's report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incident {
    /// The kind of the incident.
    pub kind: IncidentKind,
    /// The name of the tenure: as set in its options, else the type of its resource.
    pub name: &'static str,
    /// Where it was entered.
    pub location: &'static Location<'static>,
    /// The error, the panic's message, or the time limit.
    pub message: String,
}

/// The kinds of [`Incident`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IncidentKind {
    /// An exit failed, and its error is no caller's result: the body had failed before it, or the caller was gone.
    ExitFailed,
    /// An exit panicked, and no caller resumes the panic.
    ExitPanicked,
    /// An exit was dropped at its time limit.
    ExitTimedOut,
    /// An exit could not end, since its runtime was gone or there was none.
    ///
    /// The resource is dropped instead. If that panics, only the panic hook is told.
    ExitLost,
    /// A shielded enter, or an operation that was to run to completion, could not end, since its runtime was gone or there was none.
    EnterLost,
    /// A shielded enter, or an operation that was to run to completion, failed after its caller was gone.
    EnterFailed,
    /// A shielded enter, or an operation that was to run to completion, panicked after its caller was gone.
    EnterPanicked,
    /// The body had failed or panicked, and its caller was gone before the exit had ended.
    BodyUnclaimed,
}

impl fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExitFailed => "exit failed",
            Self::ExitPanicked => "exit panicked",
            Self::ExitTimedOut => "exit ran out of time",
            Self::ExitLost => "exit was lost",
            Self::EnterLost => "shielded enter or operation was lost",
            Self::EnterFailed => "shielded enter or operation failed",
            Self::EnterPanicked => "shielded enter or operation panicked",
            Self::BodyUnclaimed => "body failed and nobody was there to be told",
        })
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, location, message } = self;
        write!(f, "{kind}: {name}, entered at {location}: {message}")
    }
}

pub(super) type Sink = Arc<dyn Fn(&Incident) + Send + Sync>;

static DEFAULT_SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// Sets who is told of the current runtime's incidents.
///
/// It replaces the process's sink for this runtime. The sink is called where the incident happens, inside a poll or
/// a drop: it must not block. If it panics, the panic goes no further.
pub fn set_report_sink(sink: impl Fn(&Incident) + Send + Sync + 'static) {
    replace(&current().sink, Arc::new(sink));
}

/// The old sink is the user's: dropped behind the lock.
fn replace(place: &RwLock<Option<Sink>>, sink: Sink) {
    let old = place.write().unwrap_or_else(PoisonError::into_inner).replace(sink);
    drop(old);
}

/// Sets who is told of the incidents of all runtimes that have no sink of their own.
///
/// Without it: an event at level `ERROR` of the target `tenure`. Where no subscriber hears it, or without the feature
/// `tracing`, a line on standard error.
pub fn set_default_report_sink(sink: impl Fn(&Incident) + Send + Sync + 'static) {
    replace(&DEFAULT_SINK, Arc::new(sink));
}

/// Tells the current runtime's report sink of something that went wrong and is no caller's result.
///
/// For resources and adapters that meet a second error, or one that has no caller. The incident also counts for the next
/// [`drain`](crate::drain), whose report is not clean then.
///
/// ```
/// use tenure::{Incident, IncidentKind, report};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// report(Incident::new(IncidentKind::ExitFailed, "upload", "the part could not be removed"));
/// assert!(!tenure::drain(std::time::Duration::ZERO).await.is_clean());
/// # }
/// ```
pub fn report(incident: Incident) {
    let registry = current();
    registry.tell(&incident);
    registry.log_incident(incident);
}

impl Incident {
    /// Creates an incident at the caller's location.
    #[must_use = "an incident is told to nobody until it is reported"]
    #[track_caller]
    pub fn new(kind: IncidentKind, name: &'static str, message: impl Into<String>) -> Self {
        Self { kind, name, location: Location::caller(), message: message.into() }
    }
}

impl Registry {
    /// Tells the sink.
    pub(crate) fn report(&self, kind: IncidentKind, label: Label, message: String) -> Incident {
        let Label { name, location } = label;
        let incident = Incident { kind, name, location, message };
        self.tell(&incident);
        incident
    }

    fn tell(&self, incident: &Incident) {
        let sink = self.chosen_sink();
        // A sink's own panic must not keep an exit from running.
        quietly(|| match sink {
            Some(sink) => sink(incident),
            None => tell_by_default(incident),
        });
    }

    /// Whether incidents are told on standard error, for want of anybody else.
    #[cfg(feature = "signal")]
    pub(crate) fn tells_standard_error(&self) -> bool {
        self.chosen_sink().is_none() && !is_heard()
    }

    fn chosen_sink(&self) -> Option<Sink> {
        let own = self.sink.read().unwrap_or_else(PoisonError::into_inner).clone();
        own.or_else(|| DEFAULT_SINK.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn tell_by_default(incident: &Incident) {
    #[cfg(feature = "tracing")]
    if is_heard() {
        let Incident { kind, name, location, message } = incident;
        tracing::error!(target: "tenure", %name, %location, "{kind}: {message}");
        return;
    }
    // Nobody can be told that standard error is closed. One write, lest lines of several threads are mixed.
    let _ = io::stderr().write_all(format!("tenure: {incident}\n").as_bytes());
}

/// Whether an event reaches a subscriber here.
#[cfg(any(feature = "signal", feature = "tracing"))]
fn is_heard() -> bool {
    #[cfg(feature = "tracing")]
    let heard = tracing::dispatcher::has_been_set()
        && tracing::dispatcher::get_default(|to| !to.is::<tracing::subscriber::NoSubscriber>());
    #[cfg(not(feature = "tracing"))]
    let heard = false;
    heard
}
