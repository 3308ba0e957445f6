//! What adapters do with a stack on behalf of their callers.

use std::panic::Location;

use super::ExitStack;
use super::unwind::{Made, Unwound};
use crate::fault::Fault;
use crate::label::Label;
use crate::with::{Leave as _, Plain};
use crate::{AsyncExit, Ending, ErrorValue, registry};

impl<E: ErrorValue> ExitStack<E> {
    /// Puts the exit of a resource on the stack under a name and a place that the caller chooses.
    ///
    /// For adapters that wrap the resources of their callers: reports and [`open`](crate::open) then name the caller's
    /// resource and the caller's line. Everybody else uses [`push`](Self::push).
    pub fn push_as<R>(&self, name: &'static str, location: &'static Location<'static>, resource: R) -> &mut R
    where
        R: AsyncExit,
        E: From<R::Error>,
    {
        self.lend(Label { name, location }, Plain::of(resource))
    }

    /// Exits all, told this ending, without waiting, as [`detach`](Self::detach) does. What goes wrong is told to the report
    /// sink and counts for the next [`drain`](crate::drain), each failure by the name and the place of its resource.
    pub fn detach_reported(self, ending: Ending) {
        let Some(Unwound { made, others }) = self.detach_unwound(ending) else { return };
        let first = match made {
            Made::Unchanged | Made::Recovered => None,
            Made::Failed(label, error) => Some((label, Fault::Failed(error))),
            Made::Panicked(label, payload, _) => Some((label, Fault::Panicked(payload))),
        };
        let registry = registry::current();
        for (label, fault) in first.into_iter().chain(others) {
            let incident = fault.report(&registry, label);
            registry.log_incident(incident);
        }
    }
}
