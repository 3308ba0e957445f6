//! Whether the model can run in the way that was observed.

use std::collections::HashSet;

use super::machine::explore::{CUTS, MAX_STATES, digest, note_result};
use super::machine::rules::{Rules, step};
use super::machine::state::{Event, Program, Run, World};

/// Whether a program can run like this. `None` if it is too large to tell.
///
/// On several threads something may begin between the moment in which the result is noted and that in which the locals are
/// dropped. There the result counts, and not when it was noted.
pub(crate) fn accepts(
    program: &Program,
    rules: Rules,
    observed: &[Event],
    several_threads: bool,
) -> Option<bool> {
    let is_result = |event: &Event| matches!(event, Event::Result(_));
    let result = observed.iter().find_map(|event| if let Event::Result(ok) = event { Some(*ok) } else { None });
    let timeless: Vec<Event> =
        observed.iter().copied().filter(|event| !several_threads || !is_result(event)).collect();
    let first = World::new(true);
    let mut seen = HashSet::from([digest(&first)]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        let trace = world.ledger.trace.as_deref().unwrap_or_default();
        let ended_so = !several_threads || result.is_none() || world.root == Run::Done(result == Some(true));
        if world.is_over() && trace == timeless && ended_so {
            return Some(true);
        }
        for pick in 0.. {
            let Some(mut next) = step(program, rules, CUTS, &world, pick) else { break };
            if !several_threads {
                note_result(&world, &mut next);
            }
            let so_far = next.ledger.trace.as_deref().unwrap_or_default();
            if timeless.starts_with(so_far) && seen.insert(digest(&next)) {
                open.push(next);
            }
        }
        if seen.len() > MAX_STATES {
            return None;
        }
    }
    Some(false)
}
