//! What inline code does at each statement: it enters, drops, closes and awaits, in the frame it is in.
//!
//! # Invariants
//! 1. A guard that inner code uses is moved into it when that begins, as into an `async move` block.

use super::rules::{Gate, Walk};
use super::state::{
    Code, CodeId, ContextId, Form, Frame, Id, Op, Run, Scope, Task, Tenure, Told, With, body_of,
};

impl Walk<'_> {
    pub(crate) fn cut(&mut self, inner: &mut Run, scope: &mut Scope, frame: Frame) -> Option<bool> {
        if self.faults.cuts && self.choose() {
            self.drop_run(inner, scope, frame);
            return Some(true);
        }
        self.run(inner, scope, frame);
        match inner {
            Run::Done(ok) => Some(*ok),
            _ => None,
        }
    }

    /// Returns `true` if the context is to stop.
    pub(crate) fn is_asked(&self, context: ContextId) -> bool {
        self.program.contexts[context].stoppable && *self.asked & (1 << context) != 0
    }

    pub(crate) fn enter_shielded(&mut self, run: &mut Run, scope: &mut Scope, frame: Frame) {
        let Run::Entering(id, context, steps, body) = run else { return };
        if *steps == 0 && self.is_asked(*context) && self.choose() {
            // The body does not begin; what was moved into it goes with it.
            self.drop_code(body, scope, frame);
            let tenure = self.enter_as(*id, *context, frame, true);
            let exit = self.begin(tenure, true, Told::Cancelled, Vec::new(), Some(frame));
            *run = Run::Leaving(Box::new(exit));
            return;
        }
        if !self.choose() {
            return;
        }
        if *steps > 0 {
            *steps -= 1;
            return;
        }
        let tenure = self.enter_as(*id, *context, frame, true);
        *run = Run::With(Box::new(With {
            tenure,
            body: Run::Code((**body).clone()),
            scope: Vec::new(),
            tasks: Vec::new(),
            stopped: false,
        }));
    }

    pub(crate) fn code(&mut self, code: &mut Code, scope: &mut Scope, frame: Frame) -> Option<bool> {
        if let Some(awaited) = &mut code.awaited {
            self.run(awaited, scope, frame);
            let Run::Done(ok) = **awaited else { return None };
            code.awaited = None;
            code.at += 1;
            if !ok {
                self.drop_code(code, scope, frame);
            }
            return (!ok).then_some(false);
        }
        let program = self.program;
        let Some(op) = program.codes[code.code].get(code.at) else {
            let ends = self.choose();
            if ends {
                self.drop_code(code, scope, frame);
            }
            return ends.then_some(true);
        };
        if !self.is_ready(op, code, frame) || !self.choose() {
            return None;
        }
        match op {
            Op::Fail => {
                self.drop_code(code, scope, frame);
                return Some(false);
            }
            // Asked before, it enters nothing.
            Op::With(context, _) if self.is_asked(*context) => {
                self.drop_code(code, scope, frame);
                return Some(false);
            }
            op => code.awaited = self.perform(op, code, scope, frame).map(Box::new),
        }
        if code.awaited.is_none() {
            code.at += 1;
        }
        None
    }

    fn is_ready(&mut self, op: &Op, code: &Code, frame: Frame) -> bool {
        match op {
            Op::Lock => !*self.locked,
            Op::WaitGone(context) => {
                let waiting = self.bodies.last().expect("all code runs in a frame") / 2;
                !self.ledger.is_alive(*context, waiting)
            }
            Op::Hang => false,
            Op::Park(var) => {
                let guard = code.locals.iter().find(|(name, _)| name == var);
                guard.is_none_or(|(_, guard)| !self.is_close_gated(guard.id, frame, None))
            }
            Op::Drain => self.is_drained(),
            _ => true,
        }
    }

    /// Does a statement, or the beginning of one that is awaited.
    fn perform(&mut self, op: &Op, code: &mut Code, scope: &mut Scope, frame: Frame) -> Option<Run> {
        match op {
            Op::Step | Op::WaitGone(_) | Op::Drain | Op::Hang | Op::Fail => {}
            Op::Lock => (*self.locked, code.locks) = (true, true),
            Op::Unlock => (*self.locked, code.locks) = (false, false),
            Op::Hold(var, context) => code.locals.push((*var, self.enter(*context, frame, false))),
            Op::Own(var, context, inner) => {
                let owned = inner.iter().filter_map(|var| code.take(*var)).collect();
                let mut tenure = self.enter(*context, frame, false);
                tenure.owned = owned;
                code.locals.push((*var, tenure));
            }
            Op::Drop(var) => {
                if let Some(guard) = code.take(*var) {
                    self.hand_over_guard(guard, scope, frame);
                }
            }
            Op::Close(var) => {
                let guard = code.take(*var)?;
                let looks_at_home = self.rules.gate == Gate::Home;
                let saw =
                    self.first_look(guard.id, if looks_at_home { self.ledger.home(guard.id) } else { frame });
                return Some(Run::Closing(Box::new(guard), saw));
            }
            Op::Park(var) => {
                let guard = code.take(*var)?;
                code.parked.push(self.begin(guard, false, Told::Completed, Vec::new(), Some(frame)));
            }
            Op::Give(var) => {
                if let Some(guard) = code.take(*var) {
                    let nowhere = body_of(self.ledger.fresh());
                    let mut alone = Vec::new();
                    self.hand_over_guard(guard, &mut alone, nowhere);
                    self.elsewhere.push((nowhere, alone));
                }
            }
            Op::With(context, body) => {
                let body = self.inner(*body, code);
                return Some(self.enter_with(*context, body, Vec::new(), frame));
            }
            Op::Group(context, body, children) => {
                let children = children.iter().map(|child| self.inner(*child, code)).collect();
                let body = self.inner(*body, code);
                return Some(self.enter_with(*context, body, children, frame));
            }
            Op::Join(branches) => {
                let branches = branches.iter().map(|branch| Run::Code(self.inner(*branch, code)));
                return Some(Run::Join(branches.collect()));
            }
            Op::Select(branches) => {
                let branches = branches.iter().map(|branch| Run::Code(self.inner(*branch, code)));
                return Some(Run::Select(branches.collect()));
            }
            Op::Ask(context) => *self.asked |= 1 << context,
            Op::Cut(inner) => return Some(Run::Cut(Box::new(Run::Code(self.inner(*inner, code))))),
        }
        None
    }

    /// Code inside of other code, with the guards that it takes from there.
    fn inner(&self, id: CodeId, around: &mut Code) -> Code {
        let mut code = Code::new(id);
        let (taken, kept) = around.locals.drain(..).partition(|(var, _)| self.program.mentions(id, *var));
        (code.locals, around.locals) = (taken, kept);
        code
    }

    fn enter_with(&mut self, context: ContextId, body: Code, children: Vec<Code>, frame: Frame) -> Run {
        let steps = self.program.contexts[context].shielded;
        if steps > 0 {
            return Run::Entering(self.ledger.fresh(), context, steps, Box::new(body));
        }
        let tenure = self.enter(context, frame, true);
        let task = |code: Code| Task { id: self.ledger.fresh(), run: Run::Code(code), scope: Vec::new() };
        let tasks = children.into_iter().map(task).collect();
        Run::With(Box::new(With { tenure, body: Run::Code(body), scope: Vec::new(), tasks, stopped: false }))
    }

    fn enter(&mut self, context: ContextId, frame: Frame, branch: bool) -> Tenure {
        let id = self.ledger.fresh();
        self.enter_as(id, context, frame, branch)
    }

    /// The guards of a generator are entered in its enter; the entries of a stack are entered after it.
    pub(crate) fn enter_as(&mut self, id: Id, context: ContextId, frame: Frame, branch: bool) -> Tenure {
        self.ledger.enter(id, context, frame, branch);
        let owned = match &self.program.contexts[context].form {
            Form::Generator(inner) => inner.iter().map(|inner| self.enter(*inner, frame, false)).collect(),
            Form::Stack(inner) | Form::Join(inner) => {
                inner.iter().map(|inner| self.enter(*inner, frame, true)).collect()
            }
            Form::Plain | Form::Group => Vec::new(),
        };
        Tenure { id, context, owned }
    }
}
