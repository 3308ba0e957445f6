//! `join`: enter several contexts side by side; all or none.

use std::any::type_name;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::fault::{Payload, panic_message, quietly};
use crate::inline_exit::InlineExit;
use crate::job::Begun;
use crate::label::Label;
use crate::tenure::Tenure;
use crate::with::{Exited, Known, Leave, Leftover, Plain, exit_job, report};
use crate::{AsyncExit, ErrorValue};

/// Enters several contexts side by side: a tuple of up to eight, or a `Vec`. A context whose resource is the tuple, or
/// the `Vec`, of theirs.
///
/// For contexts that stand on one another, nest [`with`](crate::with) or use an [`ExitStack`](crate::ExitStack): here
/// nothing is said about their order. All have the same error of the enter, and the same of the exit; map those that
/// differ.
///
/// ```
/// use tenure::{ExitErrors, join, released, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use std::num::ParseIntError as Error;
/// async fn connect(port: &str) -> Result<u16, Error> {
///     port.parse()
/// }
///
/// let both = join((released(connect("5432")), released(connect("6379"))));
/// let sum = with(both, async |(database, cache)| {
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(**database + **cache)
/// })
/// .await?;
/// assert_eq!(sum, 11811);
/// # Ok(()) }
/// ```
///
/// # Guarantees
/// If one enter fails, those already entered are exited, side by side, and are told that failure; those still entering
/// are dropped, or if [shielded](crate::shield) finished and exited (law 32). Then the failure is the result. An enter that
/// panics: the same, told `Panicked`, and then the panic resumes. Exits run side by side and see the same outcome (law 33).
///
/// All enters, and all exits, are polled whenever one of them is woken: made for a handful, or for some hundreds. A tuple has
/// at most eight contexts; join a `Vec` of more, or tuples of tuples. For thousands use a
/// [`task_group`](crate::task_group()), whose children are polled one by one.
///
/// # Errors
/// The first enter's that failed. What goes wrong with the exits that follow it goes to the report sink.
///
/// # Cancel safety
/// Dropped half-entered, what was entered exits in the background, told `Cancelled`.
#[track_caller]
pub fn join<J: Join>(contexts: J) -> impl Future<Output = Result<J::Resources, J::Error>> {
    let label = Label { name: type_name::<J::Resources>(), location: Location::caller() };
    let left = Leftover::new(label);
    Entering { label, enters: contexts.into_enters(), unwinding: None, left, ended: None }
}

/// Contexts that can be [joined](join()): tuples of up to eight contexts, and `Vec`s.
pub trait Join: sealed::Sealed {
    /// The resources, in the order of the contexts.
    type Resources: AsyncExit;
    /// The error of each enter.
    type Error: ErrorValue;
    #[doc(hidden)]
    type Enters: Enters<Resources = Self::Resources, Error = Self::Error>;

    #[doc(hidden)]
    fn into_enters(self) -> Self::Enters;
}

mod sealed {
    use super::{AsyncExit, Context, ErrorValue, Poll, Trouble};

    pub trait Sealed {}

    /// Enters that run side by side.
    pub trait Enters: Unpin {
        type Resources;
        type Error: ErrorValue;
        /// The resources, as far as they are entered.
        type Partial: AsyncExit;

        /// Becomes ready when all are entered, or one has failed or panicked.
        fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Trouble<Self::Error>>>;
        /// Drops those still entering, and takes what is entered, if anything.
        fn take_entered(&mut self) -> Option<Self::Partial>;
        /// Takes all, when all are entered.
        fn take_all(&mut self) -> Self::Resources;
    }
}

use sealed::Enters;

/// One context of several.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "not named outside")]
pub enum Enter<F: Future<Output = Result<R, N>>, R, N> {
    Running(Pin<Box<F>>),
    Entered(R),
    Gone,
}

/// What kept an enter from its end.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "not named outside")]
pub enum Trouble<N> {
    Failed(N),
    Panicked(Payload),
}

// The resource is never pinned, and the future has a box of its own.
impl<F: Future<Output = Result<R, N>>, R, N> Unpin for Enter<F, R, N> {}

impl<F: Future<Output = Result<R, N>>, R, N> Enter<F, R, N> {
    fn new(future: F) -> Self {
        Self::Running(Box::pin(future))
    }

    /// Whether it is entered.
    fn poll(&mut self, context: &mut Context<'_>) -> Result<bool, Trouble<N>> {
        let Self::Running(future) = self else { return Ok(true) };
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        let entered = match polled {
            Ok(Poll::Pending) => return Ok(false),
            Ok(Poll::Ready(entered)) => entered.map_err(Trouble::Failed),
            Err(payload) => Err(Trouble::Panicked(payload)),
        };
        let mut running = mem::replace(self, Self::Gone);
        let of_drop = catch_unwind(AssertUnwindSafe(|| running.finish())).err();
        // What is entered is kept in any case.
        *self = Self::Entered(entered?);
        of_drop.map_or(Ok(true), |payload| Err(Trouble::Panicked(payload)))
    }

    fn finish(&mut self) {
        *self = Self::Gone;
    }

    fn take(&mut self) -> Option<R> {
        match mem::replace(self, Self::Gone) {
            Self::Entered(resource) => Some(resource),
            Self::Running(future) => {
                quietly(|| drop(future));
                None
            }
            Self::Gone => None,
        }
    }
}

const ENTERED: &str = "all are taken when all are entered";

macro_rules! tuple {
    ($($name:ident $future:ident $index:tt),+) => {
        impl<$($future,)+> sealed::Sealed for ($($future,)+) {}

        impl<$($future, $name,)+ N> Join for ($($future,)+)
        where
            $($future: IntoFuture<Output = Result<$name, N>>, $name: AsyncExit,)+
            ($($name,)+): AsyncExit,
            ($(Option<$name>,)+): AsyncExit,
            N: ErrorValue,
        {
            type Resources = ($($name,)+);
            type Error = N;
            type Enters = ($(Enter<$future::IntoFuture, $name, N>,)+);

            fn into_enters(self) -> Self::Enters {
                ($(Enter::new(self.$index.into_future()),)+)
            }
        }

        impl<$($future, $name,)+ N> Enters for ($(Enter<$future, $name, N>,)+)
        where
            $($future: Future<Output = Result<$name, N>>, $name: AsyncExit,)+
            ($(Option<$name>,)+): AsyncExit,
            N: ErrorValue,
        {
            type Resources = ($($name,)+);
            type Error = N;
            type Partial = ($(Option<$name>,)+);

            fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Trouble<N>>> {
                let mut entered = true;
                $(entered &= self.$index.poll(context)?;)+
                if entered { Poll::Ready(Ok(())) } else { Poll::Pending }
            }

            fn take_entered(&mut self) -> Option<Self::Partial> {
                let entered = ($(self.$index.take(),)+);
                let any = [$(entered.$index.is_some(),)+].contains(&true);
                any.then_some(entered)
            }

            fn take_all(&mut self) -> Self::Resources {
                ($(self.$index.take().expect(ENTERED),)+)
            }
        }
    };
}

tuple!(A FA 0);
tuple!(A FA 0, B FB 1);
tuple!(A FA 0, B FB 1, C FC 2);
tuple!(A FA 0, B FB 1, C FC 2, D FD 3);
tuple!(A FA 0, B FB 1, C FC 2, D FD 3, E FE 4);
tuple!(A FA 0, B FB 1, C FC 2, D FD 3, E FE 4, F FF 5);
tuple!(A FA 0, B FB 1, C FC 2, D FD 3, E FE 4, F FF 5, G FG 6);
tuple!(A FA 0, B FB 1, C FC 2, D FD 3, E FE 4, F FF 5, G FG 6, H FH 7);

impl<C> sealed::Sealed for Vec<C> {}

impl<C, R, N> Join for Vec<C>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: AsyncExit,
    N: ErrorValue,
{
    type Resources = Vec<R>;
    type Error = N;
    type Enters = Vec<Enter<C::IntoFuture, R, N>>;

    fn into_enters(self) -> Self::Enters {
        self.into_iter().map(|context| Enter::new(context.into_future())).collect()
    }
}

impl<F, R, N> Enters for Vec<Enter<F, R, N>>
where
    F: Future<Output = Result<R, N>>,
    R: AsyncExit,
    N: ErrorValue,
{
    type Resources = Vec<R>;
    type Error = N;
    type Partial = Vec<R>;

    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Trouble<N>>> {
        let mut all = true;
        for enter in self {
            all &= enter.poll(context)?;
        }
        if all { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn take_entered(&mut self) -> Option<Vec<R>> {
        let entered: Vec<R> = self.drain(..).filter_map(|mut enter| enter.take()).collect();
        (!entered.is_empty()).then_some(entered)
    }

    fn take_all(&mut self) -> Vec<R> {
        self.take_entered().unwrap_or_default()
    }
}

type Unwinding<N> = Pin<Box<dyn Future<Output = Trouble<N>> + Send>>;

/// The enters under way, or, when one has failed, the exits of those that had succeeded.
struct Entering<S: Enters> {
    label: Label,
    enters: S,
    unwinding: Option<Unwinding<S::Error>>,
    /// Shielded enters that were dropped, and are finished and exited.
    left: Leftover,
    ended: Option<Trouble<S::Error>>,
}

impl<S: Enters> Entering<S> {
    /// Drops those still entering, and exits what is entered, told of the trouble.
    fn unwind(&mut self, trouble: Trouble<S::Error>, context: &Context<'_>) {
        let label = self.label;
        let frame = self.left.node().enter(context);
        let entered = self.enters.take_entered();
        drop(frame);
        let Some(entered) = entered else {
            self.ended = Some(trouble);
            return;
        };
        let (told, payload) = match trouble {
            Trouble::Failed(error) => (Known::Failed(error), None),
            Trouble::Panicked(payload) => (Known::Panicked(panic_message(&*payload)), Some(payload)),
        };
        let exit = exit_job(Plain::of(entered), told, None);
        let mut tenure = Tenure::entered(label);
        // Polled at once by the caller, so that the exit cannot be dropped before it is on its way.
        self.unwinding = Some(Box::pin(async move {
            let Exited { exit, told, .. } = InlineExit::new(exit, &mut tenure).await;
            if let Err(fault) = exit {
                report(tenure.label(), &fault);
            }
            match (told, payload) {
                (_, Some(payload)) => Trouble::Panicked(payload),
                (Known::Failed(error), None) => Trouble::Failed(error),
                (_, None) => unreachable!("the exits were told a failure"),
            }
        }));
    }
}

// The enters have boxes of their own.
impl<S: Enters> Unpin for Entering<S> {}

impl<S: Enters> Future for Entering<S> {
    type Output = Result<S::Resources, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.unwinding.is_none() && this.ended.is_none() {
            match ready!(this.enters.poll_enter(context)) {
                Ok(()) => return Poll::Ready(Ok(this.enters.take_all())),
                Err(trouble) => this.unwind(trouble, context),
            }
        }
        if let Some(unwinding) = &mut this.unwinding {
            this.ended = Some(ready!(unwinding.as_mut().poll(context)));
            this.unwinding = None;
        }
        ready!(this.left.poll_empty(context));
        match this.ended.take() {
            Some(Trouble::Failed(error)) => Poll::Ready(Err(error)),
            Some(Trouble::Panicked(payload)) => resume_unwind(payload),
            None => unreachable!("a future is not polled after its end"),
        }
    }
}

impl<S: Enters> Drop for Entering<S> {
    fn drop(&mut self) {
        // Those still entering go first: a shielded one may have been entered last.
        if let Some(entered) = self.enters.take_entered() {
            let exit = exit_job(Plain::of(entered), Known::<()>::Cancelled, None);
            Tenure::entered(self.label).hand_over(Box::pin(exit), Begun::Branch);
        }
    }
}
