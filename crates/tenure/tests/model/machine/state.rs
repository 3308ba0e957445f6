//! What a program is, and what is the case at one moment of its run.
//!
//! # Invariants
//! 1. Scopes are a tree by ownership: a frame owns the jobs that were left in it, a job owns the frames of its body and of its
//!    exit. Nothing else says what lies below what.
//! 2. [`Ledger`] is written along with each event and is no part of the rules (but for the wrong ones): the properties are
//!    checked against it, not against the tree that the rules themselves decide by.

pub(crate) type Id = usize;
pub(crate) type CodeId = usize;
pub(crate) type ContextId = usize;
pub(crate) type Var = usize;

/// The variables by which an exit knows the guards that its resource owns: this one and those after it.
pub(crate) const OWNED: Var = 100;
/// Tenures and tasks of one run, at most.
pub(crate) const MAX_IDS: usize = 32;

/// A statement of a body or of an exit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Suspends once.
    Step,
    /// Takes the one lock that all share, and gives it back.
    Lock,
    Unlock,
    /// Waits until no instance of the context is entered: for a signal that its exit gives.
    WaitGone(ContextId),
    /// Never comes back.
    Hang,
    /// Enters a guard.
    Hold(Var, ContextId),
    /// Enters a guard whose resource takes over the guards in these variables.
    Own(Var, ContextId, Vec<Var>),
    Drop(Var),
    /// Closes by hand, awaited.
    Close(Var),
    /// Polls a close by hand until it has begun, and then not any more.
    Park(Var),
    /// Moves a guard to where there is no frame, and drops it there.
    Give(Var),
    With(ContextId, CodeId),
    Join(Vec<CodeId>),
    /// Code that may be dropped at each of its steps, after which the code around it goes on: a `select!`, a time limit.
    Cut(CodeId),
    /// Branches of which the first that ends has the others dropped: a `select!`.
    Select(Vec<CodeId>),
    /// Cancels the token that the context is told to stop by.
    Ask(ContextId),
    /// A task group: its body and its children.
    Group(ContextId, CodeId, Vec<CodeId>),
    /// Waits for all that exits in the background, less what waits for the caller.
    Drain,
    /// Returns an error.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Plain,
    /// A function that holds these guards in local variables while it lends.
    Generator(Vec<ContextId>),
    Stack(Vec<ContextId>),
    /// Several that are entered side by side, and exit side by side.
    Join(Vec<ContextId>),
    Group,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Context {
    pub(crate) form: Form,
    pub(crate) exit: CodeId,
    /// Has an exit time limit, which may expire at any step.
    pub(crate) limited: bool,
    /// The enter is shielded and suspends so often.
    pub(crate) shielded: usize,
    /// Stops when its token is cancelled.
    pub(crate) stoppable: bool,
    /// Its exit recovers from the body's error.
    pub(crate) recovers: bool,
}

impl Context {
    pub(crate) fn new(form: Form, exit: CodeId) -> Self {
        Self { form, exit, limited: false, shielded: 0, stoppable: false, recovers: false }
    }
}

/// Code 0 is the body of the root task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pub(crate) codes: Vec<Vec<Op>>,
    pub(crate) contexts: Vec<Context>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Told {
    Completed,
    Failed,
    Cancelled,
}

/// What has to be exited, once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tenure {
    pub(crate) id: Id,
    pub(crate) context: ContextId,
    /// The guards in its resource; the entries, if it is a stack.
    pub(crate) owned: Vec<Tenure>,
}

/// The tenures that were handed over in one frame and have not ended.
pub(crate) type Scope = Vec<Job>;

/// A tenure that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) id: Id,
    pub(crate) context: ContextId,
    /// It was a `with`; else it was a guard.
    pub(crate) branch: bool,
    /// What its body left behind.
    pub(crate) body: Scope,
    /// The children of a group.
    pub(crate) tasks: Vec<Task>,
    pub(crate) phase: Phase,
    /// Whom it found when it looked for the first time. Used by a wrong rule.
    pub(crate) saw: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// A shielded enter that goes on, with so many suspensions to come.
    Entering(usize),
    Pending(Tenure),
    Begun(Exit),
}

/// An exit that has begun, in its frame: in place, on a stack, or as a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Exit {
    pub(crate) id: Id,
    pub(crate) context: ContextId,
    pub(crate) branch: bool,
    pub(crate) told: Told,
    pub(crate) run: Run,
    /// What the exit left behind.
    pub(crate) scope: Scope,
    pub(crate) tasks: Vec<Task>,
}

/// A child of a group: the top of a tree of its own, below the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) id: Id,
    pub(crate) run: Run,
    pub(crate) scope: Scope,
}

/// Inline code, at one of its suspensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Run {
    Done(bool),
    Code(Code),
    Join(Vec<Run>),
    Select(Vec<Run>),
    Cut(Box<Run>),
    /// The shielded enter of a `with`, awaited; with the suspensions to come and the body.
    Entering(Id, ContextId, usize, Box<Code>),
    With(Box<With>),
    /// A close by hand that has not begun; with what it found when it looked for the first time.
    Closing(Box<Tenure>, Option<u32>),
    Leaving(Box<Exit>),
    Unwind(Box<Unwind>),
    /// The exit of joined contexts.
    Exits(Vec<Part>),
    /// The exit of a group.
    Await,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Code {
    pub(crate) code: CodeId,
    pub(crate) at: usize,
    pub(crate) locals: Vec<(Var, Tenure)>,
    /// What it awaits.
    pub(crate) awaited: Option<Box<Run>>,
    pub(crate) parked: Vec<Exit>,
    pub(crate) locks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct With {
    pub(crate) tenure: Tenure,
    pub(crate) body: Run,
    pub(crate) scope: Scope,
    pub(crate) tasks: Vec<Task>,
    /// The body was dropped by request.
    pub(crate) stopped: bool,
}

/// One of several joined contexts, while they exit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Pending(Tenure, Told),
    Begun(Exit),
    Ended(bool),
}

/// The exit of a stack: one entry after the other, each in a frame of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unwind {
    pub(crate) entries: Vec<Tenure>,
    /// The outcome as the exits so far have left it.
    pub(crate) told: Told,
    pub(crate) failed: bool,
    pub(crate) current: Option<Exit>,
}

/// A frame: that of a body is twice its tenure, that of an exit one more. 0 is the root task.
pub(crate) type Frame = usize;

pub(crate) fn body_of(id: Id) -> Frame {
    2 * id
}

pub(crate) fn exit_of(id: Id) -> Frame {
    2 * id + 1
}

/// What is known of one tenure, from its enter on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    pub(crate) context: u8,
    /// Where it was entered, and where it was handed over.
    pub(crate) home: u8,
    pub(crate) placed: u8,
    /// Whose code dropped it, or polls it in place: where it is placed, if exits have scopes.
    pub(crate) below: u8,
    /// The first id that was not given out when it was handed over: what is entered after that cannot use it.
    pub(crate) bound: u8,
}

/// What has happened, for the properties.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// By id; those that are no tenures have none that count.
    pub(crate) facts: Vec<Facts>,
    pub(crate) entered: u32,
    pub(crate) branches: u32,
    pub(crate) handed_over: u32,
    pub(crate) begun: u32,
    pub(crate) ended: u32,
    pub(crate) expired: u32,
    /// Exits that are polled in place, with the frame in which they are. Used by a wrong rule.
    pub(crate) in_place: Vec<(Frame, Id)>,
    pub(crate) broken: Option<&'static str>,
    pub(crate) trace: Option<Vec<Event>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Event {
    Begins(ContextId, Told),
    /// The code of the exit has ended; what it left behind may not have.
    Ends(ContextId),
    /// The exit's code, or the resource whose exit has not begun, was dropped at a limit.
    Expires(ContextId),
    Cancelled,
    Result(bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) root: Run,
    pub(crate) scope: Scope,
    /// Scopes that nothing lies around: of guards dropped where there is no frame, of exits that ran out of time.
    pub(crate) elsewhere: Vec<(Frame, Scope)>,
    pub(crate) locked: bool,
    /// The contexts that were asked to stop, by number.
    pub(crate) asked: u64,
    pub(crate) cancelled: bool,
    pub(crate) ledger: Ledger,
}

pub(crate) fn bit(id: Id) -> u32 {
    1 << id
}

impl Program {
    /// The contexts on stacks, less those that are stacks.
    pub(crate) fn entries(&self) -> Vec<ContextId> {
        let of = |form: &Form| match form {
            Form::Stack(entries) => entries.clone(),
            _ => Vec::new(),
        };
        let all = self.contexts.iter().flat_map(|context| of(&context.form));
        all.filter(|entry| of(&self.contexts[*entry].form).is_empty()).collect()
    }

    /// Whether the code, or code inside of it, uses the variable.
    pub(crate) fn mentions(&self, code: CodeId, var: Var) -> bool {
        self.codes[code].iter().any(|op| match op {
            Op::Drop(name) | Op::Close(name) | Op::Park(name) | Op::Give(name) => *name == var,
            Op::Own(_, _, inner) => inner.contains(&var),
            Op::With(_, body) | Op::Cut(body) => self.mentions(*body, var),
            Op::Join(branches) | Op::Select(branches) => {
                branches.iter().any(|branch| self.mentions(*branch, var))
            }
            Op::Group(_, body, children) => {
                self.mentions(*body, var) || children.iter().any(|child| self.mentions(*child, var))
            }
            _ => false,
        })
    }
}

impl Code {
    pub(crate) fn new(code: CodeId) -> Self {
        Self { code, at: 0, locals: Vec::new(), awaited: None, parked: Vec::new(), locks: false }
    }

    pub(crate) fn take(&mut self, var: Var) -> Option<Tenure> {
        let place = self.locals.iter().position(|(name, _)| *name == var)?;
        Some(self.locals.remove(place).1)
    }
}

impl Run {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl Task {
    pub(crate) fn is_over(&self) -> bool {
        self.run.is_done() && self.scope.is_empty()
    }
}

impl World {
    pub(crate) fn new(trace: bool) -> Self {
        Self {
            root: Run::Code(Code::new(0)),
            scope: Vec::new(),
            elsewhere: Vec::new(),
            locked: false,
            asked: 0,
            cancelled: false,
            ledger: Ledger::new(trace),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.root.is_done() && self.scope.is_empty() && self.elsewhere.iter().all(|(_, scope)| scope.is_empty())
    }
}
