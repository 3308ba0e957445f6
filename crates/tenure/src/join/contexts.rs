//! `join`: enter several contexts side by side; all or none.

use std::any::type_name;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::custody::Custody;
use crate::frame::Label;
use crate::registry::Phase;
use crate::tenure::Tenure;
use crate::with::{Exited, Known, Leave, Plain, exit_job, report};
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
/// are dropped, or if [shielded](crate::shield) finished and exited (law 32). Then the failure is the result. Exits run
/// side by side and see the same outcome (law 33).
///
/// All enters, and all exits, are polled whenever one of them is woken: made for a handful, or for some hundreds.
///
/// # Errors
/// The first enter's that failed. What goes wrong with the exits that follow it goes to the report sink.
///
/// # Cancel safety
/// Dropped half-entered, what was entered exits in the background, told `Cancelled`.
#[track_caller]
pub fn join<J: Join>(contexts: J) -> impl Future<Output = Result<J::Resources, J::Error>> {
    let label = Label { name: type_name::<J::Resources>(), location: Location::caller() };
    Entering { label, enters: contexts.into_enters(), unwinding: None }
}

/// What can be [joined](join()): tuples of up to eight contexts, and `Vec`s.
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
    use super::{AsyncExit, Context, ErrorValue, Poll};

    pub trait Sealed {}

    /// Enters that run side by side.
    pub trait Enters: Unpin {
        type Resources;
        type Error: ErrorValue;
        /// The resources, as far as they are entered.
        type Partial: AsyncExit;

        /// Ready when all are entered, or one has failed.
        fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;
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

// The resource is never pinned, and the future has a box of its own.
impl<F: Future<Output = Result<R, N>>, R, N> Unpin for Enter<F, R, N> {}

impl<F: Future<Output = Result<R, N>>, R, N> Enter<F, R, N> {
    fn new(future: F) -> Self {
        Self::Running(Box::pin(future))
    }

    /// Whether it is entered.
    fn poll(&mut self, context: &mut Context<'_>) -> Result<bool, N> {
        let Self::Running(future) = self else { return Ok(true) };
        let Poll::Ready(entered) = future.as_mut().poll(context) else { return Ok(false) };
        *self = Self::Gone;
        *self = Self::Entered(entered?);
        Ok(true)
    }

    fn take(&mut self) -> Option<R> {
        match std::mem::replace(self, Self::Gone) {
            Self::Entered(resource) => Some(resource),
            Self::Running(_) | Self::Gone => None,
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

            fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Result<(), N>> {
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

    fn poll_enter(&mut self, context: &mut Context<'_>) -> Poll<Result<(), N>> {
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

type Unwinding<N> = Pin<Box<dyn Future<Output = N> + Send>>;

/// The enters under way, or, when one has failed, the exits of those that had succeeded.
struct Entering<S: Enters> {
    label: Label,
    enters: S,
    unwinding: Option<Unwinding<S::Error>>,
}

impl<S: Enters> Entering<S> {
    /// Exits what is entered, told `error`; then that is the result.
    fn unwind(&mut self, error: S::Error) -> Result<Unwinding<S::Error>, S::Error> {
        let label = self.label;
        let Some(entered) = self.enters.take_entered() else { return Err(error) };
        let exit = exit_job(Plain::of(entered), Known::Failed(error), None, None);
        let mut tenure = Tenure::entered(label);
        // Polled at once by the caller, so that the exit cannot be dropped before it is in custody.
        Ok(Box::pin(async move {
            let Exited { exit, told } = Custody::new(exit, &mut tenure).await;
            if let Err(fault) = exit {
                report(label, &fault);
            }
            let Known::Failed(error) = told else { unreachable!("the exits were told a failure") };
            error
        }))
    }
}

impl<S: Enters> Future for Entering<S> {
    type Output = Result<S::Resources, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(unwinding) = &mut this.unwinding {
                return unwinding.as_mut().poll(context).map(Err);
            }
            match this.enters.poll_enter(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(this.enters.take_all())),
                Poll::Ready(Err(error)) => match this.unwind(error) {
                    Ok(unwinding) => this.unwinding = Some(unwinding),
                    Err(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }
}

impl<S: Enters> Drop for Entering<S> {
    fn drop(&mut self) {
        // Those still entering go first: a shielded one may have been entered last.
        if let Some(entered) = self.enters.take_entered() {
            let exit = exit_job(Plain::of(entered), Known::<()>::Cancelled, None, None);
            Tenure::entered(self.label).hand_over(Box::pin(exit), Phase::Exiting);
        }
    }
}
