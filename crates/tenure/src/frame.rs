//! The enclosing tenure of the code that runs now, on this thread.
//!
//! While the body or the exit of a tenure is polled *and while it is dropped*, a frame for it lies on a thread-local
//! stack. A tenure that is handed over looks there for its parent: that link is what keeps exits in order when a whole
//! nest of futures is dropped at once (law 13).
//!
//! # Invariants
//! 1. A frame lies on the stack exactly as long as its [`Entered`] guard lives; guards nest, so pushes and pops pair.
//! 2. No user code runs while anything here is borrowed.
//! 3. What is to be spawned waits until the frame it was handed over in is popped: all that one poll, or one drop, of a
//!    body hands over is in its scope before any of it begins.
//! 4. A frame has an id as soon as someone asks for it, and its owner gets that id back with the guard's end.
//! 5. A frame has at most one extra, and the depths of the extras rise: that of the innermost frame, if any, is the last.
//! 6. A frame encloses the code of its own place alone: of the task, on the runtime, that pushed it. Whatever else a
//!    thread polls meanwhile, the tasks of a `LocalSet` or of another runtime that is driven inside a body, is not in it.
//! 7. A frame that was popped stays where it lies until another one is pushed at its depth.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::task::Context;

use crate::label::{Id, Label, next_id};
use crate::registry::{Place, place_in, place_now};
use crate::scope::Scope;

/// How deep frames lie in plain cells, which need no check whether the thread is being torn down. Deeper ones, which few
/// programs have, lie in a `Vec`.
const NEAR_MAX: usize = 24;

/// An id that is given when someone asks for it.
fn allotted(id: Id) -> Id {
    if id == 0 { next_id() } else { id }
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
        self.id = allotted(self.id);
        self.id
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
        self.push(Some(place_in(context)), Role::Body)
    }

    /// Makes this the enclosing tenure of what is polled with `context`, until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self, context: &Context<'_>) -> Entered<'_> {
        self.push(Some(place_in(context)), Role::Inline)
    }

    /// As [`enter`](Self::enter), where the frame of the body was popped in the same poll: by the same task, which need
    /// not be looked up again.
    #[inline]
    pub(crate) fn enter_behind_body(&mut self, context: &Context<'_>) -> Entered<'_> {
        let is_near = STACK.with(|stack| stack.depth.get() < NEAR_MAX);
        let place = if is_near { None } else { Some(place_in(context)) };
        self.push(place, Role::Inline)
    }

    /// Makes this the enclosing tenure of what is dropped, until the guard is dropped.
    #[cold]
    pub(crate) fn enter_to_drop(&mut self) -> Entered<'_> {
        self.push(Some(place_now()), Role::Inline)
    }

    /// As [`enter`](Self::enter), for the exit of something that belongs to the exit around it: an entry of a stack, one
    /// of several joined resources. Its caller is gone when that one's is.
    #[inline]
    pub(crate) fn enter_as_part(&mut self, context: &Context<'_>) -> Entered<'_> {
        let role = if is_abandoned() { Role::Abandoned } else { Role::Inline };
        // The exit around it is polled right now, by the same task.
        let place = look_at_innermost(|slot| slot.place.get()).unwrap_or_else(|| place_in(context));
        self.push(Some(place), role)
    }

    /// As [`enter`](Self::enter) and [`enter_to_drop`](Self::enter_to_drop), for a handed-over exit.
    pub(crate) fn enter_as_job(&mut self, job: Id, abandoned: bool) -> Entered<'_> {
        self.push(Some(place_now()), Role::Job { job, abandoned })
    }

    /// Pushes a frame. Without a place, it has that of the frame that lay at its depth before.
    #[inline]
    fn push(&mut self, place: Option<Place>, role: Role) -> Entered<'_> {
        STACK.with(|stack| {
            let depth = stack.depth.get();
            stack.depth.set(depth + 1);
            match stack.near.get(depth) {
                Some(slot) => slot.fill(self, place, role),
                None => push_far(depth, self, place, role),
            }
            if role.is_abandoned() {
                stack.abandoned.set(stack.abandoned.get() + 1);
            }
        });
        if self.children.is_some() {
            self.lend_children();
        }
        Entered { node: self }
    }

    /// Gives the children to the frame that was just pushed.
    #[cold]
    fn lend_children(&mut self) {
        with_extra(|extra| extra.children = self.children.take());
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

impl Role {
    fn is_abandoned(self) -> bool {
        matches!(self, Self::Abandoned | Self::Job { abandoned: true, .. })
    }
}

/// What each poll pushes and pops: plain data.
struct Slot {
    id: Cell<Id>,
    /// `None` if there was none yet.
    label: Cell<Option<Label>>,
    place: Cell<Place>,
    role: Cell<Role>,
}

impl Slot {
    const fn empty() -> Self {
        Self {
            id: Cell::new(0),
            label: Cell::new(None),
            place: Cell::new(Place::NOWHERE),
            role: Cell::new(Role::Inline),
        }
    }

    #[inline]
    fn fill(&self, node: &Node, place: Option<Place>, role: Role) {
        self.id.set(node.id);
        self.label.set(Some(node.label));
        self.role.set(role);
        if let Some(place) = place {
            self.place.set(place);
        }
    }

    /// The id, allotted now if it was not.
    fn id(&self) -> Id {
        self.id.set(allotted(self.id.get()));
        self.id.get()
    }
}

/// What few frames have.
#[derive(Default)]
struct Extra {
    /// How deep its frame lies.
    depth: usize,
    children: Option<Arc<Scope>>,
    /// What waits for the frame to be popped.
    after: Vec<Box<dyn FnOnce()>>,
    /// The tenure whose fault the exit of this frame is about to return, if it is not the exit's own.
    blamed: Option<Label>,
}

/// The frames of a thread. Nothing here has a destructor, so that it is there as long as the thread is.
struct Stack {
    depth: Cell<usize>,
    /// How many frames have an extra, and how many are of abandoned exits: none, as a rule, which is known without a look
    /// at the frames.
    extras: Cell<usize>,
    abandoned: Cell<usize>,
    near: [Slot; NEAR_MAX],
}

thread_local! {
    static STACK: Stack = const {
        let near = [const { Slot::empty() }; NEAR_MAX];
        Stack { depth: Cell::new(0), extras: Cell::new(0), abandoned: Cell::new(0), near }
    };
    /// The frames beyond.
    static FAR: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
    static EXTRAS: RefCell<Vec<Extra>> = const { RefCell::new(Vec::new()) };
}

#[cold]
fn push_far(depth: usize, node: &Node, place: Option<Place>, role: Role) {
    // A thread that is being torn down has none of them any more: such a frame encloses nothing.
    let _ = FAR.try_with(|far| {
        let mut far = far.borrow_mut();
        far.truncate(depth - NEAR_MAX);
        let slot = Slot::empty();
        slot.fill(node, place, role);
        far.push(slot);
    });
}

/// Looks at the frame above which so many lie.
fn look_at<T>(index: usize, look: impl FnOnce(&Slot) -> T) -> Option<T> {
    STACK.with(|stack| match stack.near.get(index) {
        Some(slot) => Some(look(slot)),
        None => FAR.try_with(|far| far.borrow().get(index - NEAR_MAX).map(look)).ok().flatten(),
    })
}

#[inline]
fn depth() -> usize {
    STACK.with(|stack| stack.depth.get())
}

#[inline]
fn look_at_innermost<T>(look: impl FnOnce(&Slot) -> T) -> Option<T> {
    look_at(depth().checked_sub(1)?, look)
}

/// Looks at the extra of the innermost frame, if it has one.
fn extra_if_any<T>(look: impl FnOnce(&mut Extra) -> Option<T>) -> Option<T> {
    let depth = depth();
    let look = |extras: &RefCell<Vec<Extra>>| {
        let mut extras = extras.borrow_mut();
        look(extras.last_mut().filter(|extra| extra.depth == depth)?)
    };
    EXTRAS.try_with(look).ok().flatten()
}

/// Looks at the extra of the innermost frame. `None` if the thread is being torn down: it has no extras any more.
#[cold]
fn with_extra<T>(look: impl FnOnce(&mut Extra) -> T) -> Option<T> {
    let depth = depth();
    let look = |extras: &RefCell<Vec<Extra>>| {
        let mut extras = extras.borrow_mut();
        if extras.last().is_none_or(|extra| extra.depth != depth) {
            extras.push(Extra { depth, ..Extra::default() });
            STACK.with(|stack| stack.extras.set(extras.len()));
        }
        extras.last_mut().map(look)
    };
    EXTRAS.try_with(look).ok().flatten()
}

/// Keeps a frame on the stack.
#[must_use = "the frame is popped when this is dropped"]
pub(crate) struct Entered<'n> {
    node: &'n mut Node,
}

impl Entered<'_> {
    /// Pops the frame, and says whose it was.
    #[inline]
    pub(crate) fn leave(self) -> Place {
        look_at_innermost(|slot| slot.place.get()).unwrap_or(Place::NOWHERE)
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let is_plain = STACK.with(|stack| {
            let index = stack.depth.get() - 1;
            stack.depth.set(index);
            let slot = stack.near.get(index);
            if let Some(slot) = slot {
                self.node.id = slot.id.get();
            }
            slot.is_some() && stack.extras.get() == 0 && stack.abandoned.get() == 0
        });
        if !is_plain {
            take_back(self.node);
        }
    }
}

/// Takes from the frame that was just popped what its owner is to have again.
#[cold]
fn take_back(node: &mut Node) {
    let index = depth();
    if let Some((id, role)) = look_at(index, |slot| (slot.id.get(), slot.role.get())) {
        node.id = id;
        if role.is_abandoned() {
            STACK.with(|stack| stack.abandoned.set(stack.abandoned.get() - 1));
        }
    }
    let extra = EXTRAS.try_with(|extras| {
        let mut extras = extras.borrow_mut();
        let extra = extras.pop_if(|extra| extra.depth == index + 1);
        STACK.with(|stack| stack.extras.set(extras.len()));
        extra
    });
    if let Ok(Some(Extra { children, after, blamed, .. })) = extra {
        node.children = children;
        node.label = blamed.unwrap_or(node.label);
        after.into_iter().for_each(|work| work());
    }
}

/// Where the code that runs now is, if that matters: if there are frames at all.
fn place_if_framed() -> Option<Place> {
    (depth() != 0).then(place_now)
}

/// Looks at the innermost frame, if it encloses the code of this place.
fn innermost_at<T>(place: Place, look: impl FnOnce(&Slot) -> T) -> Option<T> {
    look_at_innermost(|slot| (slot.place.get() == place).then(|| look(slot))).flatten()
}

/// Does `work` when the innermost frame is popped; now, if there is none.
pub(crate) fn after_frame(place: Option<Place>, work: impl FnOnce() + 'static) {
    let mut work = Some(work);
    if place.is_some_and(|place| innermost_at(place, |_| ()).is_some()) {
        with_extra(|extra| {
            if let Some(work) = work.take() {
                extra.after.push(Box::new(work));
            }
        });
    }
    if let Some(work) = work {
        work();
    }
}

/// Whether there is an enclosing tenure.
pub(crate) fn is_enclosed() -> bool {
    place_if_framed().and_then(|place| innermost_at(place, |_| ())).is_some()
}

/// The id of the enclosing tenure; 0 if there is none.
pub(crate) fn enclosing_id() -> Id {
    place_if_framed().map_or(0, enclosing_id_at)
}

/// As [`enclosing_id`], of the code of this place.
pub(crate) fn enclosing_id_at(place: Place) -> Id {
    innermost_at(place, Slot::id).unwrap_or(0)
}

/// An enclosing tenure, where something is handed over.
pub(crate) struct Enclosing {
    pub(crate) place: Place,
    pub(crate) id: Id,
    /// What its handed-over children wait in.
    pub(crate) scope: Arc<Scope>,
}

/// The enclosing tenure, if there is one. The place is that of the code that runs now, if it is known.
pub(crate) fn enclosing(place: Option<Place>) -> Option<Enclosing> {
    let place = if depth() == 0 { None } else { Some(place.unwrap_or_else(place_now)) }?;
    let id = innermost_at(place, Slot::id)?;
    let scope = with_extra(|extra| Arc::clone(extra.children.get_or_insert_default()))?;
    Some(Enclosing { place, id, scope })
}

/// Returns `true` if nothing that was handed over inside a frame of this thread is left: then no scope has to be looked at.
#[inline]
pub(crate) fn has_no_scopes() -> bool {
    STACK.with(|stack| stack.extras.get() == 0)
}

/// The scopes that a guard looks at which is closed by the code that runs now: that of the innermost frame, and those
/// around it, through bodies that run in place, up to the one it was entered in. The flag says whether that one is the
/// task itself.
///
/// An exit is where it ends: what is closed inside it is part of it, and whoever waits for the exit waits for that. Were
/// such a guard to look further, it would wait for those who wait for the exit.
pub(crate) fn scopes_up_to(home: Id) -> (Vec<Arc<Scope>>, bool) {
    let Some(place) = place_if_framed() else { return (Vec::new(), home == 0) };
    let look = |extras: &RefCell<Vec<Extra>>| {
        let extras = extras.borrow();
        let mut scopes = Vec::new();
        for index in of_place(place).rev() {
            let extra = extras.iter().rfind(|extra| extra.depth == index + 1);
            scopes.extend(extra.and_then(|extra| extra.children.clone()));
            let found = look_at(index, |slot| {
                !matches!(slot.role.get(), Role::Body) || (home != 0 && slot.id.get() == home)
            });
            if found == Some(true) {
                return (scopes, false);
            }
        }
        (scopes, home == 0)
    };
    EXTRAS.try_with(look).unwrap_or_default()
}

/// The innermost frames that are all of this place.
fn of_place(place: Place) -> Range<usize> {
    let depth = depth();
    let is_of_place = |index: usize| look_at(index, |slot| slot.place.get() == place) == Some(true);
    let first = (0..depth).rev().take_while(|index| is_of_place(*index)).last();
    first.unwrap_or(depth)..depth
}

/// The scope of the innermost frame, if something was handed over in it and has not ended.
///
/// For the code that a frame was pushed for, which knows that the innermost frame is its own.
#[inline]
pub(crate) fn own_children() -> Option<Arc<Scope>> {
    if has_no_scopes() { None } else { children_of_innermost() }
}

#[cold]
fn children_of_innermost() -> Option<Arc<Scope>> {
    extra_if_any(|extra| extra.children.clone()).filter(|children| !children.is_empty())
}

/// Whether the exit that the innermost frame is for had a caller once who is gone.
///
/// For the code that a frame was pushed for, which knows that the innermost frame is its own.
#[inline]
pub(crate) fn is_abandoned() -> bool {
    STACK.with(|stack| stack.abandoned.get() != 0) && innermost_is_abandoned()
}

#[cold]
fn innermost_is_abandoned() -> bool {
    look_at_innermost(|slot| slot.role.get().is_abandoned()).unwrap_or(false)
}

/// Says that the error which the exit of the innermost frame is about to return is that of another tenure: of an entry
/// of a stack. The node has that one's label from then on, so that reports name it.
pub(crate) fn blame(label: Label) {
    if depth() != 0 {
        with_extra(|extra| extra.blamed = Some(label));
    }
}

/// The label of the enclosing tenure.
pub(crate) fn enclosing_label() -> Option<Label> {
    look_at_innermost(|slot| slot.label.get()).flatten()
}

/// The handed-over exits that the code that runs now is part of, innermost first.
pub(crate) fn running_jobs() -> Vec<Id> {
    let Some(place) = place_if_framed() else { return Vec::new() };
    let job = |slot: &Slot| match slot.role.get() {
        Role::Job { job, .. } if job != 0 => Some(job),
        _ => None,
    };
    of_place(place).rev().filter_map(|index| look_at(index, job).flatten()).collect()
}

/// The tenures whose bodies are being polled on this thread by the code that runs now, outermost first, each with its
/// parent's id.
pub(crate) fn running_bodies() -> Vec<(Id, Id, Label)> {
    let Some(place) = place_if_framed() else { return Vec::new() };
    let mut parent = 0;
    let mut bodies = Vec::new();
    for index in of_place(place) {
        let seen = look_at(index, |slot| (slot.id(), slot.label.get(), slot.role.get()));
        let Some((id, Some(label), role)) = seen else { continue };
        if !matches!(role, Role::Job { .. }) {
            bodies.push((id, parent, label));
        }
        parent = id;
    }
    bodies
}
