//! [`Enumeration`]: every place at which a future can be cut or failed, one run for each.

use std::panic::resume_unwind;

use crate::countdown::Cut;
use crate::leak::Plan;
use crate::proof::Settings;
use crate::run::{End, run};
use crate::verify::Violation;
use crate::{CancelBy, FaultKind, Flavour, Leak, Recorder, Report};

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

/// The runs of one proof.
pub(crate) struct Enumeration<'p, F> {
    settings: &'p Settings,
    make: F,
    report: Report,
}

impl<'p, F, Fut> Enumeration<'p, F>
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    pub(crate) fn new(settings: &'p Settings, make: F) -> Self {
        Self { settings, make, report: Report::default() }
    }

    /// Each of these troubles at every step, on each flavour.
    pub(crate) fn everywhere(mut self, troubles: &[Trouble]) -> Result<Report, Box<Leak>> {
        for &flavour in &self.settings.flavours {
            self.at_each_step(0, troubles, &untroubled(flavour))?;
        }
        Ok(self.report)
    }

    /// Each of these troubles at this step, on each flavour.
    pub(crate) fn at(mut self, step: u64, troubles: &[Trouble]) -> Result<Report, Box<Leak>> {
        for &flavour in &self.settings.flavours {
            for trouble in troubles {
                self.is_reached(0, trouble.added_to(&untroubled(flavour), step))?;
            }
        }
        Ok(self.report)
    }

    /// The plan with each of these troubles besides, at every step from `first` on that the future comes to.
    fn at_each_step(&mut self, first: u64, troubles: &[Trouble], plan: &Plan) -> Result<(), Box<Leak>> {
        for trouble in troubles {
            for at in first.. {
                let plan = trouble.added_to(plan, at);
                if !self.is_reached(at, plan.clone())? {
                    break;
                }
                if plan.cut.is_none() && plan.faults.len() == 1 {
                    self.after_a_fault(at, &plan)?;
                }
            }
        }
        Ok(())
    }

    /// What the options add to a single fault.
    fn after_a_fault(&mut self, at: u64, plan: &Plan) -> Result<(), Box<Leak>> {
        let Settings { pairs, and_cancel, cuts, faults, .. } = self.settings;
        if *pairs {
            self.at_each_step(at + 1, faults, plan)?;
        }
        if *and_cancel {
            self.at_each_step(0, cuts, plan)?;
        }
        Ok(())
    }

    /// Runs the future, and says whether it came as far as the last trouble of the plan, which is at `step`.
    fn is_reached(&mut self, step: u64, plan: Plan) -> Result<bool, Box<Leak>> {
        let done = run(self.settings, plan.clone(), &self.make);
        self.report.add(done.report);
        // The panic first: it is the test that failed, and a leak may well be its consequence.
        if let Some(payload) = done.panic {
            resume_unwind(payload);
        }
        if let Some(leak) = done.leak {
            return Err(leak);
        }
        let reached = match plan.cut {
            Some(_) => done.end == End::Cut,
            None => done.injected == plan.faults.len() as u64,
        };
        let limit = self.settings.max_steps;
        if reached && step >= limit {
            let violations = vec![Violation::Endless { limit }];
            return Err(Leak::new(plan, Vec::new(), &[], violations, done.trace));
        }
        Ok(reached)
    }
}

fn untroubled(flavour: Flavour) -> Plan {
    Plan { flavour, cut: None, faults: Vec::new() }
}
