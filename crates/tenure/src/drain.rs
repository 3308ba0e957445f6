//! Waiting for what runs in the background.

use std::time::Duration;

use tokio::time::timeout;

use crate::frame::running_jobs;
use crate::registry::{DrainReport, current};

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
/// Inside an exit it does not wait for that exit itself, nor for those that wait for it (law 18).
///
/// # Panics
/// If the runtime has no timer.
///
/// # Cancel safety
/// Cancel safe: dropped, it has taken nothing from the next drain's report.
pub async fn drain(limit: Duration) -> DrainReport {
    let registry = current();
    let all_ended = async {
        loop {
            let pending = registry.pending_for(&running_jobs());
            if pending.is_empty() {
                return;
            }
            for handed_over in pending {
                handed_over.latch.wait().await;
            }
        }
    };
    // The report says what is still open; nothing else is to be made of the deadline.
    let _ = timeout(limit, all_ended).await;
    registry.take_report()
}
