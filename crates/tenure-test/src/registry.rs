//! The only place that asks the hub's registry what is held.

use std::collections::HashSet;
use std::time::Duration;

use tenure::{IncidentKind, counters, drain, open, set_report_sink};

use crate::{EventKind, Recorder};

/// Writes what is reported on this runtime into the trace.
pub(crate) fn record_incidents(recorder: &Recorder) {
    let recorder = recorder.clone();
    set_report_sink(move |incident| {
        let kind = EventKind::Incident(incident.kind);
        let text = format!("{} of {}: {}", incident.kind, incident.name, incident.message);
        recorder.push(kind, &text, 0, incident.location, None);
    });
}

/// What was held on this runtime at some time: the state of a run, for example, which stays held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    ids: HashSet<u64>,
}

impl Held {
    pub(crate) fn now() -> Self {
        Self { ids: open().iter().map(|tenure| tenure.id).collect() }
    }
}

/// How often this runtime has entered something.
pub(crate) fn entered() -> u64 {
    counters().entered
}

/// Waits for every exit that was handed over on this runtime, then says what is wrong: tenures still open besides
/// those that were `before`, exits lost, accounts that do not match. Empty is right.
pub(crate) async fn settle(limit: Duration, before: &Held) -> Vec<String> {
    let report = drain(limit).await;
    let (open, counted) = (open(), counters());
    let mut findings = Vec::new();
    let is_new = open.iter().any(|tenure| !before.ids.contains(&tenure.id));
    if is_new {
        findings.push(format!("still open:\n{open}"));
    } else if open.is_empty() && counted.entered != counted.exited + counted.lost + counted.disarmed {
        findings.push(format!("nothing is open, and yet the counts do not match: {counted:?}"));
    }
    let lost = [IncidentKind::ExitLost, IncidentKind::EnterLost];
    let lost = lost.iter().flat_map(|kind| report.of_kind(*kind));
    findings.extend(lost.map(ToString::to_string));
    findings
}

/// Waits for the exits of what is no longer held, whatever becomes of them.
pub(crate) async fn let_go(limit: Duration) {
    let _ = drain(limit).await;
}

/// The findings as lines.
pub(crate) fn list(findings: &[String]) -> String {
    findings.iter().map(|finding| format!("- {finding}\n")).collect()
}
