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
}

impl Node {
    pub(crate) fn new(label: Label) -> Self {
        Self { id: 0, label, children: None }
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
        Self { id: self.id, label: self.label, children: self.children.clone() }
    }

    /// Makes this the enclosing tenure until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        self.enter_as(0)
    }

    /// As [`enter`](Self::enter), for polling a handed-over exit.
    #[inline]
    pub(crate) fn enter_as(&mut self, job: Id) -> Entered<'_> {
        // A thread that is being torn down has no stack any more: what is handed over there has no parent.
        let _ = FRAMES.try_with(|frames| {
            let node = Self { id: self.id, label: self.label, children: self.children.take() };
            frames.borrow_mut().stack.push(Frame { node, job });
        });
        Entered { node: self }
    }
}

struct Frame {
    node: Node,
    /// The handed-over exit that is polled in this frame; 0 if it is a body.
    job: Id,
}

struct Frames {
    stack: Vec<Frame>,
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
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let popped = FRAMES.try_with(|frames| {
            let mut frames = frames.borrow_mut();
            if let Some(Frame { node, .. }) = frames.stack.pop() {
                self.node.id = node.id;
                self.node.children = node.children;
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
    FRAMES.try_with(|frames| frames.borrow_mut().stack.last_mut().map(|frame| look(&mut frame.node))).ok().flatten()
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
        .try_with(|frames| frames.borrow().stack.iter().map(|frame| frame.job).filter(|job| *job != 0).collect())
        .unwrap_or_default()
}

/// The tenures whose bodies are being polled on this thread, outermost first, each with its parent's id.
pub(crate) fn running_bodies() -> Vec<(Id, Id, Label)> {
    FRAMES
        .try_with(|frames| {
            let mut parent = 0;
            let mut bodies = Vec::new();
            for Frame { node, job } in &mut frames.borrow_mut().stack {
                let id = node.id();
                if *job == 0 {
                    bodies.push((id, parent, node.label));
                }
                parent = id;
            }
            bodies
        })
        .unwrap_or_default()
}
