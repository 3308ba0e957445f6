//! Every interleaving of a program, cut at every step.

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use super::rules::{Faults, Rules, step};
use super::state::{ContextId, Event, Op, Program, Run, World};

/// States of one program, beyond which it counts as too large.
pub(crate) const MAX_STATES: usize = 60_000;

#[derive(Debug)]
pub(crate) enum Verdict {
    /// All is as it should be, in so many states.
    Fine(usize),
    /// The program hangs without any cut: it waits for itself.
    Deadlocks,
    TooLarge,
    Wrong(&'static str, Box<World>),
}

pub(crate) const CUTS: Faults = Faults { cuts: true, expiries: true };
const NO_FAULTS: Faults = Faults { cuts: false, expiries: false };

pub(crate) fn explore(program: &Program, rules: Rules) -> Verdict {
    let hangs_by_will = program.codes.iter().any(|code| code.contains(&Op::Hang));
    if !hangs_by_will && let Verdict::Wrong("stuck", _) = search(program, Rules::RIGHT, NO_FAULTS, "") {
        return Verdict::Deadlocks;
    }
    search(program, rules, CUTS, "")
}

/// Whether a rule leads to this trouble, whatever else it leads to.
pub(crate) fn leads_to(program: &Program, rules: Rules, what: &str) -> bool {
    matches!(search(program, rules, CUTS, what), Verdict::Wrong(found, _) if found.starts_with(what))
}

fn search(program: &Program, rules: Rules, faults: Faults, sought: &str) -> Verdict {
    // An expiry is no way out of a wait, unless something hangs by will.
    let hangs = program.codes.iter().any(|code| code.contains(&Op::Hang));
    let first = World::new(false);
    let mut seen = HashSet::from([digest(&first)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        for pick in 0.. {
            let Some(mut next) = step(program, rules, faults, &world, pick) else { break };
            if let Some(broken) = next.ledger.broken.take_if(|broken| broken.starts_with(sought)) {
                return Verdict::Wrong(broken, Box::new(next));
            }
            next.ledger.broken = None;
            if seen.insert(digest(&next)) {
                open.push(next);
            }
        }
        if seen.len() > MAX_STATES {
            return Verdict::TooLarge;
        }
        let way_out = Faults { cuts: false, expiries: hangs };
        if step(program, rules, way_out, &world, 0).is_none() {
            let may_stay = world.is_over() || hangs && is_over_but_for_orphans(&world);
            if !may_stay {
                return Verdict::Wrong("stuck", Box::new(world));
            }
            if world.is_over() && !world.ledger.is_balanced() {
                return Verdict::Wrong("an exit is missing", Box::new(world));
            }
        }
    }
    Verdict::Fine(seen.len())
}

/// What an exit that ran out of time left behind may hang for ever; nothing around it does.
fn is_over_but_for_orphans(world: &World) -> bool {
    world.root.is_done() && world.scope.is_empty()
}

/// Two states with the same digest are taken for the same.
pub(crate) fn digest(world: &World) -> u64 {
    let mut mix = Mix(0);
    world.hash(&mut mix);
    mix.finish()
}

/// Several times as fast as the standard one, where nothing is optimised.
struct Mix(u64);

impl Mix {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xF135_7AEA_2E62_A9C5);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word.cast_unsigned() as u64);
    }
}

/// All that can be seen of a program from outside: the traces of all its runs, cut anywhere once these contexts are entered.
/// `None` if it is too large.
pub(crate) fn traces(program: &Program, rules: Rules, entered: &[ContextId]) -> Option<HashSet<Vec<Event>>> {
    let mut found = HashSet::new();
    let first = World::new(true);
    let mut seen = HashSet::from([digest(&first)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        let mut is_last = true;
        let cuts = entered.iter().all(|context| world.ledger.was_entered(*context));
        for pick in 0.. {
            let Some(mut next) = step(program, rules, Faults { cuts, ..CUTS }, &world, pick) else { break };
            is_last = false;
            note_result(&world, &mut next);
            if seen.insert(digest(&next)) {
                open.push(next);
            }
        }
        if is_last {
            found.insert(world.ledger.trace.clone().unwrap_or_default());
        }
        if seen.len() > MAX_STATES {
            return None;
        }
    }
    Some(found)
}

/// The result of the root task, in the step in which it ends.
pub(crate) fn note_result(before: &World, after: &mut World) {
    if let Run::Done(ok) = after.root
        && !before.root.is_done()
        && !after.cancelled
    {
        after.ledger.note(Event::Result(ok));
    }
}

/// The shortest trace that ends in this trouble, for a message.
pub(crate) fn trace_of(program: &Program, rules: Rules, what: &'static str) -> Vec<Event> {
    let mut open = VecDeque::from([World::new(true)]);
    let mut seen = HashSet::new();
    while let Some(world) = open.pop_front() {
        let mut is_stuck = step(program, rules, NO_FAULTS, &world, 0).is_none() && !world.is_over();
        is_stuck &= what == "stuck";
        if world.ledger.broken == Some(what) || is_stuck {
            return world.ledger.trace.unwrap_or_default();
        }
        for pick in 0.. {
            let Some(next) = step(program, rules, CUTS, &world, pick) else { break };
            if seen.insert(digest(&next)) {
                open.push_back(next);
            }
        }
    }
    Vec::new()
}
