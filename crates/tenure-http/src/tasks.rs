//! The tasks that hyper spawns for one connection: HTTP/2 streams of a server, drivers of a client.
//!
//! # Invariants
//! 1. Each task holds a sender until its future, and all that was handed over inside it, has ended; when no sender is
//!    left, no task is.
//! 2. A task that is asked to stop drops its future and awaits what that hands over.

use std::convert::Infallible;
use std::future::ready;
#[cfg(feature = "serve")]
use std::sync::Arc;

use hyper::rt::Executor;
use tenure::{AsyncExit, CancelToken, Options, Outcome, Stopped};
use tokio::sync::mpsc;

#[cfg(feature = "serve")]
use crate::stop::Stages;

/// Spawns tasks that can be awaited together.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    stop: CancelToken,
    alive: mpsc::Sender<Infallible>,
    /// Those of the server whose streams these are.
    #[cfg(feature = "serve")]
    stages: Option<Arc<Stages>>,
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
        let tasks = Self {
            stop: stop.clone(),
            alive: sender,
            #[cfg(feature = "serve")]
            stages: None,
        };
        (tasks, TasksEnd { stop, alive: receiver })
    }

    /// Those of a server: the end of the process does not stop them once the server is being left, which does.
    #[cfg(feature = "serve")]
    pub(crate) fn of_server(stages: Arc<Stages>) -> (Self, TasksEnd) {
        let (tasks, end) = Self::new();
        (Self { stages: Some(stages), ..tasks }, end)
    }

    fn options(&self) -> Options {
        let options = Options::new().name("HTTP task").cancel_on(&self.stop);
        #[cfg(feature = "serve")]
        if let Some(stages) = self.stages.clone() {
            return options.stays_while(move || stages.are_begun());
        }
        options
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
        let (options, alive) = (self.options(), self.alive.clone());
        tokio::spawn(async move {
            let stream = ready(Ok::<_, Stopped>(HttpTask));
            let run = async |_: &mut HttpTask| {
                future.await;
                Ok::<_, Stopped>(())
            };
            // Stopped is how it is meant to end when its connection is gone.
            let _ = options.with(stream, run).await;
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
