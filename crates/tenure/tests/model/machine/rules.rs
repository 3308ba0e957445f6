//! Who may go on: the four waits, and some wrong ones.
//!
//! # Invariants
//! 1. A walk visits each thing that could happen next in one fixed order, and does the one that was picked.
//! 2. Nothing changes in a walk before its pick has been met.

use super::state::{
    Code, ContextId, Event, Exit, Form, Frame, Id, Job, Ledger, OWNED, Op, Part, Phase, Program, Run, Scope,
    Task, Tenure, Told, Unwind, World, bit, body_of, exit_of,
};

/// Where a close by hand looks for those that it has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// In the frame it is called in.
    Here,
    /// In that and, through bodies that run in place, up to the frame the guard was entered in.
    Lexical,
    /// In the frame the guard was entered in.
    Home,
}

/// Each is one answer to a question; [`Rules::RIGHT`] has those that DESIGN.md gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) begun_waits: bool,
    pub(crate) branch_waits: bool,
    pub(crate) exit_has_scope: bool,
    pub(crate) snapshot: bool,
    pub(crate) in_place_counts: bool,
    pub(crate) gate: Gate,
    pub(crate) drain_leaves_out_waiting: bool,
    pub(crate) drain_leaves_out_drains: bool,
    pub(crate) limit_counts_siblings: bool,
    pub(crate) dropped_stack_tells_cancelled: bool,
}

impl Rules {
    pub(crate) const RIGHT: Self = Self {
        begun_waits: false,
        branch_waits: false,
        exit_has_scope: true,
        snapshot: false,
        in_place_counts: false,
        gate: Gate::Lexical,
        drain_leaves_out_waiting: true,
        drain_leaves_out_drains: true,
        limit_counts_siblings: false,
        dropped_stack_tells_cancelled: true,
    };
}

/// What may happen besides progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) cuts: bool,
    pub(crate) expiries: bool,
}

/// A call of drain that waits: the jobs it runs in, and those that wait for them.
#[derive(Clone, Copy)]
struct Draining {
    inside: u32,
    waiting: u32,
}

pub(crate) struct Walk<'a> {
    pub(crate) program: &'a Program,
    pub(crate) rules: Rules,
    pub(crate) faults: Faults,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) locked: &'a mut bool,
    pub(crate) asked: &'a mut u64,
    pub(crate) elsewhere: Vec<(Frame, Scope)>,
    /// How many possibilities are to be passed over.
    pick: usize,
    pub(crate) chosen: bool,
    /// The frames of bodies that run in place, from the innermost exit or task inwards.
    pub(crate) bodies: Vec<Frame>,
    inside: u32,
    waiting: u32,
    drains: Vec<Draining>,
    drains_met: usize,
    collects: bool,
}

/// Does the thing of this number; `None` if there are not so many.
pub(crate) fn step(
    program: &Program,
    rules: Rules,
    faults: Faults,
    world: &World,
    pick: usize,
) -> Option<World> {
    let mut drains = Vec::new();
    if program.codes.iter().any(|code| code.contains(&Op::Drain)) {
        drains = walk(program, rules, faults, &mut world.clone(), usize::MAX, None).1;
    }
    let mut next = world.clone();
    walk(program, rules, faults, &mut next, pick, Some(drains)).0.then_some(next)
}

fn walk(
    program: &Program,
    rules: Rules,
    faults: Faults,
    world: &mut World,
    pick: usize,
    drains: Option<Vec<Draining>>,
) -> (bool, Vec<Draining>) {
    let World { root, scope, elsewhere, locked, asked, cancelled, ledger } = world;
    let collects = drains.is_none();
    let mut walk = Walk {
        program,
        rules,
        faults,
        ledger,
        locked,
        asked,
        elsewhere: Vec::new(),
        pick,
        chosen: false,
        bodies: vec![0],
        inside: 0,
        waiting: 0,
        drains: drains.unwrap_or_default(),
        drains_met: 0,
        collects,
    };
    walk.run(root, scope, 0);
    walk.jobs(scope, 0);
    for (frame, scope) in elsewhere.iter_mut() {
        walk.jobs(scope, *frame);
    }
    if faults.cuts && !*cancelled && !root.is_done() && walk.choose() {
        walk.ledger.note(Event::Cancelled);
        walk.drop_run(root, scope, 0);
        *root = Run::Done(false);
        *cancelled = true;
    }
    let (chosen, drains) = (walk.chosen, walk.drains);
    elsewhere.append(&mut walk.elsewhere);
    elsewhere.retain(|(_, scope)| !scope.is_empty());
    (chosen, drains)
}

impl Walk<'_> {
    /// Whether this is what was picked.
    pub(crate) fn choose(&mut self) -> bool {
        if self.chosen {
            return false;
        }
        self.chosen = self.pick == 0;
        self.pick = self.pick.wrapping_sub(1);
        self.chosen
    }

    /// Wait 1: whether a tenure that has not begun has to wait.
    fn is_gated(&self, id: Id, frame: Frame, saw: Option<u32>) -> bool {
        let younger = match saw {
            Some(saw) => saw & !self.ledger.ended,
            None => self.ledger.younger(id, frame, self.rules.in_place_counts),
        };
        younger != 0
    }

    /// As [`is_gated`](Self::is_gated), for a close by hand.
    pub(crate) fn is_close_gated(&self, id: Id, frame: Frame, saw: Option<u32>) -> bool {
        let home = self.ledger.home(id);
        match self.rules.gate {
            Gate::Here => self.is_gated(id, frame, saw),
            Gate::Home => self.is_gated(id, home, saw),
            Gate::Lexical => {
                let outermost = self.bodies.iter().position(|body| *body == home);
                let frames = outermost.map_or(&[][..], |from| &self.bodies[from..]);
                self.is_gated(id, frame, saw) || frames.iter().any(|frame| self.is_gated(id, *frame, saw))
            }
        }
    }

    pub(crate) fn first_look(&self, id: Id, frame: Frame) -> Option<u32> {
        self.rules.snapshot.then(|| self.ledger.younger(id, frame, self.rules.in_place_counts))
    }

    /// Runs `inside` in the frame of a task or an exit, which bodies around it do not belong to.
    fn in_frame(&mut self, frame: Frame, inside: impl FnOnce(&mut Self)) {
        let around = std::mem::replace(&mut self.bodies, vec![frame]);
        inside(self);
        self.bodies = around;
    }

    pub(crate) fn run(&mut self, run: &mut Run, scope: &mut Scope, frame: Frame) {
        let done = match run {
            Run::Done(_) | Run::Await => None,
            Run::Code(code) => self.code(code, scope, frame),
            Run::Join(branches) => {
                for branch in branches.iter_mut() {
                    self.run(branch, scope, frame);
                }
                let all = branches.iter().all(Run::is_done);
                all.then(|| branches.iter().all(|branch| *branch == Run::Done(true)))
            }
            Run::Select(branches) => self.select(branches, scope, frame),
            Run::Cut(inner) => self.cut(inner, scope, frame),
            Run::Entering(..) => return self.enter_shielded(run, scope, frame),
            Run::With(_) => return self.with(run, frame),
            Run::Closing(tenure, saw) => {
                if !self.is_close_gated(tenure.id, frame, *saw) && self.choose() {
                    let exit = self.begin((**tenure).clone(), false, Told::Completed, Vec::new(), Some(frame));
                    *run = Run::Leaving(Box::new(exit));
                }
                return;
            }
            Run::Leaving(exit) => {
                let recovers = self.program.contexts[exit.context].recovers && exit.told == Told::Failed;
                let ok = self.exit(exit, scope, frame);
                ok.map(|ok| ok && (exit.told == Told::Completed || recovers))
            }
            Run::Exits(parts) => self.exits(parts, scope, frame),
            Run::Unwind(unwind) => self.unwind(unwind, scope, frame),
        };
        if let Some(ok) = done {
            *run = Run::Done(ok);
        }
    }

    /// Wait 2, and the body before it.
    fn with(&mut self, run: &mut Run, frame: Frame) {
        let Run::With(with) = run else { return };
        let id = with.tenure.id;
        let body = body_of(id);
        self.bodies.push(body);
        self.tasks(&mut with.tasks, false);
        let child_failed = with.tasks.iter().any(|task| task.run == Run::Done(false));
        if child_failed && !with.body.is_done() && self.choose() {
            self.drop_run(&mut with.body, &mut with.scope, body);
            with.body = Run::Done(false);
        }
        if self.is_asked(with.tenure.context) && !with.body.is_done() && self.choose() {
            self.drop_run(&mut with.body, &mut with.scope, body);
            (with.body, with.stopped) = (Run::Done(false), true);
        }
        self.run(&mut with.body, &mut with.scope, body);
        self.jobs(&mut with.scope, body);
        self.bodies.pop();
        let Run::Done(ok) = with.body else { return };
        if with.scope.is_empty() && self.choose() {
            let told = match ok {
                true => Told::Completed,
                false if with.stopped => Told::Cancelled,
                false => Told::Failed,
            };
            let tasks = std::mem::take(&mut with.tasks);
            let exit = self.begin(with.tenure.clone(), true, told, tasks, Some(frame));
            *run = Run::Leaving(Box::new(exit));
        } else if self.may_expire(with.tenure.context) && self.choose() {
            let (tenure, tasks) = (with.tenure.clone(), std::mem::take(&mut with.tasks));
            self.elsewhere.push((body, std::mem::take(&mut with.scope)));
            self.expire_pending(tenure, tasks);
            *run = Run::Done(false);
        }
    }

    fn may_expire(&self, context: ContextId) -> bool {
        self.faults.expiries && self.program.contexts[context].limited
    }

    /// Makes the frame of an exit.
    pub(crate) fn begin(
        &mut self,
        tenure: Tenure,
        branch: bool,
        told: Told,
        tasks: Vec<Task>,
        in_place: Option<Frame>,
    ) -> Exit {
        let Tenure { id, context, owned } = tenure;
        let form = &self.program.contexts[context].form;
        let is_noted = !matches!(form, Form::Stack(_) | Form::Join(_) | Form::Group);
        self.ledger.begin(id, told, in_place, is_noted);
        let run = match form {
            Form::Stack(_) => {
                Run::Unwind(Box::new(Unwind { entries: owned, told, failed: false, current: None }))
            }
            Form::Join(_) => Run::Exits(owned.into_iter().map(|part| Part::Pending(part, told)).collect()),
            Form::Group => Run::Await,
            Form::Plain | Form::Generator(_) => {
                let mut code = Code::new(self.program.contexts[context].exit);
                code.locals = (OWNED..).zip(owned).collect();
                Run::Code(code)
            }
        };
        Exit { id, context, branch, told, run, scope: Vec::new(), tasks }
    }

    /// Wait 3, and the exit before it. Says how it ended, if it has.
    fn exit(&mut self, exit: &mut Exit, around: &mut Scope, frame: Frame) -> Option<bool> {
        let Exit { id, context, told, run, scope, tasks, .. } = exit;
        let own = exit_of(*id);
        let was_done = run.is_done();
        let has_scope = self.rules.exit_has_scope;
        let fails = *told != Told::Completed || tasks.iter().any(|task| task.run == Run::Done(false));
        self.in_frame(own, |walk| {
            if has_scope {
                walk.run(run, scope, own);
                walk.jobs(scope, own);
            } else {
                walk.run(run, around, frame);
            }
            walk.tasks(tasks, fails);
        });
        let form = &self.program.contexts[*context].form;
        let is_several = matches!(form, Form::Stack(_) | Form::Join(_));
        if !was_done && run.is_done() && !is_several {
            self.ledger.note(Event::Ends(*context));
        }
        let code = match run {
            Run::Done(ok) => Some(*ok),
            Run::Await if tasks.iter().all(|task| task.run.is_done()) => Some(!fails),
            _ => None,
        };
        let is_over = scope.is_empty() && tasks.iter().all(Task::is_over);
        // A stack ends in the same poll as the first of its entries, joined contexts in that of the last that ends.
        let is_last_entry = self.chosen && is_several;
        if let Some(ok) = code
            && is_over
            && (is_last_entry || self.choose())
        {
            self.ledger.end(*id);
            return Some(ok);
        }
        if self.may_expire(*context) && self.choose() {
            self.expire_begun(exit);
            return Some(false);
        }
        None
    }

    fn tasks(&mut self, tasks: &mut [Task], aborts: bool) {
        for task in tasks {
            let frame = body_of(task.id);
            if aborts && !task.run.is_done() && self.choose() {
                self.drop_run(&mut task.run, &mut task.scope, frame);
                task.run = Run::Done(true);
            }
            self.in_frame(frame, |walk| {
                walk.run(&mut task.run, &mut task.scope, frame);
                walk.jobs(&mut task.scope, frame);
            });
        }
    }

    /// The first branch that ends has the others dropped in the same poll.
    fn select(&mut self, branches: &mut [Run], scope: &mut Scope, frame: Frame) -> Option<bool> {
        for branch in branches.iter_mut() {
            self.run(branch, scope, frame);
        }
        let ended =
            branches.iter().find_map(|branch| if let Run::Done(ok) = branch { Some(*ok) } else { None })?;
        for branch in branches.iter_mut() {
            self.drop_run(branch, scope, frame);
        }
        Some(ended)
    }

    fn exits(&mut self, parts: &mut [Part], scope: &mut Scope, frame: Frame) -> Option<bool> {
        for part in parts.iter_mut() {
            match part {
                Part::Pending(tenure, told) => {
                    if self.choose() {
                        let exit = self.begin(tenure.clone(), true, *told, Vec::new(), Some(frame));
                        *part = Part::Begun(exit);
                    }
                }
                Part::Begun(exit) => {
                    if let Some(ok) = self.exit(exit, scope, frame) {
                        *part = Part::Ended(ok);
                    }
                }
                Part::Ended(_) => {}
            }
        }
        let ok = |part: &Part| if let Part::Ended(ok) = part { Some(*ok) } else { None };
        parts.iter().map(ok).try_fold(true, |all, ok| Some(all & ok?))
    }

    fn unwind(&mut self, unwind: &mut Unwind, scope: &mut Scope, frame: Frame) -> Option<bool> {
        if let Some(current) = &mut unwind.current {
            let ok = self.exit(current, scope, frame)?;
            unwind.current = None;
            if !ok && unwind.told == Told::Completed {
                (unwind.told, unwind.failed) = (Told::Failed, true);
            }
            return unwind.entries.is_empty().then_some(!unwind.failed);
        }
        if !self.choose() {
            return None;
        }
        let entry = unwind.entries.pop()?;
        unwind.current = Some(self.begin(entry, true, unwind.told, Vec::new(), Some(frame)));
        None
    }

    fn jobs(&mut self, scope: &mut Scope, frame: Frame) {
        for place in 0..scope.len() {
            if self.chosen {
                return;
            }
            let mut job = scope.remove(place);
            let around = (self.inside, self.waiting);
            self.inside |= bit(job.id);
            self.waiting |= bit(job.id);
            for older in scope.iter().filter(|older| older.id < job.id && !older.branch) {
                // Begun ones wait for nobody.
                if matches!(older.phase, Phase::Pending(_)) {
                    self.waiting |= bit(older.id);
                }
            }
            let gone = self.job(&mut job, scope, frame);
            (self.inside, self.waiting) = around;
            if !gone {
                add(scope, job);
            }
        }
    }

    /// Waits 1 and 2 of a job. Says whether it has ended.
    fn job(&mut self, job: &mut Job, scope: &mut Scope, frame: Frame) -> bool {
        let id = job.id;
        self.in_frame(body_of(id), |walk| {
            walk.jobs(&mut job.body, body_of(id));
            walk.tasks(&mut job.tasks, true);
        });
        let gated = self.is_gated(id, frame, job.saw);
        match &mut job.phase {
            Phase::Entering(steps) => {
                if self.choose() {
                    match steps.checked_sub(1) {
                        Some(fewer) => *steps = fewer,
                        None => job.phase = Phase::Pending(self.enter_as(id, job.context, frame, true)),
                    }
                }
                false
            }
            Phase::Pending(tenure) => {
                let waits = gated && (!job.branch || self.rules.branch_waits);
                if job.body.is_empty() && !waits && self.choose() {
                    let tasks = std::mem::take(&mut job.tasks);
                    let exit = self.begin(tenure.clone(), job.branch, Told::Cancelled, tasks, None);
                    job.phase = Phase::Begun(exit);
                    return false;
                }
                let in_time = waits && !self.rules.limit_counts_siblings;
                if self.may_expire(job.context) && !in_time && self.choose() {
                    let tasks = std::mem::take(&mut job.tasks);
                    self.elsewhere.push((body_of(id), std::mem::take(&mut job.body)));
                    self.expire_pending(tenure.clone(), tasks);
                    return true;
                }
                false
            }
            Phase::Begun(_) if self.rules.begun_waits && gated => false,
            Phase::Begun(exit) => self.exit(exit, scope, frame).is_some(),
        }
    }

    /// Whether all has ended that does not wait, directly or not, for the one who calls.
    pub(crate) fn is_drained(&mut self) -> bool {
        let this = Draining { inside: self.inside, waiting: self.waiting };
        if self.collects {
            self.drains.push(this);
            return false;
        }
        let number = self.drains_met;
        self.drains_met += 1;
        let mut left_out =
            if self.rules.drain_leaves_out_waiting { this.waiting } else { bit_or_none(this.inside) };
        if self.rules.drain_leaves_out_drains {
            let others = self.drains.iter().enumerate().filter(|(other, _)| *other != number);
            for (_, other) in others.filter(|(_, other)| this.inside & !other.waiting != 0) {
                left_out |= other.waiting;
            }
        }
        self.ledger.open() & !left_out == 0
    }
}

/// The innermost job alone.
fn bit_or_none(inside: u32) -> u32 {
    inside.checked_ilog2().map_or(0, |last| 1 << last)
}

/// Kept in the order of entering, so that what is the same looks the same.
pub(crate) fn add(scope: &mut Scope, job: Job) {
    let place = scope.partition_point(|other| other.id < job.id);
    scope.insert(place, job);
}
