//! What the registry knows of one held tenure.

use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use tokio::runtime::Handle;

use super::Phase;
use crate::label::{Id, Label};
use crate::scope::{Latch, Scope};

/// Things that are held one by one inside a tenure: the entries of a stack.
pub(crate) trait Items: Send + Sync + std::fmt::Debug {
    fn items(&self) -> Vec<Item>;
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) id: Id,
    pub(crate) label: Label,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) parent: Id,
    pub(crate) label: Label,
    pub(crate) since: Instant,
    pub(crate) phase: Phase,
    pub(crate) care: Care,
    pub(crate) extra: Extra,
}

/// What some of them have.
#[derive(Debug)]
pub(crate) enum Extra {
    None,
    /// A stack: what lies on it.
    Items(Arc<dyn Items>),
    /// A body that can be asked to stop: its waker.
    Waker(Waker),
    /// A body that was asked to stop, by its waker.
    Asked,
}

/// Who sees to the exit.
#[derive(Debug)]
pub(crate) enum Care {
    /// Its caller does. What a hand-over will need: the runtime and the span it was entered in.
    Caller { runtime: Option<Handle>, span: Span },
    /// A job does.
    Job(HandedOver),
}

#[derive(Clone, Debug)]
pub(crate) struct HandedOver {
    pub(crate) latch: Latch,
    pub(crate) scope: Arc<Scope>,
}

impl Entry {
    /// An entry made now: on this runtime, in the current span, inside of this parent.
    pub(crate) fn new(
        id: Id,
        parent: Id,
        label: Label,
        phase: Phase,
        runtime: Option<Handle>,
        extra: Extra,
    ) -> Self {
        Self {
            id,
            parent,
            label,
            since: Instant::now(),
            phase,
            care: Care::Caller { runtime, span: Span::current() },
            extra,
        }
    }

    pub(crate) fn items(&self) -> Option<Arc<dyn Items>> {
        if let Extra::Items(items) = &self.extra { Some(Arc::clone(items)) } else { None }
    }

    /// Takes the waker of a body that can be asked to stop, and gives it this one instead, if it has one.
    pub(crate) fn replace_waker(&mut self, new: Option<Waker>) -> Option<Waker> {
        if !matches!(self.extra, Extra::Waker(_)) {
            // It was asked already, or cannot be: the caller drops the waker, behind the lock.
            return new;
        }
        match mem::replace(&mut self.extra, new.map_or(Extra::None, Extra::Waker)) {
            Extra::Waker(old) => Some(old),
            Extra::None | Extra::Items(_) | Extra::Asked => None,
        }
    }

    /// Asks the body to stop, if it can be asked: it has to be woken then.
    pub(crate) fn ask_to_stop(&mut self) -> Option<Waker> {
        if !matches!(self.extra, Extra::Waker(_)) {
            return None;
        }
        match mem::replace(&mut self.extra, Extra::Asked) {
            Extra::Waker(waker) => Some(waker),
            Extra::None | Extra::Items(_) | Extra::Asked => None,
        }
    }

    pub(crate) fn is_asked_to_stop(&self) -> bool {
        matches!(self.extra, Extra::Asked)
    }

    pub(crate) fn handed_over(&self) -> Option<&HandedOver> {
        match &self.care {
            Care::Caller { .. } => None,
            Care::Job(handed_over) => Some(handed_over),
        }
    }
}

/// The tracing span of the caller, where tracing is compiled in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    // Five words, and seldom there.
    #[cfg(feature = "tracing")]
    span: Option<Box<tracing::Span>>,
}

impl Span {
    fn current() -> Self {
        Self {
            // Where there was never a subscriber there is no span, which is known by a load.
            #[cfg(feature = "tracing")]
            span: tracing::dispatcher::has_been_set()
                .then(tracing::Span::current)
                .filter(|span| !span.is_disabled())
                .map(Box::new),
        }
    }

    /// Runs `work` inside the span.
    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            return span.in_scope(work);
        }
        work()
    }
}
