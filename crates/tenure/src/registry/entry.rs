//! What the registry knows of one held tenure.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use super::{Asked, Phase};
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
    pub(crate) items: Option<Arc<dyn Items>>,
    /// There if it is a body that can be asked to stop.
    pub(crate) stop: Option<Asked>,
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
    pub(crate) fn new(id: Id, parent: Id, label: Label, phase: Phase, runtime: Option<Handle>) -> Self {
        Self {
            id,
            parent,
            label,
            since: Instant::now(),
            phase,
            care: Care::Caller { runtime, span: Span::current() },
            items: None,
            stop: None,
        }
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
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

impl Span {
    fn current() -> Self {
        Self {
            // Where there was never a subscriber there is no span, which is known by a load.
            #[cfg(feature = "tracing")]
            span: tracing::dispatcher::has_been_set().then(tracing::Span::current),
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
