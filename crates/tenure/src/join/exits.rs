//! Tuples and collections of resources are resources: their exits run side by side.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::guarded::{Fault, Guarded};
use crate::{AsyncExit, ExitErrors, Outcome};

pin_project! {
    /// An exit, and then what came of it.
    struct Exit<F, X> {
        #[pin]
        running: Option<Guarded<F>>,
        fault: Option<Fault<X>>,
    }
}

/// The exit's future, made where it is polled: should the call panic, that is this exit's panic, not its siblings'.
async fn exit<R: AsyncExit>(resource: R, outcome: Outcome<'_>) -> Result<(), R::Error> {
    resource.exit(outcome).await
}

impl<F, X> Exit<F, X>
where
    F: Future<Output = Result<(), X>>,
{
    fn new(future: F) -> Self {
        Self { running: Some(Guarded::new(future, None)), fault: None }
    }

    /// Whether it has ended.
    fn poll_end(self: Pin<&mut Self>, context: &mut Context<'_>) -> bool {
        let mut this = self.project();
        let Some(running) = this.running.as_mut().as_pin_mut() else { return true };
        let Poll::Ready(result) = running.poll(context) else { return false };
        this.running.set(None);
        *this.fault = result.err();
        true
    }
}

/// One result of many: a panic resumes if it came first.
pub(crate) fn result_of<X>(faults: impl IntoIterator<Item = Fault<X>>) -> Result<(), ExitErrors<X>> {
    let mut faults = faults.into_iter();
    match faults.next() {
        None => Ok(()),
        Some(Fault::Panicked(payload)) => resume_unwind(payload),
        Some(first) => Err(ExitErrors::of(std::iter::once(first).chain(faults))),
    }
}

macro_rules! tuple {
    ($first:ident $($rest:ident)*) => {
        /// Joined resources: their exits run side by side and see the same outcome (law 33).
        impl<$first, $($rest,)*> AsyncExit for ($first, $($rest,)*)
        where
            $first: AsyncExit,
            $($rest: AsyncExit<Error = $first::Error>,)*
        {
            type Error = ExitErrors<$first::Error>;

            #[expect(non_snake_case, reason = "the type parameters name the values too")]
            async fn exit(self, outcome: Outcome<'_>) -> Result<(), Self::Error> {
                let ($first, $($rest,)*) = self;
                let mut $first = pin!(Exit::new(exit($first, outcome)));
                $(let mut $rest = pin!(Exit::new(exit($rest, outcome)));)*
                poll_fn(|context| {
                    // Each is polled, also behind one that has not ended.
                    let ended = [$first.as_mut().poll_end(context), $($rest.as_mut().poll_end(context),)*];
                    if ended.contains(&false) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                result_of([$first.project().fault.take(), $($rest.project().fault.take(),)*].into_iter().flatten())
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);

/// Joined resources: their exits run side by side and see the same outcome (law 33).
impl<R: AsyncExit> AsyncExit for Vec<R> {
    type Error = ExitErrors<R::Error>;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Self::Error> {
        let exits = self.into_iter().map(|resource| Box::pin(Exit::new(exit(resource, outcome))));
        let mut exits: Vec<_> = exits.collect();
        poll_fn(|context| {
            let running = exits.iter_mut().filter_map(|exit| (!exit.as_mut().poll_end(context)).then_some(()));
            if running.count() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        result_of(exits.iter_mut().filter_map(|exit| exit.as_mut().project().fault.take()))
    }
}
