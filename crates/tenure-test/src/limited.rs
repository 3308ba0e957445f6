//! [`limited`]: awaits a task of the user's, in real time, for so long and no longer.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinHandle, yield_now};
use tokio::time::timeout;

/// The yields in which most checks have ended, so that no watchdog is needed.
const YIELDS_BEFORE_WATCHDOG: u32 = 3;
/// How long an aborted task may take to end, in seconds.
const ABORT_LIMIT_SECONDS: u64 = 1;

/// The task did not end within its limit. It was aborted.
#[derive(Debug)]
pub(crate) struct TimedOut;

/// Awaits the task, and aborts it when `limit` of real time has passed.
///
/// Under a paused clock a timer of the runtime would fire as soon as the task waits for a socket: there a thread
/// watches.
pub(crate) async fn limited<T>(
    mut task: JoinHandle<T>,
    limit: Duration,
    is_real: bool,
) -> Result<Result<T, JoinError>, TimedOut> {
    if is_real {
        return match timeout(limit, &mut task).await {
            Ok(joined) => Ok(joined),
            Err(_) => {
                stop(task).await;
                Err(TimedOut)
            }
        };
    }
    for _ in 0..YIELDS_BEFORE_WATCHDOG {
        if task.is_finished() {
            break;
        }
        yield_now().await;
    }
    let watchdog = (!task.is_finished()).then(|| Watchdog::start(task.abort_handle(), limit));
    let joined = task.await;
    let is_late = watchdog.is_some() && joined.as_ref().is_err_and(JoinError::is_cancelled);
    if is_late { Err(TimedOut) } else { Ok(joined) }
}

/// Aborts a task and waits until it has ended, unless it blocks its thread.
pub(crate) async fn stop<T>(task: JoinHandle<T>) -> Option<Result<T, JoinError>> {
    task.abort();
    timeout(Duration::from_secs(ABORT_LIMIT_SECONDS), task).await.ok()
}

/// A thread that aborts a task unless it is dropped in time.
struct Watchdog {
    _calm: mpsc::Sender<()>,
}

impl Watchdog {
    fn start(task: AbortHandle, limit: Duration) -> Self {
        let (calm, alarm) = mpsc::channel::<()>();
        // Not joined: it ends by itself as soon as the sender is gone.
        thread::spawn(move || {
            if alarm.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                task.abort();
            }
        });
        Self { _calm: calm }
    }
}
