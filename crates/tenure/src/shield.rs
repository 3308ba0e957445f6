//! `shield`: an enter that is finished even when its caller is gone.

use std::any::type_name;
use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::AsyncExit;
use crate::fault::{Payload, describe, drop_payload, panic_message};
use crate::job::{Begun, Record, Settle};
use crate::label::Label;
use crate::registry::{IncidentKind, Phase};
use crate::tenure::Tenure;
use crate::with::{Known, Leave, Plain, exit_job, exit_limit_of_dropped};

/// Makes an enter that, once begun, is finished: a context for [`with`](crate::with) and its like.
///
/// When its caller is dropped during the enter, the enter goes on in the background; what it has entered is exited
/// there at once, told `Cancelled`, and the body is skipped (law 10). Shield an enter that takes something on the
/// other side of a wire before it returns: a `BEGIN`, a lock, a lease. An enter that can be dropped anywhere without
/// loss needs no shield, and costs a heap allocation less. Work without a resource, which is to be finished and not
/// exited, goes into [`run_to_completion`](crate::run_to_completion).
///
/// ```
/// use tenure::{released, shield, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::fmt::Error> {
/// let begin = released(async { Ok::<_, std::fmt::Error>("transaction") });
/// let name = with(shield(begin), async |tx| Ok::<_, std::fmt::Error>(tx.len())).await?;
/// assert_eq!(name, 11);
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// Dropped before its first poll, nothing happens. After that, the enter ends, and what it entered exits. Its error,
/// if it fails then, goes to the report sink.
#[track_caller]
pub fn shield<C, R, N>(context: C) -> Shield<R, N>
where
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send + 'static>,
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    let label = Label { name: type_name::<R>(), location: Location::caller() };
    shield_at(label, context.into_future())
}

/// As [`shield`], under this label.
pub(crate) fn shield_at<F, R, N>(label: Label, future: F) -> Shield<R, N>
where
    F: Future<Output = Result<R, N>> + Send + 'static,
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    Shield { enter: Some(Box::pin(Enter::Running { future })), tenure: None, label, panicked: None }
}

/// An enter that is finished even when its caller is gone. Made by [`shield`].
#[must_use = "futures do nothing unless polled"]
pub struct Shield<R, N>
where
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    // The type is erased: the future has a box anyway, and a name with lifetimes in it would keep bodies that are
    // generic over theirs from being spawned.
    enter: Option<BoxedEnter<R, N>>,
    /// Made at the first suspension: nobody can drop it before.
    tenure: Option<Tenure>,
    label: Label,
    /// The panic with which the enter's future was dropped behind its end: resumed when this is dropped, so that the
    /// resource is in safe hands.
    panicked: Option<Payload>,
}

/// What an enter returned, if it did; and the panic of its poll or of its drop.
struct Entered<R, N> {
    output: Option<Result<R, N>>,
    panicked: Option<Payload>,
    /// The time limit of the exit that follows when the caller is gone.
    exit_limit: Option<Duration>,
}

type BoxedEnter<R, N> = Pin<Box<dyn Future<Output = Entered<R, N>> + Send>>;

impl<R, N> Future for Shield<R, N>
where
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    type Output = Result<R, N>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R, N>> {
        let this = &mut *self;
        let enter = this.enter.as_mut().expect("a future is not polled after its end");
        let entered = enter.as_mut().poll(context);
        if entered.is_pending() {
            let label = this.label;
            this.tenure.get_or_insert_with(|| Tenure::new(label)).list(Phase::Entering, context);
        }
        let Entered { output, panicked, .. } = ready!(entered);
        this.enter = None;
        this.tenure = None;
        match (output, panicked) {
            (Some(output), panicked) => {
                this.panicked = panicked;
                Poll::Ready(output)
            }
            // A panic of the enter is the caller's (law 2); it was caught so that it is not handed over.
            (None, Some(payload)) => resume_unwind(payload),
            (None, None) => unreachable!("an enter returns or panics"),
        }
    }
}

impl<R, N> Drop for Shield<R, N>
where
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    fn drop(&mut self) {
        // Without a tenure it was never suspended, so nothing has begun.
        if let (Some(enter), Some(mut tenure)) = (self.enter.take(), self.tenure.take()) {
            let exit_limit = exit_limit_of_dropped();
            let enter: BoxedEnter<R, N> = match exit_limit {
                None => enter,
                limit => Box::pin(async move { Entered { exit_limit: limit, ..enter.await } }),
            };
            tenure.hand_over(enter, Begun::Enter);
        }
        if let Some(payload) = self.panicked.take() {
            if thread::panicking() {
                drop_payload(payload);
            } else {
                resume_unwind(payload);
            }
        }
    }
}

impl<R, N> Debug for Shield<R, N>
where
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("label", &self.label).finish_non_exhaustive()
    }
}

pin_project! {
    /// The enter, its panics caught.
    #[project = EnterProjection]
    enum Enter<F> {
        Running { #[pin] future: F },
        Over,
    }
}

impl<F, R, N> Future for Enter<F>
where
    F: Future<Output = Result<R, N>>,
{
    type Output = Entered<R, N>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = catch_unwind(AssertUnwindSafe(|| match self.as_mut().project() {
            EnterProjection::Running { future } => future.poll(context),
            EnterProjection::Over => unreachable!("an enter is not polled after its end"),
        }));
        let (output, panicked) = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => (Some(output), None),
            Err(payload) => (None, Some(payload)),
        };
        let of_drop = catch_unwind(AssertUnwindSafe(|| self.set(Self::Over))).err();
        let panicked = match (panicked, of_drop) {
            (Some(first), Some(second)) => {
                drop_payload(second);
                Some(first)
            }
            (first, second) => first.or(second),
        };
        Poll::Ready(Entered { output, panicked, exit_limit: None })
    }
}

/// Without a caller: what was entered is exited at once.
impl<R: AsyncExit, N: Debug> Settle for Entered<R, N> {
    fn settle(self, record: &Record) {
        if let Some(payload) = self.panicked {
            record.incident(IncidentKind::EnterPanicked, panic_message(&*payload));
            drop_payload(payload);
        }
        match self.output {
            Some(Ok(resource)) => {
                let exit = exit_job(Plain::of(resource), Known::<()>::Cancelled, self.exit_limit);
                // Handed over before this record leaves its scope: the parent goes on waiting. Under the same id: guards
                // entered earlier, which wait for this tenure, wait for its exit too.
                let mut tenure = Tenure::entered(record.label);
                tenure.node.id = record.id;
                tenure.hand_over(Box::pin(exit), Begun::Branch);
            }
            Some(Err(error)) => record.incident(IncidentKind::EnterFailed, describe(&error)),
            None => {}
        }
    }
}
