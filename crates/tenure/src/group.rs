//! A task group as a context: what it spawns does not outlive it.
//!
//! # Invariants
//! 1. A child is a branch of the group's scope, with a scope of its own: it is polled and dropped in both frames, and has
//!    ended when its own scope is empty. One that is dropped before hands the rest over to the group's scope.
//! 2. A child leaves when it is dropped, whatever it has come to; the group's exit counts down to none.
//! 3. The group closes when its exit finds no child left, under the lock under which children are counted: a child is
//!    refused or awaited, never lost between. Children are made, spawned and dropped behind that lock.

use std::error;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use crate::exit::{StopBody, StopSource};
use crate::fault::{Fault, drop_payload, quietly};
use crate::frame::{self, Node};
use crate::join::{Faults, result_of};
use crate::label::{Id, Label, next_id};
use crate::registry::{self, Phase};
use crate::scope::{Scope, Wait};
use crate::with::Leftover;
use crate::{AsyncExit, CancelToken, ErrorValue, ExitErrors, Outcome};

/// Enters a task group: leaving it awaits its children. For [`with`](crate::with); trio's nursery, Python's
/// `asyncio.TaskGroup`.
///
/// When a child fails or panics, the other children and the body are cancelled; when the body does not complete, the
/// children are. Each is dropped at its next suspension, what it has entered exits, and all that is awaited (law 34). Then
/// the first failure is the result, and the others are kept with it.
///
/// Children are tasks, so they borrow nothing. For work that borrows use `futures::join!` inside the body; for tasks
/// that may outlive a block, `tokio_util::task::TaskTracker`; for one task that is told to stop,
/// [`background`](crate::background).
///
/// ```
/// use tenure::{ExitErrors, task_group, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ExitErrors<&'static str>> {
/// let (send, mut receive) = tokio::sync::mpsc::channel(3);
/// with(task_group(), async |group| {
///     for number in 0..3 {
///         let send = send.clone();
///         group.spawn(async move { send.send(number).await.map_err(|_| "nobody listens") });
///     }
///     Ok::<_, ExitErrors<&str>>(())
/// })
/// .await?;
/// assert_eq!(receive.len(), 3);
/// # receive.close(); Ok(()) }
/// ```
///
/// In a function that returns `anyhow::Result`, or `Box<dyn Error + Send + Sync>`, `?` takes the group's errors as any
/// other:
///
/// ```
/// use tenure::{ExitErrors, task_group, with};
/// type Error = Box<dyn std::error::Error + Send + Sync>;
///
/// async fn serve() -> Result<(), Error> {
///     with(task_group::<Error>(), async |group| {
///         group.spawn(async { Err("no connection".into()) });
///         Ok::<_, ExitErrors<Error>>(())
///     })
///     .await?;
///     Ok(())
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(serve().await.unwrap_err().to_string(), "no connection");
/// # }
/// ```
///
/// # Errors
/// Never fails; the error type exists so that `with` can infer it.
///
/// # Panics
/// Outside of a tokio runtime.
///
/// # Cancel safety
/// Cancel safe: it does not wait.
#[track_caller]
pub fn task_group<E: ErrorValue>() -> impl Future<Output = Result<TaskGroup<E>, ExitErrors<E>>> {
    let label = Label { name: "task", location: Location::caller() };
    async move { Ok(TaskGroup::new(label)) }
}

/// Children that are awaited when the group is left. Created by [`task_group`].
#[must_use = "dropped, its children are cancelled"]
pub struct TaskGroup<E: ErrorValue> {
    shared: Arc<Shared<E>>,
}

/// Spawns onto a group from elsewhere, for instance from its children. Created by [`TaskGroup::spawner`].
pub struct Spawner<E: ErrorValue> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: ErrorValue> {
    state: Mutex<State<E>>,
    cancel: CancelToken,
    scope: Arc<Scope>,
    runtime: Handle,
    id: Id,
    /// The tenure whose exit waits for the children, once it does.
    owner: AtomicU64,
    label: Label,
}

struct State<E> {
    /// Whether it takes children.
    open: bool,
    /// Children that have not ended.
    alive: usize,
    /// What went wrong with children that have ended, in that order.
    faults: Faults<E>,
    /// Of the exit.
    exit: Option<Waker>,
    /// Of the body.
    body: Option<Waker>,
}

/// Error of [`Spawner::spawn`] on a closed group, which gives the future back.
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
    pub(crate) fn new(label: Label) -> Self {
        let state = State { open: true, alive: 0, faults: Vec::new(), exit: None, body: None };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                cancel: CancelToken::new(),
                scope: Arc::default(),
                runtime: Handle::current(),
                id: next_id(),
                owner: AtomicU64::new(0),
                label,
            }),
        }
    }

    /// Spawns a child. Its exit is awaited when the group is left.
    ///
    /// A child of a runtime that is shut down is dropped at once, as any task.
    #[track_caller]
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.spawn_at(Location::caller(), future);
    }

    pub(crate) fn spawn_at<F>(&self, location: &'static Location<'static>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let spawned = self.shared.spawn(future, location);
        // The exit, which closes the group, takes it by value.
        debug_assert!(spawned.is_ok(), "a group is open while it is borrowed");
        drop(spawned);
    }

    /// Returns a handle to spawn with from elsewhere.
    #[must_use]
    pub fn spawner(&self) -> Spawner<E> {
        Spawner { shared: Arc::clone(&self.shared) }
    }

    /// Cancels the children. The body goes on, and the group stays open.
    pub fn cancel(&self) {
        self.shared.cancel.cancel();
    }

    /// Returns the token by which the children are cancelled: by [`cancel`](Self::cancel), or when one of them fails.
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
        {
            let mut state = self.state();
            if !state.open {
                drop(state);
                return Err(SpawnError { future });
            }
            state.alive += 1;
        }
        let label = Label { location, ..self.label };
        let child = Child {
            body: Some(future),
            left: Some(Leftover::inside(self.id, label)),
            outer: Node { id: self.id, label, children: Some(Arc::clone(&self.scope)) },
            cancelled: None,
            leave: Leave { shared: Arc::clone(self) },
        };
        // On a runtime that is shut down, this drops the child.
        drop(self.runtime.spawn(child));
        Ok(())
    }

    /// Keeps what a child has come to, and cancels the others and the body.
    #[cold]
    fn failed(&self, label: Label, fault: Fault<E>) {
        let body = {
            let mut state = self.state();
            state.faults.push((label, fault));
            state.body.take()
        };
        self.cancel.cancel();
        if let Some(body) = body {
            body.wake();
        }
    }

    /// Ready when there is no child left; the group is closed then.
    fn poll_idle(&self, context: &Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = self.state();
        if state.alive == 0 {
            state.open = false;
            drop(state);
            return Poll::Ready(());
        }
        let old = state.exit.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        // No code of others runs under the lock, so a poisoned state is a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child leaves when this is dropped.
struct Leave<E: ErrorValue> {
    shared: Arc<Shared<E>>,
}

impl<E: ErrorValue> Drop for Leave<E> {
    fn drop(&mut self) {
        let exit = {
            let mut state = self.shared.state();
            state.alive -= 1;
            if state.alive == 0 { state.exit.take() } else { None }
        };
        if let Some(exit) = exit {
            quietly(|| exit.wake());
        }
    }
}

type Cancelled = Pin<Box<dyn Future<Output = ()> + Send>>;

pin_project! {
    /// A child: its body, and then the wait for what that has left behind.
    struct Child<F, E: ErrorValue> {
        #[pin]
        body: Option<F>,
        // There until the end.
        left: Option<Leftover>,
        // That of the group.
        outer: Node,
        cancelled: Option<Cancelled>,
        // Dropped last.
        leave: Leave<E>,
    }

    impl<F, E: ErrorValue> PinnedDrop for Child<F, E> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _outer = this.outer.enter_to_drop();
            if let Some(left) = this.left {
                let _own = left.node().enter_to_drop();
                quietly(|| this.body.set(None));
            }
            // What is left goes over to the group.
            *this.left = None;
        }
    }
}

impl<F, E> Child<F, E>
where
    F: Future<Output = Result<(), E>>,
    E: ErrorValue,
{
    /// Polls the body, and asks whether the group is cancelled. Ready when the body has ended, and is dropped.
    fn poll_body(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let shared = &this.leave.shared;
        let left = this.left.as_mut().expect("it is there until the end");
        let (own, cancel) = (left.node(), &shared.cancel);
        let frame = own.enter_body(context);
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let polled = if this.cancelled.is_none() && cancel.is_cancelled() {
            // It was cancelled before its first poll.
            Poll::Ready(Ok(()))
        } else {
            match catch_unwind(AssertUnwindSafe(|| body.poll(context))) {
                Ok(polled) => polled.map_err(Fault::Failed),
                Err(payload) => Poll::Ready(Err(Fault::Panicked(payload))),
            }
        };
        let ended = match polled {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                let cancelled = this.cancelled.get_or_insert_with(|| {
                    let cancel = cancel.clone();
                    Box::pin(async move { cancel.cancelled().await })
                });
                if cancelled.as_mut().poll(context).is_pending() {
                    drop(frame);
                    left.tenure.list(Phase::Held, context);
                    return Poll::Pending;
                }
                Ok(())
            }
        };
        let of_drop = catch_unwind(AssertUnwindSafe(|| this.body.set(None))).err();
        drop(frame);
        let fault = match (ended, of_drop) {
            (Err(Fault::Panicked(first)), Some(second)) => {
                drop_payload(second);
                Some(Fault::Panicked(first))
            }
            (Err(fault), None) => Some(fault),
            (ended, Some(payload)) => {
                quietly(|| drop(ended));
                Some(Fault::Panicked(payload))
            }
            (Ok(()), None) => None,
        };
        if let Some(fault) = fault {
            shared.failed(left.tenure.label(), fault);
        }
        Poll::Ready(())
    }
}

impl<F, E> Future for Child<F, E>
where
    F: Future<Output = Result<(), E>>,
    E: ErrorValue,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let owner = this.leave.shared.owner.load(Ordering::Relaxed);
        let is_running = this.body.as_pin_mut().is_some();
        // Taken out, so that the rest can be lent.
        let outer = this.outer;
        let mut outer = mem::replace(outer, Node::new(outer.label));
        let frame = outer.enter_as_job(owner, false);
        let mut polled = if is_running { self.as_mut().poll_body(context) } else { Poll::Ready(()) };
        if polled.is_ready() {
            let this = self.as_mut().project();
            polled = this.left.as_mut().map_or(Poll::Ready(()), |left| left.poll_listed(context));
        }
        drop(frame);
        *self.as_mut().project().outer = outer;
        ready!(polled);
        *self.project().left = None;
        Poll::Ready(())
    }
}

impl<E: ErrorValue> StopSource for Shared<E> {
    fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker();
        let state = self.state();
        if !state.faults.is_empty() {
            return Poll::Ready(());
        }
        if state.body.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return Poll::Pending;
        }
        drop(state);
        let new = waker.clone();
        let mut state = self.state();
        let old = state.body.replace(new);
        let failed = !state.faults.is_empty();
        drop(state);
        drop(old);
        if failed { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<E: ErrorValue> AsyncExit for TaskGroup<E> {
    type Error = ExitErrors<E>;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), ExitErrors<E>> {
        let shared = &self.shared;
        let owner = frame::enclosing_id();
        shared.owner.store(owner, Ordering::Relaxed);
        let _link = registry::current().link_group(shared.id, owner);
        if !outcome.is_completed() {
            self.cancel();
        }
        poll_fn(|context| {
            // Whoever waited for the children is gone: nobody is left who would want their work.
            if frame::is_abandoned() {
                self.cancel();
            }
            shared.poll_idle(context)
        })
        .await;
        let mut wait = Wait::default();
        poll_fn(|context| wait.poll_empty(&shared.scope, context)).await;
        let faults = mem::take(&mut shared.state().faults);
        result_of(faults)
    }

    fn stop_body(&self) -> Option<StopBody> {
        Some(Arc::clone(&self.shared) as _)
    }
}

impl<E: ErrorValue> Drop for TaskGroup<E> {
    fn drop(&mut self) {
        // After an exit there is nobody left. Without one, at its time limit, this is the forceful close.
        self.cancel();
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
