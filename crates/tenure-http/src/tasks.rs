//! The tasks that hyper spawns for one connection: HTTP/2 streams of a server, drivers of a client.
//!
//! # Invariants
//! 1. Each task holds a sender until its future, and all that was handed over inside it, has ended; when no sender is
//!    left, no task is.
//! 2. A task that is asked to stop drops its future and awaits what that hands over.

use std::convert::Infallible;
use std::future::ready;

use hyper::rt::Executor;
use tenure::{AsyncExit, CancelToken, Options, Outcome, Stopped};
use tokio::sync::mpsc;

/// Spawns tasks that can be awaited together.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    stop: CancelToken,
    alive: mpsc::Sender<Infallible>,
}

/// Awaits the tasks.
#[derive(Debug)]
pub(crate) struct TasksEnd {
    stop: CancelToken,
    alive: mpsc::Receiver<Infallible>,
}

impl Tasks {
    pub(crate) fn new() -> (Self, TasksEnd) {
        let stop = CancelToken::new();
        let (sender, receiver) = mpsc::channel(1);
        (Self { stop: stop.clone(), alive: sender }, TasksEnd { stop, alive: receiver })
    }

    /// What may keep the end waiting, as long as it has not come.
    #[cfg(feature = "serve")]
    pub(crate) fn alive(&self) -> mpsc::WeakSender<Infallible> {
        self.alive.downgrade()
    }
}

impl TasksEnd {
    /// Asks all to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all have ended. Cancel safe.
    pub(crate) async fn wait(&mut self) {
        // Nothing is ever sent: this is ready when the last sender is gone.
        let _: Option<Infallible> = self.alive.recv().await;
    }
}

impl Drop for TasksEnd {
    fn drop(&mut self) {
        // Whoever drops it without a wait has no time left.
        self.stop();
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        let Self { stop, alive } = self.clone();
        tokio::spawn(async move {
            let stream = ready(Ok::<_, Stopped>(HttpTask));
            let run = async |_: &mut HttpTask| {
                future.await;
                Ok::<_, Stopped>(())
            };
            // Stopped is how it is meant to end when its connection is gone.
            let _ = Options::new().name("HTTP task").cancel_on(&stop).with(stream, run).await;
            drop(alive);
        });
    }
}

/// What a task holds: nothing of its own. It is the parent of all that is handed over inside it.
struct HttpTask;

impl AsyncExit for HttpTask {
    type Error = Stopped;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Stopped> {
        Ok(())
    }
}
