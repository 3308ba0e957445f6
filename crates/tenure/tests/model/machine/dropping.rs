//! What becomes of code that is dropped at one of its suspensions: all it has is handed over, in the frame it is in.
//!
//! # Invariants
//! 1. Innermost first: what is awaited is dropped before the locals, these last to first.
//! 2. What has begun is handed over as begun.

use std::mem;

use super::rules::{Walk, add};
use super::state::{
    Code, Exit, Form, Frame, Job, Part, Phase, Run, Scope, Task, Tenure, Told, With, body_of, exit_of,
};

impl Walk<'_> {
    pub(crate) fn drop_run(&mut self, run: &mut Run, scope: &mut Scope, frame: Frame) {
        match mem::replace(run, Run::Done(false)) {
            Run::Done(_) | Run::Await => {}
            Run::Code(mut code) => self.drop_code(&mut code, scope, frame),
            Run::Join(branches) | Run::Select(branches) => {
                for mut branch in branches {
                    self.drop_run(&mut branch, scope, frame);
                }
            }
            Run::Cut(mut inner) => self.drop_run(&mut inner, scope, frame),
            Run::Entering(id, context, steps, mut body) => {
                self.drop_code(&mut body, scope, frame);
                let job = Job::new(id, context, true, Phase::Entering(steps));
                self.hand_over(job, scope, frame);
            }
            Run::With(with) => self.drop_with(*with, scope, frame),
            Run::Closing(guard, _) => self.hand_over_guard(*guard, scope, frame),
            Run::Leaving(exit) => self.hand_over_begun(*exit, scope, frame),
            // Only a limit on the whole stack drops it in the middle: no exit of it goes on.
            Run::Unwind(unwind) => {
                if let Some(mut current) = unwind.current {
                    self.expire_begun(&mut current);
                }
                for entry in unwind.entries.into_iter().rev() {
                    self.expire_pending(entry, Vec::new());
                }
            }
            Run::Exits(parts) => {
                for part in parts {
                    match part {
                        Part::Pending(tenure, _) => self.expire_pending(tenure, Vec::new()),
                        Part::Begun(mut exit) => self.expire_begun(&mut exit),
                        Part::Ended(_) => {}
                    }
                }
            }
        }
    }

    pub(crate) fn drop_code(&mut self, code: &mut Code, scope: &mut Scope, frame: Frame) {
        if let Some(mut awaited) = code.awaited.take() {
            self.drop_run(&mut awaited, scope, frame);
        }
        for exit in code.parked.drain(..).rev() {
            self.hand_over_begun(exit, scope, frame);
        }
        for (_, guard) in code.locals.drain(..).rev() {
            self.hand_over_guard(guard, scope, frame);
        }
        if mem::take(&mut code.locks) {
            *self.locked = false;
        }
    }

    fn drop_with(&mut self, with: With, scope: &mut Scope, frame: Frame) {
        let With { tenure, mut body, scope: mut left, tasks, .. } = with;
        self.drop_run(&mut body, &mut left, body_of(tenure.id));
        let (id, context) = (tenure.id, tenure.context);
        let job = Job { body: left, tasks, ..Job::new(id, context, true, Phase::Pending(tenure)) };
        self.hand_over(job, scope, frame);
    }

    pub(crate) fn hand_over_guard(&mut self, guard: Tenure, scope: &mut Scope, frame: Frame) {
        let job = Job::new(guard.id, guard.context, false, Phase::Pending(guard));
        self.hand_over(job, scope, frame);
    }

    fn hand_over_begun(&mut self, mut exit: Exit, scope: &mut Scope, frame: Frame) {
        if self.rules.dropped_stack_tells_cancelled {
            tell_cancelled(&mut exit);
        }
        let job = Job::new(exit.id, exit.context, exit.branch, Phase::Begun(exit));
        self.hand_over(job, scope, frame);
    }

    fn hand_over(&mut self, mut job: Job, scope: &mut Scope, frame: Frame) {
        job.saw = self.first_look(job.id, frame);
        let innermost = *self.bodies.last().expect("all code runs in a frame");
        let dropped_by = if self.rules.exit_has_scope { frame } else { innermost };
        self.ledger.hand_over(job.id, frame, dropped_by);
        add(scope, job);
    }

    /// The limit of an exit that has begun: its code is dropped in its frame, and what that leaves is waited for by nobody.
    pub(crate) fn expire_begun(&mut self, exit: &mut Exit) {
        let frame = exit_of(exit.id);
        let form = &self.program.contexts[exit.context].form;
        let is_noted = !exit.run.is_done() && !matches!(form, Form::Stack(_) | Form::Join(_) | Form::Group);
        self.drop_run(&mut exit.run, &mut exit.scope, frame);
        self.elsewhere.push((frame, mem::take(&mut exit.scope)));
        self.drop_tasks(mem::take(&mut exit.tasks));
        self.ledger.expire(exit.id, is_noted);
    }

    /// The limit of an exit that still waits for what its body left behind: the resource is dropped.
    pub(crate) fn expire_pending(&mut self, tenure: Tenure, tasks: Vec<Task>) {
        let form = &self.program.contexts[tenure.context].form;
        self.ledger.expire(tenure.id, !matches!(form, Form::Stack(_) | Form::Join(_) | Form::Group));
        let frame = exit_of(tenure.id);
        let mut left = Vec::new();
        let is_stack = matches!(form, Form::Stack(_) | Form::Join(_));
        for owned in tenure.owned.into_iter().rev() {
            if is_stack {
                self.expire_pending(owned, Vec::new());
            } else {
                self.hand_over_guard(owned, &mut left, frame);
            }
        }
        self.elsewhere.push((frame, left));
        self.drop_tasks(tasks);
    }

    fn drop_tasks(&mut self, tasks: Vec<Task>) {
        for mut task in tasks {
            let frame = body_of(task.id);
            self.drop_run(&mut task.run, &mut task.scope, frame);
            self.elsewhere.push((frame, task.scope));
        }
    }
}

impl Job {
    fn new(id: usize, context: usize, branch: bool, phase: Phase) -> Self {
        Self { id, context, branch, body: Vec::new(), tasks: Vec::new(), phase, saw: None }
    }
}

/// There is no caller left to whom a commit could be told: the entries whose exits have not begun see a cancellation.
fn tell_cancelled(exit: &mut Exit) {
    if let Run::Unwind(unwind) = &mut exit.run {
        unwind.told = Told::Cancelled;
        if let Some(current) = &mut unwind.current {
            tell_cancelled(current);
        }
    }
}
