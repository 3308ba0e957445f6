//! [`Enumeration`]: every place at which a future can be cut or failed, one run or more for each.
//!
//! # Invariants
//! 1. A place is left out only after `max_short_runs` runs in a row that ended before it, or after `TRIES_MAX`
//!    if runs have differed; a place that some run had, after `TRIES_MAX`, and then it is counted as skipped.
//! 2. The enumeration of a trouble ends only beyond every place that a run of the same plan is known to have.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::countdown::Cut;
use crate::plan::Plan;
use crate::run::{Done, End, Subject};
use crate::verify::Violation;
use crate::{CancelBy, FaultKind, Leak, ProofOutput, Recorder, Report};

/// So many runs may end before a place that is known to be there, or that may be there since runs have differed. The
/// number of suspensions of real I/O varies with the machine's load.
const TRIES_MAX: u32 = 12;

/// What is done to a future at one of its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// It is dropped there. The steps are its suspensions.
    Cut(CancelBy),
    /// It is failed there. The steps are its fault points.
    Fault(FaultKind),
}

impl Trouble {
    /// The plan, with this at step `at` besides.
    fn added_to(self, plan: &Plan, at: u64) -> Plan {
        let mut plan = plan.clone();
        match self {
            Self::Cut(by) => plan.cut = Some(Cut { at, by }),
            Self::Fault(kind) => plan.faults.push((at, kind)),
        }
        plan
    }
}

/// What the runs of a plan have shown.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The places: before the first poll, and each suspension.
    cuts: Places,
    /// The fault points.
    faults: Places,
    /// How many faults the plan itself has.
    planned: u64,
}

/// How many places there are for a trouble.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    asked: u64,
    most: u64,
    /// In a run that the trouble did not end.
    fewest: Option<u64>,
}

impl Places {
    fn note(&mut self, places: u64, is_whole: bool) {
        self.most = self.most.max(places);
        if is_whole {
            self.fewest = Some(self.fewest.map_or(places, |fewest| fewest.min(places)));
        }
    }
}

impl Known {
    fn new(asked_cuts: u64, asked_faults: u64) -> Self {
        let asked = |asked| Places { asked, ..Places::default() };
        Self { cuts: asked(asked_cuts), faults: asked(asked_faults), planned: 0 }
    }

    fn note(&mut self, report: &Report) {
        let is_whole = report.cut == 0 && report.faults == self.planned;
        self.cuts.note(report.suspensions + 1, is_whole);
        self.faults.note(report.points, is_whole);
    }

    /// How many places there are.
    fn places(self, trouble: Trouble) -> u64 {
        let places = self.of(trouble);
        places.most.max(places.asked)
    }

    /// Whether runs have differed: one that is short then says little.
    fn is_irregular(self, trouble: Trouble) -> bool {
        let places = self.of(trouble);
        places.fewest.is_some_and(|fewest| fewest < places.most)
    }

    fn of(self, trouble: Trouble) -> Places {
        match trouble {
            Trouble::Cut(_) => self.cuts,
            Trouble::Fault(_) => self.faults,
        }
    }
}

/// What is done with a leak: the proof ends with it, or goes on.
pub(crate) type OnLeak<'p> = &'p mut dyn FnMut(Box<Leak>) -> ControlFlow<Box<Leak>>;

/// The runs of one proof.
pub(crate) struct Enumeration<'p, T, F> {
    subject: Subject<'p, T, F>,
    on_leak: OnLeak<'p>,
    report: Report,
}

type Step<T = ()> = ControlFlow<Box<Leak>, T>;

impl<'p, T, F, Fut> Enumeration<'p, T, F>
where
    T: Send + Sync + 'static,
    F: Fn(Recorder, Arc<T>) -> Fut,
    Fut: Future<Output: ProofOutput> + Send + 'static,
{
    pub(crate) fn new(subject: Subject<'p, T, F>, on_leak: OnLeak<'p>) -> Self {
        Self { subject, on_leak, report: Report::default() }
    }

    /// Each of these troubles at every step, on each flavour.
    pub(crate) fn everywhere(mut self, troubles: &[Trouble]) -> Result<Report, Box<Leak>> {
        for &flavour in &self.subject.settings.flavours {
            let plan = Plan::untroubled(flavour);
            if let ControlFlow::Break(leak) = self.on_one_flavour(troubles, &plan) {
                return Err(leak);
            }
        }
        Ok(self.report)
    }

    /// Each of these troubles at this step, on each flavour.
    pub(crate) fn at(mut self, step: u64, troubles: &[Trouble]) -> Result<Report, Box<Leak>> {
        for &flavour in &self.subject.settings.flavours {
            for trouble in troubles {
                if let ControlFlow::Break(leak) = self.at_one(step, *trouble, &Plan::untroubled(flavour)) {
                    return Err(leak);
                }
            }
        }
        Ok(self.report)
    }

    fn at_one(&mut self, step: u64, trouble: Trouble, plan: &Plan) -> Step {
        let troubled = trouble.added_to(plan, step);
        // Whoever names a step knows that it is there.
        let mut known = Known::new(step + 1, step + 1);
        match self.at_step(trouble, step, &troubled, &mut known)? {
            Some(_) => self.repeat(&troubled),
            None => (self.on_leak)(Leak::of_proof(plan.clone(), Violation::NotReached { step })),
        }
    }

    /// First a run to which nothing is done, by which a test that is wrong is told from a leak. What else leaks there
    /// leaks in the runs that end before a place as well.
    fn on_one_flavour(&mut self, troubles: &[Trouble], plan: &Plan) -> Step {
        let settings = self.subject.settings;
        let mut known = Known::new(settings.min_suspensions + 1, settings.min_points);
        let first = self.try_run(plan);
        known.note(&first.report);
        if let Some(leak) = first.leak.filter(|leak| leak.is_of_the_test()) {
            (self.on_leak)(leak)?;
        }
        for trouble in troubles {
            let places = self.at_each_step(0, *trouble, plan, &mut known)?;
            let violation = match *trouble {
                Trouble::Cut(by) if places <= settings.min_suspensions => Violation::TooFewSuspensions {
                    by,
                    reached: places.saturating_sub(1),
                    min: settings.min_suspensions,
                },
                Trouble::Fault(_) if places < settings.min_points => {
                    Violation::TooFewPoints { reached: places, min: settings.min_points }
                }
                Trouble::Cut(_) | Trouble::Fault(_) => continue,
            };
            (self.on_leak)(Leak::of_proof(plan.clone(), violation))?;
        }
        ControlFlow::Continue(())
    }

    /// The plan with this trouble besides, at every step from `first` on that the future comes to. Returns how many
    /// places there are, up to the last that was reached.
    fn at_each_step(&mut self, first: u64, trouble: Trouble, plan: &Plan, known: &mut Known) -> Step<u64> {
        let limit = self.subject.settings.max_steps;
        let mut places = 0;
        for at in first.. {
            let troubled = trouble.added_to(plan, at);
            match self.at_step(trouble, at, &troubled, known)? {
                Some(report) => {
                    places = at + 1;
                    self.repeat(&troubled)?;
                    if troubled.cut.is_none() && troubled.faults.len() == 1 {
                        self.after_a_fault(at, &troubled, &report)?;
                    }
                }
                None if at >= known.places(trouble) => break,
                None => self.report.skipped += 1,
            }
            if at >= limit {
                (self.on_leak)(Leak::of_proof(troubled, Violation::Endless { limit }))?;
                break;
            }
        }
        ControlFlow::Continue(places)
    }

    /// Runs the plan until a run has come to its last trouble, at this step, and returns the report of that run.
    /// `None`: the place could not be reached.
    fn at_step(&mut self, trouble: Trouble, step: u64, plan: &Plan, known: &mut Known) -> Step<Option<Report>> {
        let mut short: u32 = 0;
        loop {
            let done = self.run(plan)?;
            known.note(&done.report);
            if is_reached(plan, &done) {
                return ControlFlow::Continue(Some(done.report));
            }
            short += 1;
            let may_come = step < known.places(trouble) || known.is_irregular(trouble);
            let max = self.subject.settings.max_short_runs;
            if short >= if may_come { max.max(TRIES_MAX) } else { max } {
                return ControlFlow::Continue(None);
            }
        }
    }

    /// The runs that `repeat` adds at a place.
    fn repeat(&mut self, plan: &Plan) -> Step {
        for _ in 1..self.subject.settings.repeat {
            self.run(plan)?;
        }
        ControlFlow::Continue(())
    }

    /// What the options add to a single fault, after which a run had what the report says.
    fn after_a_fault(&mut self, at: u64, plan: &Plan, report: &Report) -> Step {
        let settings = self.subject.settings;
        let mut known = Known { planned: plan.faults.len() as u64, ..Known::default() };
        known.note(report);
        let pairs = settings.faults.iter().filter(|_| settings.pairs);
        for fault in pairs {
            self.at_each_step(at + 1, *fault, plan, &mut known)?;
        }
        let cuts = settings.cuts.iter().filter(|_| settings.and_cancel);
        for cut in cuts {
            self.at_each_step(0, *cut, plan, &mut known)?;
        }
        ControlFlow::Continue(())
    }

    /// One run.
    fn run(&mut self, plan: &Plan) -> Step<Done> {
        let mut done = self.try_run(plan);
        if let Some(leak) = done.leak.take() {
            (self.on_leak)(leak)?;
        }
        ControlFlow::Continue(done)
    }

    /// One run, whose leak the caller judges.
    fn try_run(&mut self, plan: &Plan) -> Done {
        let mut done = self.subject.run(plan.clone());
        self.report.add(done.report);
        // The panic first: it is the test that failed, and a leak may well be its consequence.
        if let Some(payload) = done.panic.take() {
            resume_unwind(payload);
        }
        done
    }
}

/// Whether a run came as far as the last trouble of its plan.
fn is_reached(plan: &Plan, done: &Done) -> bool {
    match plan.cut {
        Some(_) => done.end == End::Cut,
        None => done.report.faults == plan.faults.len() as u64,
    }
}
