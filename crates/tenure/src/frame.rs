//! The enclosing tenure of the code that runs now, on this thread.
//!
//! While the body of a tenure is polled *and while it is dropped*, a frame for it lies on a thread-local stack.
//! A tenure that is handed over looks there for its parent: that link is what keeps exits in order when a whole
//! nest of futures is dropped at once (law 13).
//!
//! # Invariants
//! 1. A frame lies on the stack exactly as long as its [`Entered`] guard lives; guards nest, so pushes and pops pair.
//! 2. No user code runs while the stack is borrowed.
//! 3. What is to be spawned waits until the frame it was handed over in is popped: all that one poll, or one drop, of a
//!    body hands over is in its scope before any of it begins.
//! 4. A frame has an id as soon as someone asks for it, and its owner gets that id back with the guard's end.

use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::scope::Scope;

/// Who entered, and where: what every report names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) name: &'static str,
    pub(crate) location: &'static Location<'static>,
}

/// Identity of a tenure in reports, and its place in the order of entering. 0 is none.
pub(crate) type Id = u64;

pub(crate) fn next_id() -> Id {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only the distinct, growing values matter; nothing is published by them.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a frame carries while it is on the stack, and its owner otherwise.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) label: Label,
    /// Tenures handed over inside this one. `None` until there is one: the way without trouble pays one load.
    pub(crate) children: Option<Arc<Scope>>,
    /// The handed-over exit that is polled in this frame; 0 if it is a body.
    pub(crate) job: Id,
}

impl Node {
    pub(crate) fn new(label: Label) -> Self {
        Self { id: 0, label, children: None, job: 0 }
    }

    /// The id, allotted now if it was not.
    pub(crate) fn id(&mut self) -> Id {
        if self.id == 0 {
            self.id = next_id();
        }
        self.id
    }

    /// Another frame of the same place.
    pub(crate) fn twin(&self) -> Self {
        Self { id: self.id, label: self.label, children: self.children.clone(), job: self.job }
    }

    /// Makes this the enclosing tenure until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        let frame = Self { id: self.id, label: self.label, children: self.children.take(), job: self.job };
        let pushed = FRAMES.try_with(|frames| frames.borrow_mut().stack.push(frame)).is_ok();
        // A thread that is being torn down has no stack any more: what is handed over there has no parent.
        Entered { node: self, pushed }
    }
}

struct Frames {
    stack: Vec<Node>,
    /// What waits for a frame to be popped, with that frame's depth. The depths never fall: what waits for a deeper frame
    /// is done when that is popped.
    after: Vec<(usize, Box<dyn FnOnce()>)>,
}

thread_local! {
    static FRAMES: RefCell<Frames> = const { RefCell::new(Frames { stack: Vec::new(), after: Vec::new() }) };
}

/// Keeps a frame on the stack.
#[must_use = "the frame is popped when this is dropped"]
pub(crate) struct Entered<'n> {
    node: &'n mut Node,
    pushed: bool,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.pushed {
            return;
        }
        let node = &mut *self.node;
        let popped = FRAMES.try_with(|frames| {
            let mut frames = frames.borrow_mut();
            if let Some(frame) = frames.stack.pop() {
                node.id = frame.id;
                node.children = frame.children;
            }
            let depth = frames.stack.len();
            frames.after.last().is_some_and(|(waits_for, _)| *waits_for > depth)
        });
        if popped == Ok(true) {
            do_after();
        }
    }
}

#[cold]
fn do_after() {
    let due = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        let depth = frames.stack.len();
        let first = frames.after.partition_point(|(waits_for, _)| *waits_for <= depth);
        frames.after.split_off(first)
    });
    due.into_iter().flatten().for_each(|(_, work)| work());
}

/// Does `work` when the innermost frame is popped; now, if there is none.
pub(crate) fn after_frame(work: impl FnOnce() + 'static) {
    let mut work = Some(work);
    let _ = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        let depth = frames.stack.len();
        if let Some(work) = work.take_if(|_| depth > 0) {
            frames.after.push((depth, Box::new(work)));
        }
    });
    if let Some(work) = work {
        work();
    }
}

/// Looks at the innermost frame.
fn innermost<T>(look: impl FnOnce(&mut Node) -> T) -> Option<T> {
    FRAMES.try_with(|frames| frames.borrow_mut().stack.last_mut().map(look)).ok().flatten()
}

/// The id of the enclosing tenure; 0 if there is none.
pub(crate) fn enclosing_id() -> Id {
    innermost(Node::id).unwrap_or(0)
}

/// The enclosing tenure and the scope that its handed-over children wait in.
pub(crate) fn enclosing_scope() -> Option<(Id, Arc<Scope>)> {
    innermost(|node| {
        let scope = node.children.get_or_insert_with(Default::default);
        let scope = Arc::clone(scope);
        (node.id(), scope)
    })
}

/// The scope of the enclosing tenure, if something was handed over in it; whether there is an enclosing tenure.
pub(crate) fn enclosing_children() -> (Option<Arc<Scope>>, bool) {
    innermost(|node| (node.children.clone(), true)).unwrap_or((None, false))
}

/// The handed-over exits that are being polled on this thread, outermost first.
pub(crate) fn running_jobs() -> Vec<Id> {
    FRAMES
        .try_with(|frames| frames.borrow().stack.iter().map(|node| node.job).filter(|job| *job != 0).collect())
        .unwrap_or_default()
}

/// The tenures whose bodies are being polled on this thread, outermost first, each with its parent's id.
pub(crate) fn running_bodies() -> Vec<(Id, Id, Label)> {
    FRAMES
        .try_with(|frames| {
            let mut parent = 0;
            let mut bodies = Vec::new();
            for node in frames.borrow_mut().stack.iter_mut() {
                let id = node.id();
                if node.job == 0 {
                    bodies.push((id, parent, node.label));
                }
                parent = id;
            }
            bodies
        })
        .unwrap_or_default()
}
