//! Whether the model can run in the way that was observed.

use std::collections::HashSet;

use super::machine::explore::{CUTS, MAX_STATES, digest, note_result};
use super::machine::rules::{Rules, step};
use super::machine::state::{Event, Program, World};

/// Whether a program can run like this. `None` if it is too large to tell.
pub(crate) fn accepts(program: &Program, rules: Rules, observed: &[Event]) -> Option<bool> {
    let first = World::new(true);
    let mut seen = HashSet::from([digest(&first)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        let trace = world.ledger.trace.as_deref().unwrap_or_default();
        if world.is_over() && trace == observed {
            return Some(true);
        }
        for pick in 0.. {
            let Some(mut next) = step(program, rules, CUTS, &world, pick) else { break };
            note_result(&world, &mut next);
            let so_far = next.ledger.trace.as_deref().unwrap_or_default();
            if observed.starts_with(so_far) && seen.insert(digest(&next)) {
                open.push(next);
            }
        }
        if seen.len() > MAX_STATES {
            return None;
        }
    }
    Some(false)
}
