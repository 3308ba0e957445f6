//! A task group as a context: what it spawns does not outlive it.
//!
//! # Invariants
//! 1. A child is polled and dropped in a frame of the group's scope: what it hands over is awaited by the group's exit.
//! 2. The group closes when its exit finds no child left, under the lock under which children are spawned: a child is
//!    refused or awaited, never lost between.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{error, future::poll_fn};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};

use crate::frame::{self, Id, Label};
use crate::guarded::{Fault, Payload};
use crate::join::result_of;
use crate::scope::Scope;
use crate::tenure::Tenure;
use crate::with::{Body, Ended, Stop};
use crate::{AsyncExit, CancelToken, ErrorValue, ExitErrors, Outcome, Stopped};

/// Enters a task group: leaving it awaits its children. For [`with`](crate::with); trio's nursery, Python's
/// `asyncio.TaskGroup`.
///
/// When a child fails or panics, or the body does not complete, the other children are cancelled: each is dropped at
/// its next suspension, what it has entered exits, and all that is awaited (law 34). Then the first failure is the
/// exit's error, and the others are kept with it.
///
/// Children are tasks, so they borrow nothing. For work that borrows use `futures::join!` inside the body; for tasks
/// that may outlive a block, `tokio_util::task::TaskTracker`.
///
/// ```
/// use tenure::{ExitErrors, task_group, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ExitErrors<&'static str>> {
/// let (send, mut receive) = tokio::sync::mpsc::channel(3);
/// with(task_group(), async |group| {
///     for number in 0..3 {
///         let send = send.clone();
///         let child = async move { send.send(number).await.map_err(|_| "nobody listens") };
///         group.spawn(child).expect("the group is open during its body");
///     }
///     Ok::<_, ExitErrors<&str>>(())
/// })
/// .await?;
/// assert_eq!(receive.len(), 3);
/// # receive.close(); Ok(()) }
/// ```
///
/// # Errors
/// Never: an enter has an error type for the sake of [`with`](crate::with).
///
/// # Panics
/// Outside of a tokio runtime.
///
/// # Cancel safety
/// Cancel safe: it does not wait.
#[track_caller]
pub fn task_group<E: ErrorValue>() -> impl Future<Output = Result<TaskGroup<E>, ExitErrors<E>>> {
    let label = Label { name: "task", location: Location::caller() };
    async move {
        Ok(TaskGroup {
            shared: Arc::new(Shared {
                children: Mutex::new(Some(JoinSet::new())),
                faults: Mutex::default(),
                cancel: CancelToken::new(),
                scope: Arc::default(),
                runtime: Handle::current(),
                id: frame::next_id(),
                label,
            }),
        })
    }
}

/// Children that are awaited when the group is left. Made by [`task_group`].
#[must_use = "dropped, its children are aborted"]
pub struct TaskGroup<E: ErrorValue> {
    shared: Arc<Shared<E>>,
}

/// Spawns onto a group from elsewhere, for instance from its children. Made by [`TaskGroup::spawner`].
pub struct Spawner<E: ErrorValue> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: ErrorValue> {
    /// `None` when the group is closed.
    children: Mutex<Option<JoinSet<ChildEnd<E>>>>,
    /// What went wrong with children that have ended, in that order.
    faults: Mutex<Vec<Fault<E>>>,
    cancel: CancelToken,
    scope: Arc<Scope>,
    runtime: Handle,
    id: Id,
    label: Label,
}

enum ChildEnd<E> {
    Done,
    Failed(E),
    Panicked(Payload),
}

/// A group that is closed takes no children; this is the one it refused.
pub struct SpawnError<F> {
    /// The future, not polled once.
    pub future: F,
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnError").finish_non_exhaustive()
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task group is closed: spawn inside its body, or from a child")
    }
}

impl<F> error::Error for SpawnError<F> {}

impl<E: ErrorValue> TaskGroup<E> {
    /// Spawns a child.
    ///
    /// # Errors
    /// If the group is closed: the error gives the future back.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<(), SpawnError<F>>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.shared.spawn(future, Location::caller())
    }

    /// A handle to spawn with from elsewhere.
    #[must_use]
    pub fn spawner(&self) -> Spawner<E> {
        Spawner { shared: Arc::clone(&self.shared) }
    }

    /// Cancels the children. The group stays open.
    pub fn cancel(&self) {
        self.shared.cancel.cancel();
    }

    /// The token by which the children are cancelled: to stop the body too when a child fails, give it to
    /// [`Options::cancel_on`](crate::Options::cancel_on), or race the body against it.
    #[must_use]
    pub fn token(&self) -> &CancelToken {
        &self.shared.cancel
    }
}

impl<E: ErrorValue> Spawner<E> {
    /// Spawns a child.
    ///
    /// # Errors
    /// If the group is closed: the error gives the future back.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<(), SpawnError<F>>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.shared.spawn(future, Location::caller())
    }
}

impl<E: ErrorValue> Shared<E> {
    fn spawn<F>(self: &Arc<Self>, future: F, location: &'static Location<'static>) -> Result<(), SpawnError<F>>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let mut children = self.children();
        let Some(children) = children.as_mut() else { return Err(SpawnError { future }) };
        let label = Label { location, ..self.label };
        // Here, so that a group that lives for long does not keep all that have ended.
        while let Some(ended) = children.try_join_next() {
            self.keep(ended);
        }
        let child = child(future, label, self.id, Arc::clone(&self.scope), self.cancel.clone());
        children.spawn_on(child, &self.runtime);
        Ok(())
    }

    fn keep(&self, ended: Result<ChildEnd<E>, JoinError>) {
        let fault = match ended {
            Ok(ChildEnd::Failed(error)) => Fault::Failed(error),
            Ok(ChildEnd::Panicked(payload)) => Fault::Panicked(payload),
            // Aborted: by the runtime, which is shutting down and will end this exit too.
            Ok(ChildEnd::Done) | Err(_) => return,
        };
        self.faults().push(fault);
    }

    fn faults(&self) -> MutexGuard<'_, Vec<Fault<E>>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next child to end; closes the group when there is none left.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<ChildEnd<E>, JoinError>>> {
        let mut children = self.children();
        let Some(set) = children.as_mut() else { return Poll::Ready(None) };
        let polled = set.poll_join_next(context);
        if let Poll::Ready(None) = polled {
            *children = None;
        }
        polled
    }

    fn abort(&self) {
        if let Some(children) = self.children().as_mut() {
            children.abort_all();
        }
    }

    fn children(&self) -> MutexGuard<'_, Option<JoinSet<ChildEnd<E>>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stops a child.
struct Cancelled {
    asked: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stop for Cancelled {
    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        self.asked.as_mut().poll(context).map(|()| Stopped::Cancelled)
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Stopped> {
        self.poll_enter(context)
    }
}

async fn child<E: ErrorValue>(
    future: impl Future<Output = Result<(), E>>,
    label: Label,
    group: Id,
    scope: Arc<Scope>,
    cancel: CancelToken,
) -> ChildEnd<E> {
    if cancel.is_cancelled() {
        return ChildEnd::Done;
    }
    let mut tenure = Tenure::inside(group, label);
    tenure.node.children = Some(scope);
    let asked = cancel.clone();
    let mut stop = Cancelled { asked: Box::pin(async move { asked.cancelled().await }) };
    match Body::new(&mut tenure, &mut stop, || future).await {
        Ended::Value(()) | Ended::Stopped(_) => ChildEnd::Done,
        Ended::Error(error) => {
            cancel.cancel();
            ChildEnd::Failed(error)
        }
        Ended::Panic(payload) => {
            cancel.cancel();
            ChildEnd::Panicked(payload)
        }
    }
}

impl<E: ErrorValue> AsyncExit for TaskGroup<E> {
    type Error = ExitErrors<E>;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), ExitErrors<E>> {
        if !outcome.is_completed() {
            self.cancel();
        }
        while let Some(ended) = poll_fn(|context| self.shared.poll_next(context)).await {
            self.shared.keep(ended);
        }
        self.shared.scope.until_empty().await;
        let faults = std::mem::take(&mut *self.shared.faults());
        result_of(faults)
    }
}

impl<E: ErrorValue> Drop for TaskGroup<E> {
    fn drop(&mut self) {
        // After an exit there is nobody left. Without one, at its time limit, this is the forceful close.
        self.shared.abort();
    }
}

impl<E: ErrorValue> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup").field("cancelled", &self.token().is_cancelled()).finish_non_exhaustive()
    }
}

impl<E: ErrorValue> Clone for Spawner<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E: ErrorValue> fmt::Debug for Spawner<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}
