//! What an enter or a task leaves behind when it is stopped, and who waits for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::frame::Node;
use crate::job::{Begun, Record, Settle};
use crate::label::{Id, Label};
use crate::registry::Phase;
use crate::scope::Wait;
use crate::tenure::Tenure;

/// A scope without an exit: what is handed over in it is waited for. Dropped before it is empty, it is handed over as
/// well, so that whoever is around it waits.
pub(crate) struct Leftover {
    pub(crate) tenure: Tenure,
    wait: Wait,
}

impl Leftover {
    #[inline]
    pub(crate) fn new(label: Label) -> Self {
        Self::inside(0, label)
    }

    /// As [`new`](Self::new), with this parent.
    #[inline]
    pub(crate) fn inside(parent: Id, label: Label) -> Self {
        Self { tenure: Tenure::inside(parent, label), wait: Wait::default() }
    }

    pub(crate) fn node(&mut self) -> &mut Node {
        &mut self.tenure.node
    }

    /// Ready when nothing is left.
    pub(crate) fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.tenure.node.children {
            None => Poll::Ready(()),
            Some(children) => self.wait.poll_empty(children, context),
        }
    }

    /// As [`poll_empty`](Self::poll_empty); while it waits it is listed, so that a drain inside of what is left finds out
    /// that this waits for it.
    pub(crate) fn poll_listed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_empty(context);
        if polled.is_pending() {
            self.tenure.list(Phase::Waiting, context);
        }
        polled
    }

    #[cold]
    fn hand_over(&mut self) {
        let Some(children) = self.tenure.node.children.take() else { return };
        let mut wait = Wait::default();
        let empty: Pin<Box<dyn Future<Output = Empty> + Send>> = Box::pin(async move {
            poll_fn(|context| wait.poll_empty(&children, context)).await;
            Empty
        });
        self.tenure.hand_over(empty, Begun::Leftover);
    }
}

impl Drop for Leftover {
    #[inline]
    fn drop(&mut self) {
        if self.tenure.node.is_waited_for() {
            self.hand_over();
        }
    }
}

/// Nothing was entered, so there is nothing to count and nothing to report.
struct Empty;

impl Settle for Empty {
    fn settle(self, _: &Record) {}
}
