//! A future that was handed over: what is spawned when the caller of an enter or an exit is gone.
//!
//! # Invariants
//! 1. Each job makes exactly one end: settled when its future is ready, else lost when it is dropped.
//! 2. What came of it is recorded first, then it leaves the registry, then its scope, then its latch is set.
//! 3. It is polled and dropped in a frame of its parent's scope, so that what it hands over itself is awaited by
//!    the same parent.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::frame::{Id, Label, Node};
use crate::guarded::Fault;
use crate::registry::{Count, IncidentKind, Items, Key, Phase, Registry, RootKey, Span};
use crate::scope::{Latch, Scope, Younger};

/// What is done with the output of a future that has no caller any more.
pub(crate) trait Settle {
    /// Counts the exit that this came of, if it was one; and its enter, unless that is counted.
    fn count(&self, entered: bool) {
        let _ = entered;
    }

    fn settle(self, record: &Record);
}

pub(crate) struct Job<F: Future<Output: Settle> + ?Sized> {
    future: Option<Pin<Box<F>>>,
    gate: Gate,
    record: Record,
}

/// Whether the job may begin.
enum Gate {
    /// Not polled yet. Whoever was dropped along with this one is in the scope by the first poll, since jobs are
    /// spawned when the poll or drop that handed them over has ended.
    Unasked,
    /// Those that were entered later have to end first.
    Closed(Pin<Box<dyn Future<Output = ()> + Send>>),
    Open,
}

/// All that is known of a handed-over tenure.
pub(crate) struct Record {
    pub(crate) registry: Arc<Registry>,
    pub(crate) label: Label,
    pub(crate) id: Id,
    pub(crate) key: Key,
    /// That of its parent.
    pub(crate) frame: Node,
    pub(crate) scope: Arc<Scope>,
    pub(crate) latch: Latch,
    /// Where its scope is to be forgotten, if it has no parent.
    pub(crate) root: Option<RootKey>,
    pub(crate) span: Span,
    pub(crate) items: Option<Arc<dyn Items>>,
    /// Its phase once it may begin.
    pub(crate) phase: Phase,
}

impl Record {
    /// Reports, and keeps for the next drain.
    pub(crate) fn incident(&self, kind: IncidentKind, message: String) {
        let incident = self.registry.report(kind, self.label, message);
        self.registry.log_incident(incident);
    }

    /// Reports an exit that did not end well, and keeps that for the next drain.
    pub(crate) fn fault<X: Debug>(&self, fault: &Fault<X>) {
        self.fault_of(self.label, fault);
    }

    /// The same for one of several exits in one hand-over.
    pub(crate) fn fault_of<X: Debug>(&self, label: Label, fault: &Fault<X>) {
        self.registry.log_incident(fault.report(&self.registry, label));
    }

    fn lost(&self) {
        let why = "its runtime was shut down, or there was none, before it had ended";
        if self.phase == Phase::Entering {
            self.incident(IncidentKind::EnterLost, why.to_owned());
            return;
        }
        let labels = self.items.as_ref().map_or_else(|| vec![self.label], |items| items.labels());
        self.registry.counters.add(Count::Lost, labels.len() as u64);
        for label in labels {
            let incident = self.registry.report(IncidentKind::ExitLost, label, why.to_owned());
            self.registry.log_incident(incident);
        }
    }

    fn leave(&self) {
        self.registry.release(self.key);
        self.scope.remove(self.id, &self.latch);
        if let Some(root) = self.root {
            self.registry.forget_root(root);
        }
        let _ = self.latch.set(());
    }
}

impl<F: Future<Output: Settle> + ?Sized> Job<F> {
    pub(crate) fn new(future: Pin<Box<F>>, record: Record) -> Self {
        Self { future: Some(future), gate: Gate::Unasked, record }
    }

    /// Ready when those that were entered later have ended.
    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Record { registry, scope, key, id, phase, .. } = &self.record;
        if let (Gate::Unasked, Some(last)) = (&self.gate, scope.last_after(*id)) {
            let younger = Younger { scope: Arc::clone(scope), after: *id, last };
            self.gate = Gate::Closed(Box::pin(younger.until_gone()));
        }
        if let Gate::Closed(later) = &mut self.gate {
            ready!(later.as_mut().poll(context));
        }
        self.gate = Gate::Open;
        registry.change(*key, |entry| entry.phase = *phase);
        Poll::Ready(())
    }

    fn poll_in_span(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.gate, Gate::Open) {
            ready!(self.poll_gate(context));
        }
        let Some(future) = &mut self.future else {
            return Poll::Ready(());
        };
        let frame = self.record.frame.enter_as(self.record.id);
        let output = ready!(future.as_mut().poll(context));
        self.future = None;
        drop(frame);
        // A second frame: the first one borrows the record that the output is told to.
        let mut frame = self.record.frame.twin();
        let frame = frame.enter_as(self.record.id);
        output.count(true);
        output.settle(&self.record);
        drop(frame);
        self.record.registry.log_end();
        self.record.leave();
        Poll::Ready(())
    }
}

impl<F: Future<Output: Settle> + ?Sized> Future for Job<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let span = self.record.span.clone();
        span.in_scope(|| self.poll_in_span(context))
    }
}

impl<F: Future<Output: Settle> + ?Sized> Drop for Job<F> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        // The resource's own `Drop` is the forceful close. Should it panic, the panic hook has told; this is no place to
        // let it out.
        let frame = self.record.frame.enter_as(self.record.id);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        drop(frame);
        self.record.lost();
        self.record.leave();
    }
}
