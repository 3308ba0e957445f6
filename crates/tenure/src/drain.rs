//! Waiting for what runs in the background.

use std::time::Duration;

use tokio::time::timeout;

use crate::frame::{self, running_jobs};
use crate::registry::{DrainReport, Registry, current};

/// Waits until every exit that was handed over on this runtime has ended, those handed over meanwhile included, or
/// until `limit` has passed; then says what came of them (law 16).
///
/// Call it before a runtime is dropped: an exit that has not ended by then is lost. [`run`](crate::run) and
/// `#[tenure::main]` do so by themselves.
///
/// What is still held by bodies, guards and stacks is not waited for: see [`open`](crate::open).
///
/// ```
/// use std::time::Duration;
/// use tenure::{drain, hold, released};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), &'static str> {
/// drop(hold(released(async { Ok::<_, &str>("lease") })).await?);
/// let report = drain(Duration::from_secs(5)).await;
/// assert!(report.is_clean() && report.ended == 1, "{report}");
/// # Ok(()) }
/// ```
///
/// Inside an exit it does not wait for that exit itself, nor for those that wait for it (law 18). It knows those of its own
/// runtime: exits on another one that wait for the caller hold it up until its limit.
///
/// Each incident, and each exit that has ended, is in one report: of two drains that run at once, each has a part.
///
/// # Panics
/// If the runtime has no timer.
///
/// # Cancel safety
/// Cancel safe: dropped, it has taken nothing from the next drain's report.
pub async fn drain(limit: Duration) -> DrainReport {
    let registry = current();
    // The report says what is still open; nothing else is to be made of the deadline.
    let _ = timeout(limit, all_ended(&registry)).await;
    registry.take_report()
}

async fn all_ended(registry: &Registry) {
    if !frame::is_enclosed() {
        loop {
            let pending = registry.pending();
            if pending.is_empty() {
                return;
            }
            for latch in pending {
                latch.wait().await;
            }
        }
    }
    // Inside a body or an exit: who waits for whom changes with each hand-over, of the tenure around this too, so it is
    // looked up anew.
    let draining = registry.draining();
    let listener = registry.changes().listen();
    listener.until(|| draining.is_done(&running_jobs()).then_some(())).await;
}
