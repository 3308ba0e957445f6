//! The enclosing tenure of the code that runs now, on this thread.
//!
//! While the body or the exit of a tenure is polled *and while it is dropped*, a frame for it lies on a thread-local
//! stack. A tenure that is handed over looks there for its parent: that link is what keeps exits in order when a whole
//! nest of futures is dropped at once (law 13).
//!
//! # Invariants
//! 1. A frame lies on the stack exactly as long as its [`Entered`] guard lives; guards nest, so pushes and pops pair.
//! 2. No user code runs while the stack is borrowed.
//! 3. What is to be spawned waits until the frame it was handed over in is popped: all that one poll, or one drop, of a
//!    body hands over is in its scope before any of it begins.
//! 4. A frame has an id as soon as someone asks for it, and its owner gets that id back with the guard's end.
//! 5. A frame has at most one extra, and the depths of the extras rise: that of the innermost frame, if any, is the last.
//! 6. A frame encloses the code of its own place alone: of the task, on the runtime, that pushed it. Whatever else a
//!    thread polls meanwhile, the tasks of a `LocalSet` or of another runtime that is driven inside a body, is not in it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Context;

use crate::label::{Id, Label, next_id};
use crate::registry::{Place, place_in, place_now};
use crate::scope::Scope;

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
    /// Tenures handed over inside this one. `None` until there is one: the happy path pays one load.
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

    /// Moves the frame to another owner, who goes on under the same id.
    pub(crate) fn take(&mut self) -> Self {
        Self { id: self.id(), label: self.label, children: self.children.take() }
    }

    /// Whether something that was handed over inside has not ended yet.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.children.as_ref().is_some_and(|children| !children.is_empty())
    }

    /// As [`enter`](Self::enter), for a body.
    #[inline]
    pub(crate) fn enter_body(&mut self, context: &Context<'_>) -> Entered<'_> {
        self.push(place_in(context), Role::Body)
    }

    /// Makes this the enclosing tenure of what is polled with `context`, until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self, context: &Context<'_>) -> Entered<'_> {
        self.push(place_in(context), Role::Inline)
    }

    /// Makes this the enclosing tenure of what is dropped, until the guard is dropped.
    #[cold]
    pub(crate) fn enter_to_drop(&mut self) -> Entered<'_> {
        self.push(place_now(), Role::Inline)
    }

    /// As [`enter`](Self::enter), for the exit of something that belongs to the exit around it: an entry of a stack, one
    /// of several joined resources. Its caller is gone when that one's is.
    #[inline]
    pub(crate) fn enter_as_part(&mut self, context: &Context<'_>) -> Entered<'_> {
        let role = if is_abandoned() { Role::Abandoned } else { Role::Inline };
        // The exit around it is polled right now, by the same task.
        let around = FRAMES.try_with(|frames| frames.borrow().stack.last().map(|frame| frame.place));
        let place = around.ok().flatten().unwrap_or_else(|| place_in(context));
        self.push(place, role)
    }

    /// As [`enter`](Self::enter) and [`enter_to_drop`](Self::enter_to_drop), for a handed-over exit.
    pub(crate) fn enter_as_job(&mut self, job: Id, abandoned: bool) -> Entered<'_> {
        self.push(place_now(), Role::Job { job, abandoned })
    }

    #[inline]
    fn push(&mut self, place: Place, role: Role) -> Entered<'_> {
        // A thread that is being torn down has no stack any more: what is handed over there has no parent.
        let _ = FRAMES.try_with(|frames| frames.borrow_mut().push(self, place, role));
        Entered { node: self }
    }
}

/// Who polls what a frame is for.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// Its caller; it is a body.
    Body,
    /// Its caller; it is an exit.
    Inline,
    /// Its caller, which is itself part of an exit that was begun by a caller who is gone.
    Abandoned,
    /// A job. It is abandoned if its exit had a caller once who is gone.
    Job { job: Id, abandoned: bool },
}

/// What each poll pushes and pops: plain data.
struct Frame {
    id: Id,
    label: Label,
    place: Place,
    role: Role,
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
    /// The tenure whose fault the exit of this frame is about to return, if it is not the exit's own.
    blamed: Option<Label>,
}

struct Frames {
    stack: Vec<Frame>,
    extras: Vec<Extra>,
}

impl Role {
    fn is_abandoned(self) -> bool {
        matches!(self, Self::Abandoned | Self::Job { abandoned: true, .. })
    }
}

thread_local! {
    /// How many frames of this thread have an extra, and how many are of abandoned exits: none, as a rule, which is known
    /// without a look at the frames.
    static EXTRAS: Cell<usize> = const { Cell::new(0) };
    static ABANDONED: Cell<usize> = const { Cell::new(0) };
    static FRAMES: RefCell<Frames> = const { RefCell::new(Frames { stack: Vec::new(), extras: Vec::new() }) };
}

impl Frames {
    #[inline]
    fn push(&mut self, node: &mut Node, place: Place, role: Role) {
        self.stack.push(Frame { id: node.id, label: node.label, place, role });
        if role.is_abandoned() {
            ABANDONED.set(ABANDONED.get() + 1);
        }
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
            if frame.role.is_abandoned() {
                ABANDONED.set(ABANDONED.get() - 1);
            }
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
            let depth = self.stack.len();
            self.extras.push(Extra { depth, children: None, after: Vec::new(), blamed: None });
            EXTRAS.set(self.extras.len());
        }
        self.extra_if_any().expect("it was just pushed")
    }

    /// The frames of one place, innermost first, down to the first that belongs elsewhere.
    fn of_place(&self, place: Place) -> impl Iterator<Item = &Frame> {
        self.stack.iter().rev().take_while(move |frame| frame.place == place)
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
    let extra = FRAMES.try_with(|frames| {
        let extras = &mut frames.borrow_mut().extras;
        let extra = extras.pop();
        EXTRAS.set(extras.len());
        extra
    });
    if let Ok(Some(Extra { children, after, blamed, .. })) = extra {
        node.children = children;
        node.label = blamed.unwrap_or(node.label);
        after.into_iter().for_each(|work| work());
    }
}

/// Looks at the innermost frame, if it encloses the code that runs now.
fn innermost<T>(look: impl FnOnce(&mut Frames) -> T) -> Option<T> {
    innermost_at(place_now(), look)
}

fn innermost_at<T>(place: Place, look: impl FnOnce(&mut Frames) -> T) -> Option<T> {
    let look = |frames: &RefCell<Frames>| {
        let mut frames = frames.borrow_mut();
        let encloses = frames.stack.last().is_some_and(|frame| frame.place == place);
        encloses.then(|| look(&mut frames))
    };
    FRAMES.try_with(look).ok().flatten()
}

/// Does `work` when the innermost frame is popped; now, if there is none.
pub(crate) fn after_frame(work: impl FnOnce() + 'static) {
    let mut work = Some(work);
    innermost(|frames| {
        if let Some(work) = work.take() {
            frames.extra().after.push(Box::new(work));
        }
    });
    if let Some(work) = work {
        work();
    }
}

/// Whether there is an enclosing tenure.
pub(crate) fn is_enclosed() -> bool {
    innermost(|_| ()).is_some()
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

/// The scopes that a guard looks at which is closed by the code that runs now: that of the innermost frame, and those
/// around it, through bodies that run in place, up to the one it was entered in. The flag says whether that one is the
/// task itself.
///
/// An exit is where it ends: what is closed inside it is part of it, and whoever waits for the exit waits for that. Were
/// such a guard to look further, it would wait for those who wait for the exit.
pub(crate) fn scopes_up_to(home: Id) -> (Vec<Arc<Scope>>, bool) {
    let place = place_now();
    let look = |frames: &RefCell<Frames>| {
        let frames = frames.borrow();
        let mut scopes = Vec::new();
        let mut depth = frames.stack.len();
        for frame in frames.of_place(place) {
            let extra = frames.extras.iter().rfind(|extra| extra.depth == depth);
            scopes.extend(extra.and_then(|extra| extra.children.clone()));
            if !matches!(frame.role, Role::Body) || (home != 0 && frame.id == home) {
                return (scopes, false);
            }
            depth -= 1;
        }
        (scopes, home == 0)
    };
    FRAMES.try_with(look).unwrap_or_default()
}

/// The scope of the innermost frame, if something was handed over in it and has not ended.
///
/// For the code that a frame was pushed for, which knows that the innermost frame is its own.
#[inline]
pub(crate) fn own_children() -> Option<Arc<Scope>> {
    if EXTRAS.get() == 0 { None } else { children_of_innermost() }
}

#[cold]
fn children_of_innermost() -> Option<Arc<Scope>> {
    let children = FRAMES.try_with(|frames| frames.borrow_mut().extra_if_any()?.children.clone());
    children.ok().flatten().filter(|children| !children.is_empty())
}

/// Whether the exit that the innermost frame is for had a caller once who is gone.
///
/// For the code that a frame was pushed for, which knows that the innermost frame is its own.
#[inline]
pub(crate) fn is_abandoned() -> bool {
    ABANDONED.get() != 0 && innermost_is_abandoned()
}

#[cold]
fn innermost_is_abandoned() -> bool {
    let look =
        |frames: &RefCell<Frames>| frames.borrow().stack.last().is_some_and(|frame| frame.role.is_abandoned());
    FRAMES.try_with(look).unwrap_or(false)
}

/// Says that the error which the exit of the innermost frame is about to return is that of another tenure: of an entry
/// of a stack. The node has that one's label from then on, so that reports name it.
pub(crate) fn blame(label: Label) {
    let _ = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        if !frames.stack.is_empty() {
            frames.extra().blamed = Some(label);
        }
    });
}

/// The label of the enclosing tenure.
pub(crate) fn enclosing_label() -> Option<Label> {
    FRAMES.try_with(|frames| frames.borrow().stack.last().map(|frame| frame.label)).ok().flatten()
}

/// The handed-over exits that the code that runs now is part of, innermost first.
pub(crate) fn running_jobs() -> Vec<Id> {
    let place = place_now();
    let job = |frame: &Frame| match frame.role {
        Role::Job { job, .. } if job != 0 => Some(job),
        _ => None,
    };
    FRAMES.try_with(|frames| frames.borrow().of_place(place).filter_map(job).collect()).unwrap_or_default()
}

/// The tenures whose bodies are being polled on this thread by the code that runs now, innermost first, each with its
/// parent's id.
pub(crate) fn running_bodies() -> Vec<(Id, Id, Label)> {
    let place = place_now();
    FRAMES
        .try_with(|frames| {
            let mut frames = frames.borrow_mut();
            let here = frames.of_place(place).count();
            let first = frames.stack.len() - here;
            let mut parent = 0;
            let mut bodies = Vec::new();
            for frame in &mut frames.stack[first..] {
                let id = frame.id();
                if !matches!(frame.role, Role::Job { .. }) {
                    bodies.push((id, parent, frame.label));
                }
                parent = id;
            }
            bodies
        })
        .unwrap_or_default()
}
