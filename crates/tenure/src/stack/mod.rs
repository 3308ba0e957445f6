//! `ExitStack`: contexts whose number is known only at run time.

mod arena;
mod entry;
mod stops;
mod unwind;

use std::any::type_name;
use std::fmt;
use std::future::ready;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;

use crate::ExitErrors;
use crate::exit::StopBody;
use crate::fault::{Fault, Payload};
use crate::frame;
use crate::held::ending_of_drop;
use crate::inline_exit::InlineExit;
use crate::job::Begun;
use crate::label::Label;
use crate::registry::{self, Count, Phase, Registry};
use crate::tenure::Tenure;
use crate::with::{Leave, Plain, Recovering, kept, report};
use crate::{AsyncExit, BodyFn, Ending, ErrorValue, ExitFuture, Outcome, RecoverExit, Stopped, Verdict, with};

use arena::{Exits, Loans};
use entry::{AsyncCallback, Callback, Entry, OutcomeCallback};
use unwind::{Made, Unwound, fault_as_error, unwind};

/// Contexts entered one after the other, exited in reverse: Python's `AsyncExitStack`.
///
/// Use it where the number of resources is known only at run time, or where they are entered in different branches.
/// For one resource use [`with`]; for a few that are independent, [`join`](crate::join).
///
/// `E` is the error in which all exits meet: what the function that closes the stack returns.
///
/// ```
/// use tenure::{closing, with_stack};
/// # type Error = std::io::Error;
/// # async fn open(name: &str) -> Result<String, Error> { Ok(name.to_owned()) }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let names = ["a", "b", "c"];
/// let total = with_stack(async |stack| {
///     let mut files = Vec::new();
///     for name in names {
///         files.push(stack.enter(closing(open(name), async |_| Ok::<_, Error>(()))).await?);
///     }
///     // All of them are usable at once.
///     files[0].push_str("!");
///     Ok::<_, Error>(files.iter().map(|file| file.len()).sum::<usize>())
/// })
/// .await?;
/// assert_eq!(total, 4);
/// # Ok(()) }
/// ```
///
/// # Guarantees
/// It behaves as the same contexts nested by hand: outcomes, errors, order (law 21). Each exit is told the outcome as
/// those before it have left it: an exit that fails makes the later ones see a failure, one that recovers makes them
/// see a completed body. All exits run, whatever fails or panics (law 25). Each is counted, and seen by
/// [`open`](crate::open), as a tenure of its own.
///
/// Dropped unclosed, it exits in the background, as any tenure (law 27).
#[must_use = "dropped, all that is on it exits at once, in the background"]
pub struct ExitStack<E: ErrorValue> {
    // There until the stack is consumed.
    held: Option<OnStack<E>>,
    limit: Option<ExitLimit<E>>,
}

struct OnStack<E> {
    loans: Loans<E>,
    tenure: Mutex<Tenure>,
    /// The registry in which it is listed, from the first entry on.
    registry: OnceLock<Arc<Registry>>,
}

/// The time limit of each exit, and the error that says it has passed.
struct ExitLimit<E> {
    limit: Duration,
    error: fn(Stopped) -> E,
}

impl<E> Clone for ExitLimit<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ExitLimit<E> {}

/// Runs `body` with an empty stack, and closes the stack: what it returns is what [`with`] would.
///
/// Recovering exits on it cannot suppress the body's error here, since the type would not show it. For that:
/// `with_recovering(std::future::ready(Ok::<_, E>(ExitStack::new())), …)`.
///
/// # Errors
/// The body's error; else that of the first exit that failed. Those after it go to the report sink.
///
/// # Panics, cancel safety
/// As [`with`].
#[track_caller]
pub fn with_stack<T, E, F>(body: F) -> impl Future<Output = Result<T, E>> + Send
where
    F: for<'r> BodyFn<&'r mut ExitStack<E>, Result<T, E>, Fut: Send> + Send,
    T: Send,
    E: ErrorValue,
{
    let stack = ExitStack::new();
    with(ready(Ok::<_, E>(stack)), body)
}

impl<E: ErrorValue> ExitStack<E> {
    /// An empty stack.
    #[track_caller]
    pub fn new() -> Self {
        let label = Label { name: "ExitStack", location: Location::caller() };
        Self { held: Some(OnStack::new(label)), limit: None }
    }

    /// Limits each single exit. At expiry its future is dropped, the resource's own `Drop` is the forceful close, and
    /// the exits below it go on, told [`Stopped::ExitLimit`] as an `E` (law 15). Default: without limit.
    pub fn exit_limit(mut self, limit: Duration) -> Self
    where
        E: From<Stopped>,
    {
        self.limit = Some(ExitLimit { limit, error: E::from });
        self
    }

    /// Enters `context` and puts its exit on the stack.
    ///
    /// The borrow lives as long as the stack is not used by value or by `&mut`, that is until it is closed or moved
    /// from: several resources are usable at once.
    ///
    /// # Errors
    /// The enter's error; nothing is registered then (law 23).
    ///
    /// # Cancel safety
    /// The enter is dropped where it stands, unless it is shielded; nothing is registered.
    #[track_caller]
    pub fn enter<C, R, N>(&self, context: C) -> impl Future<Output = Result<&mut R, N>>
    where
        C: IntoFuture<Output = Result<R, N>>,
        R: AsyncExit,
        E: From<R::Error>,
    {
        let label = Label { name: type_name::<R>(), location: Location::caller() };
        async move {
            let (resource, panicked) = kept(context, self.limit.map(|limit| limit.limit)).await;
            let lent = resource.map(|resource| self.lend(label, Plain::of(resource)));
            entered(label, lent.is_ok(), panicked);
            lent
        }
    }

    /// Enters `context`, whose exit may recover, and puts its exit on the stack.
    ///
    /// # Errors, cancel safety
    /// As [`enter`](Self::enter).
    #[track_caller]
    pub fn enter_recovering<C, R, N>(&self, context: C) -> impl Future<Output = Result<&mut R, N>>
    where
        C: IntoFuture<Output = Result<R, N>>,
        R: RecoverExit,
        E: From<R::Error>,
    {
        let label = Label { name: type_name::<R>(), location: Location::caller() };
        async move {
            let (resource, panicked) = kept(context, self.limit.map(|limit| limit.limit)).await;
            let lent = resource.map(|resource| self.lend(label, Recovering::of(resource)));
            entered(label, lent.is_ok(), panicked);
            lent
        }
    }

    /// Puts the exit of a resource that is entered already on the stack.
    #[track_caller]
    pub fn push<R>(&self, resource: R) -> &mut R
    where
        R: AsyncExit,
        E: From<R::Error>,
    {
        let label = Label { name: type_name::<R>(), location: Location::caller() };
        self.lend(label, Plain::of(resource))
    }

    /// Puts the exit of a resource that is entered already, and may recover, on the stack.
    #[track_caller]
    pub fn push_recovering<R>(&self, resource: R) -> &mut R
    where
        R: RecoverExit,
        E: From<R::Error>,
    {
        let label = Label { name: type_name::<R>(), location: Location::caller() };
        self.lend(label, Recovering::of(resource))
    }

    /// Puts a function on the stack.
    #[track_caller]
    pub fn defer(&self, callback: impl FnOnce() + Send + 'static) {
        let label = Label { name: "defer", location: Location::caller() };
        self.lend(label, Plain::of(Callback(callback, PhantomData)));
    }

    /// Puts an asynchronous function on the stack.
    #[track_caller]
    pub fn defer_async<F, Fut>(&self, callback: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send,
    {
        let label = Label { name: "defer_async", location: Location::caller() };
        self.lend(label, Plain::of(AsyncCallback(callback, PhantomData)));
    }

    /// Puts an asynchronous function that is told the outcome on the stack.
    #[track_caller]
    pub fn defer_with_outcome<F>(&self, callback: F)
    where
        F: for<'o> FnOnce(Outcome<'o>) -> ExitFuture<'o, E> + Send + 'static,
    {
        let label = Label { name: "defer_with_outcome", location: Location::caller() };
        self.lend(label, Plain::of(OutcomeCallback(callback, PhantomData)));
    }

    /// How many exits are on the stack.
    #[must_use]
    pub fn len(&self) -> usize {
        self.on_stack().loans.len()
    }

    /// Whether no exit is on the stack.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves all exits, in order, to a new stack; this one is empty and usable (law 24).
    ///
    /// The way to say «it went well, keep it all»: enter things in a function, and return what `pop_all` gives.
    #[track_caller]
    pub fn pop_all(&mut self) -> Self {
        let label = Label { name: "ExitStack", location: Location::caller() };
        self.on_stack().loans.stops().moved();
        Self { held: self.held.replace(OnStack::new(label)), limit: self.limit }
    }

    /// Exits all, told that the body completed.
    ///
    /// # Errors
    /// One failure as it is, several as a list in the order in which they happened (law 25).
    ///
    /// # Panics
    /// Resumes the panic of an exit, if it was the first trouble.
    ///
    /// # Cancel safety
    /// Dropped before its end, the exits go on in the background.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` cannot say that its future is `Send`")]
    pub fn close(self) -> impl Future<Output = Result<(), ExitErrors<E>>> + Send {
        async move { self.close_with(Ending::Completed).await.map(drop) }
    }

    /// Exits all, told this ending, and says whether one of them recovered from it.
    ///
    /// # Errors
    /// As [`close`](Self::close). Where the verdict is [`Verdict::Recover`], what went wrong is told to the report sink.
    ///
    /// # Panics
    /// As [`close`](Self::close).
    ///
    /// # Cancel safety
    /// As [`close`](Self::close).
    pub async fn close_with(mut self, ending: Ending) -> Result<Verdict, ExitErrors<E>> {
        let OnStack { loans, tenure, .. } = self.held.take().expect(FULL);
        let mut tenure = tenure.into_inner().unwrap_or_else(PoisonError::into_inner);
        let exits = unwind_all(tenure.registry(), loans.into_exits(), ending, self.limit);
        let Unwound { made, others } = InlineExit::of_guard(&mut tenure, || exits).await;
        let others = others.into_iter();
        match made {
            Made::Unchanged if others.len() == 0 => Ok(Verdict::Propagate),
            Made::Unchanged => Err(ExitErrors::of(others.map(|(_, fault)| fault))),
            Made::Recovered => {
                others.for_each(|(label, fault)| report(label, &fault));
                Ok(Verdict::Recover)
            }
            Made::Failed(_, error) => {
                let first = std::iter::once(Fault::Failed(error));
                Err(ExitErrors::of(first.chain(others.map(|(_, fault)| fault))))
            }
            Made::Panicked(_, payload, _) => {
                others.for_each(|(label, fault)| report(label, &fault));
                resume_unwind(payload)
            }
        }
    }

    /// Exits all, told this ending, without waiting: as far as nothing has to be waited for here and now, the rest in the
    /// background. No task is spawned where all exits end at once.
    ///
    /// Returns what came of the exits if they have ended. `None` says that they go on in the background, where what goes
    /// wrong is told to the report sink.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tenure::{Ending, ExitStack};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let stack = ExitStack::<std::io::Error>::new();
    /// stack.defer(|| println!("at once"));
    /// assert!(stack.detach(Ending::Completed).is_some());
    ///
    /// let stack = ExitStack::<std::io::Error>::new();
    /// stack.defer_async(async || Ok(tokio::time::sleep(Duration::from_millis(1)).await));
    /// assert!(stack.detach(Ending::Completed).is_none());
    /// assert!(tenure::drain(Duration::from_secs(5)).await.is_clean());
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`close_with`](Self::close_with); a panic of an exit is one of them.
    ///
    /// # Panics
    /// Never: a stack is full until it is consumed.
    #[must_use = "what went wrong with exits that have ended is told to nobody else"]
    pub fn detach(mut self, ending: Ending) -> Option<Result<Verdict, ExitErrors<E>>> {
        let OnStack { loans, tenure, .. } = self.held.take().expect(FULL);
        let mut tenure = tenure.into_inner().unwrap_or_else(PoisonError::into_inner);
        let exits = loans.into_exits();
        if exits.is_empty() {
            return Some(Ok(Verdict::Propagate));
        }
        let exits = unwind_all(tenure.registry(), exits, ending, self.limit);
        if Handle::try_current().is_err() {
            // Without a runtime an exit is not to be polled.
            tenure.hand_over(Box::pin(exits), Begun::Guard);
            return None;
        }
        // Out of tokio's budget: a task that has used it up would have each exit handed over.
        let mut closing = pin!(unconstrained(InlineExit::detached(&mut tenure, || exits)));
        match closing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(Unwound { made, others }) => {
                let first = match made {
                    Made::Recovered => {
                        others.iter().for_each(|(label, fault)| report(*label, fault));
                        return Some(Ok(Verdict::Recover));
                    }
                    Made::Unchanged => None,
                    Made::Failed(_, error) => Some(Fault::Failed(error)),
                    Made::Panicked(_, payload, _) => Some(Fault::Panicked(payload)),
                };
                let faults: Vec<_> =
                    first.into_iter().chain(others.into_iter().map(|(_, fault)| fault)).collect();
                Some(if faults.is_empty() { Ok(Verdict::Propagate) } else { Err(ExitErrors::of(faults)) })
            }
        }
    }

    fn on_stack(&self) -> &OnStack<E> {
        self.held.as_ref().expect(FULL)
    }

    fn lend<L: Leave>(&self, label: Label, leave: L) -> &mut L::Resource
    where
        E: From<L::Error>,
    {
        let OnStack { loans, tenure, registry } = self.on_stack();
        let stop = leave.stop_body();
        let (entry, below) = loans.put(label, Entry::new(leave, |leave: L| leave.leave(Outcome::Completed)));
        if below == 0 {
            let mut tenure = tenure.lock().unwrap_or_else(PoisonError::into_inner);
            tenure.list_with(Phase::Held, || loans.view());
        }
        let listed = || tenure.lock().unwrap_or_else(PoisonError::into_inner).registry();
        registry.get_or_init(listed).count(Count::Entered);
        if let Some(stop) = stop {
            loans.stops().add(below, stop);
        }
        entry.resource()
    }

    /// The exit as part of another tenure's: a failure is the first one's, the others are reported.
    fn unwind_inside(
        mut self,
        outcome: Outcome<'_>,
        may_recover: bool,
    ) -> impl Future<Output = Result<Verdict, E>> + Send {
        let limit = self.limit;
        let mut rest = Rest { on_stack: self.take(), limit, begun: Begun::Guard };
        async move {
            if rest.exits().is_empty() {
                return Ok(Verdict::Propagate);
            }
            let registry = rest.begin();
            let Unwound { made, others } = unwind(&registry, rest.exits(), outcome, limit, may_recover).await;
            let mut others = others;
            let ended = match made {
                Made::Recovered => Ok(Verdict::Recover),
                Made::Failed(label, error) => Err((label, Ok(error))),
                Made::Panicked(label, payload, _) => Err((label, Err(payload))),
                // The body had failed before: the first fault is that of this exit, for whoever wants both.
                Made::Unchanged if !may_recover => {
                    let first = others.iter().position(|(_, fault)| !matches!(fault, Fault::TimedOut(_)));
                    match first.map(|index| others.remove(index)) {
                        Some((label, fault)) => Err((label, fault_as_error(fault, limit))),
                        None => Ok(Verdict::Propagate),
                    }
                }
                Made::Unchanged => Ok(Verdict::Propagate),
            };
            others.iter().for_each(|(label, fault)| report(*label, fault));
            ended.map_err(|(label, fault)| blamed(label, fault))
        }
    }

    fn take(&mut self) -> Option<(Exits<E>, Tenure)> {
        let OnStack { loans, tenure, .. } = self.held.take()?;
        let tenure = tenure.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some((loans.into_exits(), tenure))
    }
}

/// Notes an enter that has failed. If its future panicked when it was dropped, what was entered is on the stack, and exits
/// with it.
#[inline]
fn entered(label: Label, is_entered: bool, panicked: Option<Payload>) {
    if !is_entered {
        log_failed_enter(label);
    }
    if let Some(payload) = panicked {
        resume_unwind(payload);
    }
}

#[cold]
fn log_failed_enter(label: Label) {
    registry::current().log_failed_enter(label);
}

/// The error of an exit whose fault is that of one of its entries; or that entry's panic.
fn blamed<E>(label: Label, fault: Result<E, Payload>) -> E {
    frame::blame(label);
    fault.unwrap_or_else(|payload| resume_unwind(payload))
}

/// What is left of a stack that is dropped, open or half-closed: it is handed over.
struct Rest<E: ErrorValue> {
    on_stack: Option<(Exits<E>, Tenure)>,
    limit: Option<ExitLimit<E>>,
    begun: Begun,
}

impl<E: ErrorValue> Rest<E> {
    /// Says where its exits are counted. Dropped from now on, what is left waits for nobody.
    fn begin(&mut self) -> Arc<Registry> {
        self.begun = Begun::Branch;
        let (_, tenure) = self.on_stack.as_ref().expect(FULL);
        tenure.registry()
    }

    fn exits(&mut self) -> &mut Exits<E> {
        let (exits, _) = self.on_stack.as_mut().expect(FULL);
        exits
    }
}

impl<E: ErrorValue> Drop for Rest<E> {
    fn drop(&mut self) {
        let Some((exits, mut tenure)) = self.on_stack.take() else {
            return;
        };
        if !exits.is_empty() {
            let job = unwind_all(tenure.registry(), exits, ending_of_drop(), self.limit);
            tenure.hand_over(Box::pin(job), self.begun);
        }
    }
}

async fn unwind_all<E: ErrorValue>(
    registry: Arc<Registry>,
    mut exits: Exits<E>,
    ending: Ending,
    limit: Option<ExitLimit<E>>,
) -> Unwound<E> {
    unwind(&registry, &mut exits, ending, limit, true).await
}

const FULL: &str = "a stack is full until it is consumed";

impl<E: ErrorValue> OnStack<E> {
    fn new(label: Label) -> Self {
        Self { loans: Loans::new(), tenure: Mutex::new(Tenure::new(label)), registry: OnceLock::new() }
    }
}

impl<E: ErrorValue> Default for ExitStack<E> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// The stack as a resource: to be entered with [`with`], or put on another stack.
impl<E: ErrorValue> AsyncExit for ExitStack<E> {
    type Error = E;

    /// Exits all. The result is the first failure; the others are told to the report sink.
    async fn exit(self, outcome: Outcome<'_>) -> Result<(), E> {
        self.unwind_inside(outcome, false).await.map(drop)
    }

    fn stop_body(&self) -> Option<StopBody> {
        self.held.as_ref().map(|on_stack| on_stack.loans.stop_body())
    }
}

/// The stack as a resource whose exits may recover from the body's error.
impl<E: ErrorValue> RecoverExit for ExitStack<E> {
    type Error = E;

    // An exit that fails after the body has, with nobody between them that recovered, is reported and no error here.
    const FAILS_AFTER_RECOVERY: bool = true;

    async fn exit(self, outcome: Outcome<'_>) -> Result<Verdict, E> {
        self.unwind_inside(outcome, true).await
    }

    fn stop_body(&self) -> Option<StopBody> {
        self.held.as_ref().map(|on_stack| on_stack.loans.stop_body())
    }
}

impl<E: ErrorValue> Drop for ExitStack<E> {
    fn drop(&mut self) {
        drop(Rest { on_stack: self.take(), limit: self.limit, begun: Begun::Guard });
    }
}

impl<E: ErrorValue> fmt::Debug for ExitStack<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitStack").field("len", &self.len()).finish_non_exhaustive()
    }
}
