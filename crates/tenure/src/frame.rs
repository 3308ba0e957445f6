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
//! 5. A frame has at most one extra, and the depths of the extras rise: that of the innermost frame, if any, is the last.

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

/// An id that is given when someone asks for it.
fn allotted(id: &mut Id) -> Id {
    if *id == 0 {
        *id = next_id();
    }
    *id
}

/// What the owner of a tenure keeps of its frame while that is not on the stack.
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
        allotted(&mut self.id)
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
        let _ = FRAMES.try_with(|frames| frames.borrow_mut().push(self, job));
        Entered { node: self }
    }
}

/// What each poll pushes and pops: plain data.
struct Frame {
    id: Id,
    label: Label,
    /// The handed-over exit that is polled in this frame; 0 if it is a body.
    job: Id,
}

impl Frame {
    fn id(&mut self) -> Id {
        allotted(&mut self.id)
    }
}

/// What few frames have.
struct Extra {
    /// How deep its frame lies.
    depth: usize,
    children: Option<Arc<Scope>>,
    /// What waits for the frame to be popped.
    after: Vec<Box<dyn FnOnce()>>,
}

struct Frames {
    stack: Vec<Frame>,
    extras: Vec<Extra>,
}

thread_local! {
    static FRAMES: RefCell<Frames> = const { RefCell::new(Frames { stack: Vec::new(), extras: Vec::new() }) };
}

impl Frames {
    #[inline]
    fn push(&mut self, node: &mut Node, job: Id) {
        self.stack.push(Frame { id: node.id, label: node.label, job });
        if node.children.is_some() {
            self.extra().children = node.children.take();
        }
    }

    /// Whether the frame that was popped has something extra.
    #[inline]
    fn pop(&mut self, node: &mut Node) -> bool {
        let depth = self.stack.len();
        if let Some(frame) = self.stack.pop() {
            node.id = frame.id;
        }
        self.extras.last().is_some_and(|extra| extra.depth == depth)
    }

    fn innermost_id(&mut self) -> Id {
        self.stack.last_mut().map_or(0, Frame::id)
    }

    /// That of the innermost frame, if it has one.
    fn extra_if_any(&mut self) -> Option<&mut Extra> {
        let depth = self.stack.len();
        self.extras.last_mut().filter(|extra| extra.depth == depth)
    }

    /// That of the innermost frame.
    #[cold]
    fn extra(&mut self) -> &mut Extra {
        if self.extra_if_any().is_none() {
            self.extras.push(Extra { depth: self.stack.len(), children: None, after: Vec::new() });
        }
        self.extra_if_any().expect("it was just pushed")
    }
}

/// Keeps a frame on the stack.
#[must_use = "the frame is popped when this is dropped"]
pub(crate) struct Entered<'n> {
    node: &'n mut Node,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let extra = FRAMES.try_with(|frames| frames.borrow_mut().pop(self.node));
        if extra == Ok(true) {
            take_back_extra(self.node);
        }
    }
}

/// Of the frame that was just popped.
#[cold]
fn take_back_extra(node: &mut Node) {
    let extra = FRAMES.try_with(|frames| frames.borrow_mut().extras.pop());
    if let Ok(Some(Extra { children, after, .. })) = extra {
        node.children = children;
        after.into_iter().for_each(|work| work());
    }
}

/// Does `work` when the innermost frame is popped; now, if there is none.
pub(crate) fn after_frame(work: impl FnOnce() + 'static) {
    let mut work = Some(work);
    let _ = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        if let Some(work) = work.take_if(|_| !frames.stack.is_empty()) {
            frames.extra().after.push(Box::new(work));
        }
    });
    if let Some(work) = work {
        work();
    }
}

/// Looks at the innermost frame.
fn innermost<T>(look: impl FnOnce(&mut Frames) -> T) -> Option<T> {
    let look = |frames: &RefCell<Frames>| {
        let mut frames = frames.borrow_mut();
        (!frames.stack.is_empty()).then(|| look(&mut frames))
    };
    FRAMES.try_with(look).ok().flatten()
}

/// The id of the enclosing tenure; 0 if there is none.
pub(crate) fn enclosing_id() -> Id {
    innermost(Frames::innermost_id).unwrap_or(0)
}

/// The enclosing tenure and the scope that its handed-over children wait in.
pub(crate) fn enclosing_scope() -> Option<(Id, Arc<Scope>)> {
    innermost(|frames| {
        let scope = Arc::clone(frames.extra().children.get_or_insert_default());
        (frames.innermost_id(), scope)
    })
}

/// The scope of the enclosing tenure, if something was handed over in it; whether there is an enclosing tenure.
pub(crate) fn enclosing_children() -> (Option<Arc<Scope>>, bool) {
    let children = |frames: &mut Frames| frames.extra_if_any()?.children.clone();
    innermost(|frames| (children(frames), true)).unwrap_or((None, false))
}

/// The handed-over exits that are being polled on this thread, outermost first.
pub(crate) fn running_jobs() -> Vec<Id> {
    FRAMES
        .try_with(|frames| {
            frames.borrow().stack.iter().map(|frame| frame.job).filter(|job| *job != 0).collect()
        })
        .unwrap_or_default()
}

/// The tenures whose bodies are being polled on this thread, outermost first, each with its parent's id.
pub(crate) fn running_bodies() -> Vec<(Id, Id, Label)> {
    FRAMES
        .try_with(|frames| {
            let mut parent = 0;
            let mut bodies = Vec::new();
            for frame in &mut frames.borrow_mut().stack {
                let id = frame.id();
                if frame.job == 0 {
                    bodies.push((id, parent, frame.label));
                }
                parent = id;
            }
            bodies
        })
        .unwrap_or_default()
}
