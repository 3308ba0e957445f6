//! A background task as a context: told to stop, awaited, and at its limit cut off.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tokio::time::timeout;

use crate::fault::{Expired, Fault};
use crate::group::TaskGroup;
use crate::label::Label;
use crate::with::report;
use crate::{AsyncExit, CancelToken, ErrorValue, ExitErrors, Outcome};

/// The time that a task has to stop, unless it is given another.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Enters a background task: `work` is spawned with a token, and stopped when the body has ended.
///
/// The exit cancels the token, waits for the task, at most for [`stop_timeout`](Background::stop_timeout), then drops it
/// and waits for what it has entered to exit. The task's error is the exit's. A task that ends by itself does not stop the
/// body; [`ended`](Background::ended) tells of it. For children whose failure cancels the body use
/// [`task_group`](crate::task_group).
///
/// ```
/// use tenure::{background, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), &'static str> {
/// let (send, mut receive) = tokio::sync::mpsc::channel(8);
/// let worker = background(async move |stop| {
///     stop.cancelled().await;
///     send.send("flushed").await.map_err(|_| "nobody listens")
/// });
/// with(worker, async |_worker| Ok::<_, &str>(())).await?;
/// assert_eq!(receive.recv().await, Some("flushed"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// Never fails; the error type exists so that `with` can infer it.
///
/// # Panics
/// Outside of a tokio runtime. The exit resumes a panic of the task.
///
/// # Cancel safety
/// Cancel safe: it does not wait.
#[track_caller]
pub fn background<E, F, Fut>(work: F) -> impl Future<Output = Result<Background<E>, E>> + Send
where
    E: ErrorValue,
    F: FnOnce(CancelToken) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    let label = Label { name: "background", location: Location::caller() };
    async move {
        let stop = CancelToken::new();
        let ended = CancelToken::new();
        let group = TaskGroup::new(label);
        let (asked, end) = (stop.clone(), EndsWith(ended.clone()));
        group.spawn_at(label.location, async move {
            let _end = end;
            work(asked).await
        });
        Ok(Background { group, label, stop, ended, stop_timeout: STOP_TIMEOUT_DEFAULT })
    }
}

/// Says that the task has ended, in whatever way.
struct EndsWith(CancelToken);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A task that runs beside a body. Created by [`background`].
#[must_use = "dropped, the task is cancelled"]
pub struct Background<E: ErrorValue> {
    group: TaskGroup<E>,
    label: Label,
    stop: CancelToken,
    ended: CancelToken,
    stop_timeout: Duration,
}

impl<E: ErrorValue> Background<E> {
    /// Sets how long the exit waits for the task before it drops it. Default: 10 s.
    pub fn stop_timeout(&mut self, limit: Duration) -> &mut Self {
        self.stop_timeout = limit;
        self
    }

    /// Returns the token that asks the task to stop.
    #[must_use]
    pub fn token(&self) -> &CancelToken {
        &self.stop
    }

    /// Waits until the task's future has ended, in whatever way. Its error or panic comes out of the exit.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl<E: ErrorValue> AsyncExit for Background<E> {
    type Error = E;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), E> {
        let Self { group, label, stop, stop_timeout, .. } = self;
        stop.cancel();
        let cut_off = group.token().clone();
        let mut exit = std::pin::pin!(group.exit(Outcome::Completed));
        let _ = outcome;
        let ended = match timeout(stop_timeout, exit.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                let waited_for = "its task, which did not stop when it was asked to".to_owned();
                let expired = Expired { limit: Some(stop_timeout), waited_for };
                report(label, &Fault::<E>::TimedOut(expired));
                cut_off.cancel();
                exit.await
            }
        };
        match ended {
            Ok(()) => Ok(()),
            Err(ExitErrors::One(error)) => Err(error),
            Err(ExitErrors::Several(_)) => unreachable!("there is one task"),
        }
    }
}

impl<E: ErrorValue> fmt::Debug for Background<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("ended", &self.ended.is_cancelled()).finish_non_exhaustive()
    }
}
