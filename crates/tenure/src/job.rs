//! A future that was handed over: what is spawned when the caller of an enter or an exit is gone.
//!
//! # Invariants
//! 1. Each job makes exactly one end: settled when its future is ready, else lost when it is dropped.
//! 2. What came of it is recorded first, then it leaves the registry, then its scope, then its latch is set. A record
//!    leaves when it is dropped: whatever panics on the way, nobody waits for it for ever.
//! 3. An exit is polled and dropped in a frame of its own. A shielded enter is part of the body it was called in: it is
//!    polled in a frame of that one. What is left of either is dropped in a frame of its parent.

use std::fmt::Debug;
use std::mem;
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::fault::{Fault, quietly};
use crate::frame::Node;
use crate::label::{Id, Label};
use crate::registry::{Count, IncidentKind, Items, Key, Phase, Registry, RootKey, Span};
use crate::scope::{Gate, Latch, Scope};
use crate::tenure::count_exited;

/// Makes an end of the output of a future that has no caller any more.
pub(crate) trait Settle {
    /// `None` if it is no exit; else whether it was wrong, and how.
    fn counts(&self) -> Option<Option<Count>> {
        None
    }

    fn settle(self, record: &Record);
}

/// How far an exit has come when it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is a shielded enter, which goes on at once.
    Enter,
    /// A guard was dropped: those that were entered after it go first.
    Guard,
    /// A guard was being closed by hand, and waited for those that were entered after it.
    No,
    /// It may begin at once: the exit of a body, which has no sibling to wait for.
    Branch,
    /// It is no exit, but the wait for some: of what an enter or a task has left behind.
    Leftover,
    /// Its caller had begun it.
    Inline,
}

impl Begun {
    /// What it does while it is not held up.
    fn phase_of_work(self) -> Phase {
        if self == Self::Enter { Phase::Entering } else { Phase::Exiting }
    }

    /// What it does when it is handed over.
    pub(crate) fn phase(self) -> Phase {
        if self.is_gated() { Phase::Waiting } else { self.phase_of_work() }
    }

    fn is_gated(self) -> bool {
        matches!(self, Self::Guard | Self::No)
    }

    /// Whether somebody waited for its end who is gone.
    fn is_abandoned(self) -> bool {
        matches!(self, Self::No | Self::Inline)
    }
}

pub(crate) struct Job<F: Future<Output: Settle> + ?Sized> {
    future: Option<Pin<Box<F>>>,
    /// There until it may begin. Whoever was dropped along with this one is in the scope by the first poll, since jobs are
    /// spawned when the poll or drop that handed them over has ended.
    gate: Option<Gate>,
    /// That of the exit.
    node: Node,
    // Behind the future: dropped, it leaves.
    record: Record,
}

/// All that is known of a handed-over tenure.
pub(crate) struct Record {
    pub(crate) registry: Arc<Registry>,
    pub(crate) label: Label,
    pub(crate) id: Id,
    pub(crate) key: Key,
    /// That of its parent.
    pub(crate) outer: Node,
    pub(crate) scope: Arc<Scope>,
    pub(crate) latch: Latch,
    /// Where its scope is to be forgotten, if it has no parent.
    pub(crate) root: Option<RootKey>,
    pub(crate) span: Span,
    pub(crate) items: Option<Arc<dyn Items>>,
    pub(crate) begun: Begun,
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
        match self.begun {
            Begun::Enter => return self.incident(IncidentKind::EnterLost, why.to_owned()),
            Begun::Leftover => return,
            Begun::Guard | Begun::No | Begun::Branch | Begun::Inline => {}
        }
        let items = |items: &Arc<dyn Items>| items.items().into_iter().map(|item| item.label).collect();
        let labels: Vec<Label> = self.items.as_ref().map_or_else(|| vec![self.label], items);
        self.registry.counters.add(Count::Lost, labels.len() as u64);
        for label in labels {
            let incident = self.registry.report(IncidentKind::ExitLost, label, why.to_owned());
            self.registry.log_incident(incident);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        drop(self.registry.release(self.key));
        self.scope.remove(self.id, &self.latch);
        if let Some(root) = self.root {
            self.registry.forget_root(root);
        }
        // This wakes: a waker is somebody's code.
        quietly(|| {
            let _ = self.latch.set(());
        });
        self.registry.changes().tell();
    }
}

impl<F: Future<Output: Settle> + ?Sized> Job<F> {
    pub(crate) fn new(future: Pin<Box<F>>, node: Node, record: Record) -> Self {
        let gate = record.begun.is_gated().then(Gate::default);
        Self { future: Some(future), gate, node, record }
    }

    /// Ready when those that were entered later have ended.
    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(gate) = &mut self.gate else { return Poll::Ready(()) };
        let Record { registry, scope, key, id, begun, .. } = &self.record;
        ready!(gate.poll(slice::from_ref(scope), *id, context));
        self.gate = None;
        registry.change(*key, |entry| entry.phase = begun.phase_of_work());
        Poll::Ready(())
    }

    fn poll_in_span(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_gate(context));
        let Self { future: Some(future), node, record, .. } = self else {
            return Poll::Ready(());
        };
        let abandoned = record.begun.is_abandoned();
        let own = if record.begun == Begun::Enter { &mut record.outer } else { node };
        let frame = own.enter_as_job(record.id, abandoned);
        let output = ready!(future.as_mut().poll(context));
        quietly(|| self.future = None);
        drop(frame);
        if self.record.begun != Begun::Enter {
            // It may have found whom to blame.
            self.record.label = self.node.label;
        }
        self.settle(output);
        Poll::Ready(())
    }

    fn settle(&mut self, output: F::Output)
    where
        F::Output: Sized,
    {
        count_exited(&self.record.registry, &output);
        // Another frame of the same place: the record cannot be lent to both.
        let Node { id, label, ref children } = self.record.outer;
        let mut outer = Node { id, label, children: children.clone() };
        let frame = outer.enter_as_job(self.record.id, false);
        quietly(|| output.settle(&self.record));
        drop(frame);
        self.record.registry.log_end();
    }
}

impl<F: Future<Output: Settle> + ?Sized> Future for Job<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let span = mem::take(&mut self.record.span);
        let polled = span.in_scope(|| self.poll_in_span(context));
        self.record.span = span;
        polled
    }
}

impl<F: Future<Output: Settle> + ?Sized> Drop for Job<F> {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        // The resource's own `Drop` is the forceful close. Should it panic, the panic hook has told; this is no place to
        // let it out.
        let own = if self.record.begun == Begun::Enter { &mut self.record.outer } else { &mut self.node };
        let frame = own.enter_as_job(self.record.id, false);
        quietly(|| drop(future));
        drop(frame);
        self.record.lost();
    }
}
