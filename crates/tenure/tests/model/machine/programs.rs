//! Programs from choices: all there are up to a size, or some larger ones.
//!
//! # Invariants
//! 1. The same choices make the same program, but that stacks may be nested by hand instead.
//! 2. A context is entered at one place of the program.
//! 3. Nothing is awaited under the lock: a body or an exit that waits there for what needs the lock hangs by its own doing.

use super::state::{CodeId, Context, ContextId, Form, OWNED, Op, Program, Var};

/// A row of choices: the next of all there are, or random.
pub(crate) enum Choices {
    All { row: Vec<(usize, usize)>, at: usize },
    Random { state: u64 },
}

impl Choices {
    pub(crate) fn all() -> Self {
        Self::All { row: Vec::new(), at: 0 }
    }

    pub(crate) fn random(seed: u64) -> Self {
        // An odd multiplier keeps neighbouring seeds apart.
        Self::Random { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    pub(crate) fn pick(&mut self, of: usize) -> usize {
        match self {
            Self::All { row, at } => {
                if *at == row.len() {
                    row.push((0, of));
                }
                *at += 1;
                row[*at - 1].0
            }
            Self::Random { state } => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                usize::try_from((*state >> 33) % of as u64).expect("it is below `of`")
            }
        }
    }

    pub(crate) fn again(&mut self) {
        if let Self::All { at, .. } = self {
            *at = 0;
        }
    }

    /// Goes on to the next row; false after the last one.
    pub(crate) fn advance(&mut self) -> bool {
        let Self::All { row, at } = self else { return true };
        *at = 0;
        while let Some((choice, of)) = row.pop() {
            if choice + 1 < of {
                row.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Step,
    Hold,
    Own,
    Drop,
    Close,
    Park,
    Give,
    With,
    Shielded,
    Generator,
    Stack,
    StackGuard,
    Join,
    /// Contexts that are joined.
    JoinContexts,
    Cut,
    Select,
    Group,
    /// A `with` whose exit recovers.
    Recovering,
    /// A `with` that is asked to stop: by its own body, or by another branch while its body hangs, or before.
    Stoppable,
    Drain,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exits {
    Nothing,
    Steps,
    Locks,
    Fails,
    /// Waits for the exit of the context that is entered next.
    WaitsForNext,
    /// Holds a guard and leaves it.
    Leaves,
    Withs,
    Drains,
    /// Hangs, and has a time limit.
    Hangs,
    /// Has a time limit.
    Limited,
    DropsOwned,
    ClosesOwned,
    DropsOwnedUnderLock,
    /// Drops what it owns, and waits for a signal of its exit.
    DropsAndAwaits,
}

impl Exits {
    fn is_for_owners(self) -> bool {
        matches!(self, Self::DropsOwned | Self::ClosesOwned | Self::DropsOwnedUnderLock | Self::DropsAndAwaits)
    }
}

/// What programs are made of, and how many statements they have at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) name: &'static str,
    pub(crate) statements: &'static [Say],
    pub(crate) exits: &'static [Exits],
    pub(crate) size: usize,
}

pub(crate) struct Maker<'a> {
    vocabulary: Vocabulary,
    choices: &'a mut Choices,
    stacks_by_hand: bool,
    budget: usize,
    /// The context of each variable, from 1.
    guards: Vec<ContextId>,
    has_stack: bool,
    program: Program,
}

pub(crate) fn make(vocabulary: Vocabulary, choices: &mut Choices, stacks_by_hand: bool) -> Program {
    let budget = vocabulary.size;
    let program = Program { codes: vec![Vec::new()], contexts: Vec::new() };
    let mut maker =
        Maker { vocabulary, choices, stacks_by_hand, budget, guards: Vec::new(), has_stack: false, program };
    let body = maker.body(&mut Vec::new(), 0);
    maker.program.codes[0] = body;
    let contexts = maker.program.contexts.len();
    // Who waits for the next one waits for nobody if it is the last.
    for code in &mut maker.program.codes {
        code.retain(|op| !matches!(op, Op::WaitGone(context) if *context >= contexts));
    }
    maker.program
}

impl Maker<'_> {
    fn code(&mut self, code: Vec<Op>) -> CodeId {
        self.program.codes.push(code);
        self.program.codes.len() - 1
    }

    /// A body in which guards of the bodies around may be used up.
    fn body(&mut self, live: &mut Vec<Var>, depth: usize) -> Vec<Op> {
        let around = live.clone();
        let mut body = Vec::new();
        while self.budget > 0 {
            let sayable = self.sayable(live, depth);
            let choice = self.choices.pick(sayable.len() + 1);
            let Some(say) = choice.checked_sub(1) else { break };
            self.budget -= 1;
            let op = self.say(sayable[say], live, depth);
            body.push(op);
        }
        live.retain(|var| around.contains(var));
        body
    }

    fn sayable(&self, live: &[Var], depth: usize) -> Vec<Say> {
        let fits = |say: &Say| match say {
            Say::Own | Say::Drop | Say::Close | Say::Park | Say::Give => !live.is_empty(),
            Say::With | Say::Shielded | Say::Generator | Say::Recovering | Say::JoinContexts => depth < 3,
            Say::Stack | Say::StackGuard => depth < 3 && !self.has_stack,
            Say::Group => depth < 2,
            Say::Join | Say::Select => depth < 2 && self.budget > 2,
            Say::Stoppable => depth < 2,
            Say::Cut => depth < 2 && self.budget > 1,
            _ => true,
        };
        self.vocabulary.statements.iter().copied().filter(fits).collect()
    }

    fn say(&mut self, say: Say, live: &mut Vec<Var>, depth: usize) -> Op {
        match say {
            Say::Step => Op::Step,
            Say::Drain => Op::Drain,
            Say::Fail => Op::Fail,
            Say::Drop => Op::Drop(self.some(live)),
            Say::Close => Op::Close(self.some(live)),
            Say::Park => Op::Park(self.some(live)),
            Say::Give => Op::Give(self.some(live)),
            Say::Hold => {
                let context = self.context(Form::Plain, None);
                Op::Hold(self.var(live, context), context)
            }
            Say::StackGuard => {
                let stack = self.stack(1).0;
                Op::Hold(self.var(live, stack), stack)
            }
            Say::Own => {
                let inner = self.some(live);
                let context = self.context(Form::Plain, Some(inner));
                Op::Own(self.var(live, context), context, vec![inner])
            }
            Say::With => self.with(Form::Plain, live, depth),
            Say::Generator => self.generator(live, depth),
            Say::Shielded => {
                let with = self.with(Form::Plain, live, depth);
                self.of(&with).shielded = 1;
                with
            }
            Say::Stack => {
                let (stack, entries) = self.stack(0);
                let body = self.body(live, depth + 1);
                let body = self.code(body);
                if self.stacks_by_hand { self.nest(&entries, body) } else { Op::With(stack, body) }
            }
            Say::Join => Op::Join(vec![self.branch(live, depth), self.branch(live, depth)]),
            Say::Select => Op::Select(vec![self.branch(live, depth), self.branch(live, depth)]),
            Say::JoinContexts => {
                let parts = vec![self.context(Form::Plain, None), self.context(Form::Plain, None)];
                self.with(Form::Join(parts), live, depth)
            }
            Say::Recovering => {
                let with = self.with(Form::Plain, live, depth);
                self.of(&with).recovers = true;
                with
            }
            Say::Stoppable => self.stoppable(live, depth),
            Say::Cut => {
                let body = self.body(live, depth + 1);
                Op::Cut(self.code(body))
            }
            Say::Group => {
                let group = self.context(Form::Group, None);
                let body = self.body(live, depth + 1);
                let child = self.body(live, depth + 1);
                let child = self.code(child);
                Op::Group(group, self.code(body), vec![child])
            }
        }
    }

    fn with(&mut self, form: Form, live: &mut Vec<Var>, depth: usize) -> Op {
        let context = self.context(form, None);
        let body = self.body(live, depth + 1);
        Op::With(context, self.code(body))
    }

    fn branch(&mut self, live: &mut Vec<Var>, depth: usize) -> CodeId {
        let body = self.body(live, depth + 1);
        self.code(body)
    }

    fn of(&mut self, with: &Op) -> &mut Context {
        let Op::With(context, _) = with else { unreachable!("a `with`") };
        &mut self.program.contexts[*context]
    }

    /// A `with` that would hang if it did not heed its token, or one that is asked in its last poll.
    fn stoppable(&mut self, live: &mut Vec<Var>, depth: usize) -> Op {
        let with = self.with(Form::Plain, live, depth);
        let Op::With(context, body) = with else { unreachable!("a `with`") };
        self.of(&with).stoppable = true;
        self.of(&with).shielded = self.choices.pick(2);
        let ask = Op::Ask(context);
        let (ends, in_between) = match self.choices.pick(4) {
            0 => ([Some(ask), None], None),
            1 => ([Some(ask), Some(Op::Hang)], None),
            2 => ([Some(Op::Hang), None], Some(vec![ask])),
            _ => ([Some(Op::Hang), None], Some(vec![Op::Step, ask])),
        };
        self.program.codes[body].extend(ends.into_iter().flatten());
        let Some(asking) = in_between else { return with };
        let (asking, with) = (self.code(asking), self.code(vec![with]));
        // Asked before, or while it runs.
        if self.choices.pick(2) == 0 { Op::Join(vec![asking, with]) } else { Op::Join(vec![with, asking]) }
    }

    fn generator(&mut self, live: &mut Vec<Var>, depth: usize) -> Op {
        let guard = self.leaf();
        self.with(Form::Generator(vec![guard]), live, depth)
    }

    /// A stack of one or two; some of it may be a generator or a stack. The list is flat, from the first to the last.
    fn stack(&mut self, depth: usize) -> (ContextId, Vec<ContextId>) {
        let mut entries = Vec::new();
        let mut flat = Vec::new();
        self.has_stack = true;
        for _ in 0..=self.choices.pick(2) {
            match self.choices.pick(if depth == 0 { 3 } else { 1 }) {
                0 => entries.push(self.context(Form::Plain, None)),
                1 => {
                    let guard = self.leaf();
                    entries.push(self.context(Form::Generator(vec![guard]), None));
                }
                _ => {
                    let (stack, inner) = self.stack(depth + 1);
                    entries.push(stack);
                    flat.extend(inner);
                    continue;
                }
            }
            flat.extend(entries.last());
        }
        (self.context(Form::Stack(entries), None), flat)
    }

    fn nest(&mut self, entries: &[ContextId], innermost: CodeId) -> Op {
        let (first, rest) = entries.split_first().expect("a stack has an entry");
        if rest.is_empty() {
            return Op::With(*first, innermost);
        }
        let inner = self.nest(rest, innermost);
        Op::With(*first, self.code(vec![inner]))
    }

    fn some(&mut self, live: &mut Vec<Var>) -> Var {
        let which = self.choices.pick(live.len());
        live.remove(which)
    }

    fn var(&mut self, live: &mut Vec<Var>, context: ContextId) -> Var {
        self.guards.push(context);
        live.push(self.guards.len());
        self.guards.len()
    }

    fn context(&mut self, form: Form, inner: Option<Var>) -> ContextId {
        let has_exit = matches!(form, Form::Plain | Form::Generator(_));
        let owns = inner.is_some() || matches!(form, Form::Generator(_));
        let menu: Vec<Exits> =
            self.vocabulary.exits.iter().copied().filter(|exits| owns || !exits.is_for_owners()).collect();
        let exits = if has_exit { menu[self.choices.pick(menu.len())] } else { Exits::Nothing };
        let owned = match &form {
            Form::Generator(inner) => inner.first().copied(),
            _ => inner.map(|var| self.guards[var - 1]),
        };
        let limited = matches!(exits, Exits::Hangs | Exits::Limited);
        let context = self.program.contexts.len();
        self.program.contexts.push(Context { limited, ..Context::new(form, 0) });
        let exit = self.exit(exits, owned, context);
        self.program.contexts[context].exit = self.code(exit);
        context
    }

    fn exit(&mut self, exits: Exits, owned: Option<ContextId>, context: ContextId) -> Vec<Op> {
        match exits {
            Exits::Nothing => vec![],
            Exits::Steps | Exits::Limited => vec![Op::Step],
            Exits::Locks => vec![Op::Lock, Op::Step, Op::Unlock],
            Exits::Fails => vec![Op::Step, Op::Fail],
            Exits::WaitsForNext => vec![Op::WaitGone(context + 1)],
            Exits::Leaves => vec![Op::Hold(0, self.leaf()), Op::Drop(0), Op::Step],
            Exits::Withs => {
                let leaf = self.leaf();
                vec![Op::With(leaf, self.code(vec![]))]
            }
            Exits::Drains => vec![Op::Drain],
            Exits::Hangs => vec![Op::Hang],
            Exits::DropsOwned => vec![Op::Drop(OWNED), Op::Step],
            Exits::ClosesOwned => vec![Op::Close(OWNED)],
            Exits::DropsOwnedUnderLock => vec![Op::Lock, Op::Drop(OWNED), Op::Step, Op::Unlock],
            Exits::DropsAndAwaits => [Op::Drop(OWNED)].into_iter().chain(owned.map(Op::WaitGone)).collect(),
        }
    }

    /// A context that an exit enters.
    fn leaf(&mut self) -> ContextId {
        let exit = self.code(vec![Op::Step]);
        self.program.contexts.push(Context::new(Form::Plain, exit));
        self.program.contexts.len() - 1
    }
}
