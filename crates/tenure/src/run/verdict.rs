//! The judgement over a run, when all has happened.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Settings;
use super::end::{Registration, Stage};
use super::held::add;
use super::tell::{tell, tell_given_up};
use crate::fault::Payload;
use crate::registry::{Registry, current};
use crate::{Counters, DrainReport, IncidentKind, OpenTenure, counters};

/// The exit code of a process that did not exit all that it held, or not well: `EX_SOFTWARE` of `sysexits.h`.
pub(super) const UNCLEAN_CODE: u8 = 70;

/// What a run has come to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) settings: Settings,
    /// The code of the body's result, or its panic; `None` if it was dropped.
    pub(super) ended: Option<Result<ExitCode, Payload>>,
    pub(super) deadline: Instant,
    /// As they were when the body had ended.
    pub(super) before: Counters,
    /// What came of the exits that were handed over.
    pub(super) report: DrainReport,
    /// What is held although it had to exit.
    pub(super) held: Vec<OpenTenure>,
}

impl Ran {
    /// How much of the time for the stop is left.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Says what is given up, before the runtime that holds it goes.
    pub(super) fn give_up(&self, end: &Registration) {
        tell_given_up(&self.held);
        end.set_clean(self.is_clean(&counters()));
        end.set_stage(Stage::Runtime);
    }

    /// A body that failed without a caller is no fault of the end: its exit was told, and went well.
    fn is_clean(&self, now: &Counters) -> bool {
        let DrainReport { incidents, incidents_dropped, open, .. } = &self.report;
        let has_fault = incidents.iter().any(|incident| incident.kind != IncidentKind::BodyUnclaimed);
        let is_drained = !has_fault && *incidents_dropped == 0 && open.is_empty();
        is_drained && self.held.is_empty() && faults(now) == faults(&self.before)
    }

    /// Says what went wrong, and makes the exit code. To be called inside of the runtime, or of what is left of it.
    ///
    /// # Panics
    /// Resumes the body's panic.
    pub(super) fn judge(mut self, end: Registration) -> ExitCode {
        end.grant_last_words();
        let registry = current();
        add(&mut self.report, registry.take_report());
        // A thread that blocks is not ended with its runtime.
        let known: HashSet<u64> = self.held.iter().map(|tenure| tenure.id).collect();
        let mut late = end.outside().held();
        // The entries of a stack have new ids each time, and the stack's for their parent.
        late.retain(|tenure| ![Some(tenure.id), tenure.parent].iter().flatten().any(|id| known.contains(id)));
        tell_given_up(&late);
        self.held.append(&mut late);
        let now = counters();
        let clean = self.is_clean(&now);
        end.set_clean(clean);
        if !clean {
            self.tell_incidents(&registry);
        }
        let own = match self.ended {
            Some(Ok(code)) if code != ExitCode::SUCCESS => Some(code),
            Some(Ok(_)) | None => None,
            Some(Err(payload)) => {
                drop(end);
                resume_unwind(payload)
            }
        };
        let signal = end.asked().filter(|_| !self.settings.success_after_signal);
        let code = match (own, signal) {
            (Some(code), _) => code,
            (None, _) if !clean => {
                let wrong = faults(&now).saturating_sub(faults(&self.before));
                let wrong = wrong.max(self.report.incidents.len() as u64 + self.report.incidents_dropped);
                let given_up = self.held.len();
                tell(format_args!(
                    "not everything was exited well: {wrong} incidents, {given_up} given up; exit code {UNCLEAN_CODE}"
                ));
                ExitCode::from(UNCLEAN_CODE)
            }
            (None, Some(asked)) => ExitCode::from(asked.signal.code()),
            (None, None) => ExitCode::SUCCESS,
        };
        drop(end);
        code
    }

    /// Says what went wrong in the background, unless it was said here when it happened.
    fn tell_incidents(&self, registry: &Registry) {
        if registry.tells_standard_error() {
            return;
        }
        for incident in &self.report.incidents {
            tell(format_args!("{incident}"));
        }
        if let more @ 1.. = self.report.incidents_dropped {
            tell(format_args!("{more} more incidents, of which the report sink was told"));
        }
    }
}

/// The number of exits that did not end well.
fn faults(counters: &Counters) -> u64 {
    counters.failed + counters.panicked + counters.timed_out + counters.lost
}
