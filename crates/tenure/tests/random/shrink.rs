//! A program that goes wrong, as small as it gets, as a test to paste.

use super::check::Way;
use super::machine::state::Program;

/// Runs of one program on which an error has to show once: on several threads it may not show each time.
const TRIES: usize = 3;

pub(crate) fn print(
    seed: u64,
    program: &Program,
    way: &Way,
    what: &str,
    named: &str,
    check: &impl Fn(&Program, &Way) -> Result<(), String>,
) {
    let goes_wrong = |program: &Program, way: &Way| {
        let tries = if way.several_threads { TRIES } else { 1 };
        (0..tries).find_map(|_| check(program, way).err())
    };
    let (mut program, mut way, mut what) = (program.clone(), way.clone(), what.to_owned());
    let mut smaller = true;
    while smaller {
        smaller = false;
        for next in simpler(&program, &way) {
            if let Some(still) = goes_wrong(&next.0, &next.1) {
                ((program, way), what, smaller) = (next, still, true);
                break;
            }
        }
    }
    println!("seed {seed}: {what}\n{}", as_test(&program, &way, named));
}

/// All that is one statement shorter, or runs in a plainer way.
fn simpler(program: &Program, way: &Way) -> Vec<(Program, Way)> {
    let mut all = Vec::new();
    let one_thread = Way { several_threads: false, ..way.clone() };
    let one_thread = Way { moves: None, ..one_thread };
    let one_runtime = Way { moves: None, second_runtime: false, ..way.clone() };
    let stays = Way { moves: None, ..way.clone() };
    let in_place = Way { spawned: false, aborted: false, ..way.clone() };
    let all_polled = Way { unordered: false, ..way.clone() };
    for plainer in [one_thread, one_runtime, stays, in_place, all_polled] {
        if plainer != *way {
            all.push((program.clone(), plainer));
        }
    }
    for code in 0..program.codes.len() {
        for at in 0..program.codes[code].len() {
            let mut shorter = program.clone();
            shorter.codes[code].remove(at);
            all.push((shorter, way.clone()));
        }
    }
    all
}

/// Rust that makes the same program; `use machine::state::{Form::*, Op::*}` is all it needs.
pub(crate) fn as_test(program: &Program, way: &Way, named: &str) -> String {
    let rust = |debug: String| debug.replace('[', "vec![");
    let codes = program.codes.iter().map(|code| format!("            {},\n", rust(format!("{code:?}"))));
    let contexts =
        program.contexts.iter().map(|context| format!("            {},\n", rust(format!("{context:?}"))));
    format!(
        "#[test]\nfn law_0_found() {{\n    let program = Program {{\n        codes: vec![\n{}        ],\n        contexts: vec![\n{}        ],\n    \
         }};\n    let way = {};\n    assert_eq!({named}, Ok(()));\n}}",
        codes.collect::<String>(),
        contexts.collect::<String>(),
        rust(format!("{way:?}")),
    )
}
