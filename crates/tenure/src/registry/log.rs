//! What came of the exits that were handed over, kept until a drain asks.

use std::fmt;
use std::sync::{MutexGuard, PoisonError};

use super::snapshot::OpenTenures;
use super::{Incident, IncidentKind, KEPT_INCIDENTS_MAX, Registry};
use crate::label::Label;

/// Report of a drain: the exits that were handed over since the last one.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "a report that is not read hides the exits that failed"]
pub struct DrainReport {
    /// Handed-over exits that have ended, in whatever way.
    pub ended: u64,
    /// The incidents among them, in order; at most [`KEPT_INCIDENTS_MAX`].
    pub incidents: Vec<Incident>,
    /// Incidents beyond that many: the report sink was told of them.
    pub incidents_dropped: u64,
    /// Exits that were handed over and have not ended by the deadline.
    pub open: OpenTenures,
}

impl DrainReport {
    /// Returns `true` if every exit ended, and ended well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.incidents.is_empty() && self.incidents_dropped == 0 && self.open.is_empty()
    }

    /// Returns the incidents of one kind.
    pub fn of_kind(&self, kind: IncidentKind) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(move |incident| incident.kind == kind)
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ended, incidents, incidents_dropped, open } = self;
        let wrong = incidents.len() as u64 + incidents_dropped;
        write!(f, "{ended} exits ended, {wrong} incidents, {} still open", open.len())?;
        for incident in incidents {
            write!(f, "\n  {incident}")?;
        }
        if !open.is_empty() {
            write!(f, "\n{open}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(super) struct Log {
    ended: u64,
    incidents: Vec<Incident>,
    incidents_dropped: u64,
    failed_enter: Option<FailedEnter>,
}

/// The last enter that failed, and how many had succeeded by then.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "signal"), expect(dead_code, reason = "`run` reads it"))]
pub(super) struct FailedEnter {
    label: Label,
    entered: u64,
}

impl Registry {
    /// Notes that an enter has failed: should it be why the main body ends, `run` names it.
    #[cold]
    pub(crate) fn log_failed_enter(&self, label: Label) {
        let failed = FailedEnter { label, entered: self.counters.sum().entered };
        self.lock_log().failed_enter = Some(failed);
    }

    /// The last enter that failed, if none has succeeded since.
    #[cfg(feature = "signal")]
    pub(crate) fn last_failed_enter(&self) -> Option<Label> {
        let failed = self.lock_log().failed_enter?;
        (self.counters.sum().entered == failed.entered).then_some(failed.label)
    }

    /// Records that a handed-over exit has ended.
    pub(crate) fn log_end(&self) {
        self.lock_log().ended += 1;
    }

    /// Records what went wrong with a handed-over exit.
    pub(crate) fn log_incident(&self, incident: Incident) {
        let mut log = self.lock_log();
        if log.incidents.len() < KEPT_INCIDENTS_MAX {
            log.incidents.push(incident);
        } else {
            log.incidents_dropped += 1;
        }
    }

    pub(super) fn has_no_log(&self) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.ended == 0 && log.incidents.is_empty()
    }

    /// Takes the record of what has ended, and looks at what has not.
    pub(crate) fn take_report(&self) -> DrainReport {
        let open = self.handed_over();
        let Log { ended, incidents, incidents_dropped, .. } = std::mem::take(&mut *self.lock_log());
        DrainReport { ended, incidents, incidents_dropped, open }
    }

    fn lock_log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
