//! Tuples and collections of resources are resources: their exits run side by side.

use std::any::type_name;
use std::fmt::Debug;
use std::future::poll_fn;
use std::panic::{Location, resume_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::as_part::AsPart;
use crate::exit::{StopBody, any_of};
use crate::exiting::Exiting;
use crate::fault::{Ended, Fault};
use crate::frame;
use crate::label::Label;
use crate::with::{outcome_now, report};
use crate::{AsyncExit, ExitErrors, Outcome};

/// The exit of one of several resources, in a frame of its own, at the place where they were entered together.
fn exit<R: AsyncExit>(
    resource: R,
    outcome: Outcome<'_>,
) -> AsPart<impl Future<Output = Ended<(), R::Error>> + Send> {
    #[track_caller]
    fn here() -> &'static Location<'static> {
        Location::caller()
    }
    let location = frame::enclosing_label().map_or_else(here, |around| around.location);
    // The call itself is part of the exit: should it panic, that is this exit's panic, not its siblings'.
    let call = move || resource.exit(outcome_now(outcome));
    AsPart::new(0, Label { name: type_name::<R>(), location }, Exiting::new(call))
}

/// Whether it has ended. A fault is kept behind those that came before it.
fn poll_end<F, X>(exit: Pin<&mut AsPart<F>>, faults: &mut Faults<X>, context: &mut Context<'_>) -> bool
where
    F: Future<Output = Ended<(), X>>,
{
    if exit.is_over() {
        return true;
    }
    let Poll::Ready((ended, label)) = exit.poll_exit(context, |_| {}) else { return false };
    faults.extend(ended.err().map(|fault| (label, *fault)));
    true
}

/// What went wrong, in the order in which it did.
pub(crate) type Faults<X> = Vec<(Label, Fault<X>)>;

/// One result of many. If the first is a panic it resumes, and the others are reported.
pub(crate) fn result_of<X: Debug>(faults: Faults<X>) -> Result<(), ExitErrors<X>> {
    let mut faults = faults.into_iter();
    match faults.next() {
        None => Ok(()),
        Some((label, Fault::Panicked(payload))) => {
            faults.for_each(|(label, fault)| report(label, &fault));
            frame::blame(label);
            resume_unwind(payload)
        }
        Some((_, first)) => Err(ExitErrors::of(std::iter::once(first).chain(faults.map(|(_, fault)| fault)))),
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
                let mut $first = pin!(exit($first, outcome));
                $(let mut $rest = pin!(exit($rest, outcome));)*
                let mut faults = Vec::new();
                poll_fn(|context| {
                    // Each is polled, also behind one that has not ended.
                    let ended = [
                        poll_end($first.as_mut(), &mut faults, context),
                        $(poll_end($rest.as_mut(), &mut faults, context),)*
                    ];
                    if ended.contains(&false) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                result_of(faults)
            }

            #[expect(non_snake_case, reason = "the type parameters name the values too")]
            fn stop_body(&self) -> Option<StopBody> {
                let ($first, $($rest,)*) = self;
                any_of([$first.stop_body(), $($rest.stop_body(),)*])
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
        let exits = self.into_iter().map(|resource| Box::pin(exit(resource, outcome)));
        let mut exits: Vec<_> = exits.collect();
        let mut faults = Vec::new();
        poll_fn(|context| {
            let mut all_ended = true;
            for exit in &mut exits {
                all_ended &= poll_end(exit.as_mut(), &mut faults, context);
            }
            if all_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        result_of(faults)
    }

    fn stop_body(&self) -> Option<StopBody> {
        any_of(self.iter().map(AsyncExit::stop_body))
    }
}
