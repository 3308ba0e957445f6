//! What a run has to see exited: all that is held on its runtime, in whichever task, but for what was held before.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::registry::current;
use crate::{DrainReport, KEPT_INCIDENTS_MAX, OpenTenure, drain, open};

/// How often a run looks for what is held in other tasks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Asks all that is held on the current runtime to stop, in whichever task: the body is dropped, and its exit handed over.
fn stop_all(outside: &Outside) {
    current().ask_to_stop(&outside.0);
}

/// What was held when a run began: around it, or elsewhere on its runtime. It is not the run's to see exited, unless it
/// has been handed over: its caller is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside(HashSet<u64>);

impl Outside {
    pub(super) fn of(runtime: &Handle) -> Self {
        let _inside = runtime.enter();
        Self(open().iter().filter(|tenure| !tenure.handed_over).map(|tenure| tenure.id).collect())
    }

    /// What is held now on this runtime, and was not held before.
    pub(super) fn held_on(&self, runtime: &Handle) -> Vec<OpenTenure> {
        let _inside = runtime.enter();
        self.held()
    }

    /// What is held now on the current runtime, and was not held before.
    pub(super) fn held(&self) -> Vec<OpenTenure> {
        let open = open();
        let outside = open.iter().filter(|tenure| !tenure.handed_over && self.0.contains(&tenure.id));
        let ages: HashMap<u64, Duration> = outside.map(|tenure| (tenure.id, tenure.age)).collect();
        // The entries of a stack are as old as the stack, to the nanosecond, those put on it since included.
        let is_entry =
            |tenure: &OpenTenure| tenure.parent.is_some_and(|parent| ages.get(&parent) == Some(&tenure.age));
        open.iter().filter(|tenure| !ages.contains_key(&tenure.id) && !is_entry(tenure)).cloned().collect()
    }
}

/// Waits until nothing is held on the current runtime, and what was handed over has ended, or until `deadline`.
///
/// What was handed over comes first, for half of the time: its exits may need tasks that hold something, the driver of a
/// connection for instance. Then what is still held is asked to stop.
///
/// While tasks are alive it looks twice: a task that is polled now on another thread is not seen to hold anything before
/// its body has suspended.
///
/// Returns what came of what was handed over, and what is still held.
pub(super) async fn released(outside: &Outside, deadline: Instant) -> (DrainReport, Vec<OpenTenure>) {
    let mut report = DrainReport::default();
    let mut looked = false;
    let left = deadline.saturating_duration_since(Instant::now());
    add(&mut report, drain(left / 2).await);
    stop_all(outside);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        add(&mut report, drain(left).await);
        let held = outside.held();
        let nothing = held.is_empty() && (looked || Handle::current().metrics().num_alive_tasks() == 0);
        let left = deadline.saturating_duration_since(Instant::now());
        if nothing || left.is_zero() {
            return (report, held);
        }
        looked = held.is_empty();
        // A body that had not suspended before is asked now.
        stop_all(outside);
        sleep(LOOK_INTERVAL.min(left)).await;
    }
}

/// Adds what came of exits since.
pub(super) fn add(report: &mut DrainReport, since: DrainReport) {
    let DrainReport { ended, incidents, incidents_dropped, open } = since;
    report.ended += ended;
    report.incidents_dropped += incidents_dropped;
    for incident in incidents {
        if report.incidents.len() < KEPT_INCIDENTS_MAX {
            report.incidents.push(incident);
        } else {
            report.incidents_dropped += 1;
        }
    }
    report.open = open;
}
