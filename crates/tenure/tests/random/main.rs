//! Random programs, run for real and held against the model of `tests/model`: order, outcomes, results, errors, counters.
//!
//! A program is a tree of `with`s, guards in locals and in fields, generators, stacks on stacks, joins, groups and cuts. It is
//! run on one thread, with the clock paused, or on several, and dropped at a suspension or not at all. The model has to be
//! able to run in the same way; each enter has to have its exit in the counters; each error has to have come to somebody.
//!
//! `TENURE_PROGRAMS` says how many programs, `TENURE_SEED` from which seed on; the same seed makes the same program and, on one
//! thread, the same trace. A program that goes wrong is made as small as it gets, and printed as a test. The programs are not
//! made by proptest: the model makes them, from choices that can also be enumerated.

mod accept;
mod check;
mod cut;
#[expect(dead_code, reason = "the search through all that the model can do is a test of its own")]
#[path = "../model/machine/mod.rs"]
mod machine;
mod shrink;
mod world;

use check::{Way, die, has_limits, run, verdict, verdict_of_books, without_limits_on_stacks};
use machine::programs::{Choices, Exits, Say, Vocabulary, make};
use machine::rules::Rules;
use machine::state::{Context, Event, Form, Op, Program, Told};

const PROGRAMS: u64 = 2000;
const SEED: u64 = 1;
/// Of those that go wrong, so many are printed as tests.
const SHOWN: usize = 3;

/// What most are held against, as a test would say it.
const MODEL: &str = "verdict(&program, &run(&program, &way))";

const MIXED: Vocabulary = Vocabulary {
    name: "mixed",
    statements: &[
        Say::Hold,
        Say::Own,
        Say::Drop,
        Say::Close,
        Say::Give,
        Say::With,
        Say::Shielded,
        Say::Generator,
        Say::Stack,
        Say::StackGuard,
        Say::Join,
        Say::JoinContexts,
        Say::Cut,
        Say::Select,
        Say::Group,
        Say::Recovering,
        Say::Stoppable,
        Say::Step,
        Say::Fail,
    ],
    exits: &[
        Exits::Nothing,
        Exits::Steps,
        Exits::Locks,
        Exits::Fails,
        Exits::Leaves,
        Exits::Withs,
        Exits::Hangs,
        Exits::DropsOwned,
        Exits::ClosesOwned,
        Exits::DropsOwnedUnderLock,
    ],
    size: 6,
};

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// The program and the way of this seed.
fn of_seed(vocabulary: Vocabulary, seed: u64) -> (Program, Way) {
    let mut choices = Choices::random(seed);
    let program = without_limits_on_stacks(make(vocabulary, &mut choices, false));
    let several_threads = choices.pick(4) == 0 && !has_limits(&program);
    let spawned = choices.pick(2) == 0;
    let aborted = choices.pick(4) == 0;
    let cut = choices.pick(8).checked_sub(2);
    let cuts = (0..3).map(|_| choices.pick(5)).collect();
    let unordered = choices.pick(2) == 0;
    let second_runtime = choices.pick(3) == 0;
    // By a paused clock a runtime that waits for another one would pass all time limits.
    let moves = (second_runtime && several_threads && !aborted)
        .then(|| choices.pick(6))
        .and_then(|at| at.checked_sub(1));
    let in_hand = Way { several_threads, unordered, second_runtime, moves, ..Way::PLAIN };
    (program, Way { spawned, aborted, cut, cuts, ..in_hand })
}

/// Holds random programs against `check`; `named` is that in the words of a test.
#[track_caller]
fn check_random(
    vocabulary: Vocabulary,
    panics: bool,
    named: &str,
    check: impl Fn(&Program, &Way) -> Result<(), String>,
) {
    let (programs, first) = (variable("TENURE_PROGRAMS", PROGRAMS), variable("TENURE_SEED", SEED));
    println!("{programs} programs from seed {first} on");
    let mut wrong = Vec::new();
    for seed in first..first + programs {
        let (program, way) = of_seed(vocabulary, seed);
        let way = Way { panics, ..way };
        if let Err(what) = check(&program, &way) {
            if wrong.len() < SHOWN {
                shrink::print(seed, &program, &way, &what, named, &check);
            }
            wrong.push(seed);
        }
    }
    assert!(wrong.is_empty(), "{} of {programs} programs go wrong, of seeds {wrong:?}", wrong.len());
}

#[test]
fn laws_random_programs_run_as_the_model_does() {
    check_random(MIXED, false, MODEL, |program, way| verdict(program, &run(program, way)));
}

/// Laws 4 and 6: what fails panics, in bodies, exits and children. The model knows of no panics.
#[test]
fn law_6_random_programs_that_panic_exit_all_once() {
    let named = "verdict_of_books(&run(&program, &way))";
    check_random(MIXED, true, named, |program, way| verdict_of_books(&run(program, way)));
}

/// Law 18, in exits, bodies and children.
#[test]
fn law_18_random_drains_wait_for_nobody_who_waits_for_them() {
    const DRAINS: Vocabulary = Vocabulary {
        name: "drains",
        statements: &[
            Say::Hold,
            Say::Own,
            Say::Drop,
            Say::With,
            Say::Generator,
            Say::Join,
            Say::Cut,
            Say::Group,
            Say::Drain,
        ],
        exits: &[Exits::Steps, Exits::Drains, Exits::Leaves, Exits::DropsOwned],
        size: 6,
    };
    // A drain is that of one runtime.
    let named = "verdict(&program, &run(&program, &Way { moves: None, ..way }))";
    check_random(DRAINS, false, named, |program, way| {
        verdict(program, &run(program, &Way { moves: None, ..way.clone() }))
    });
}

/// Law 17.
#[test]
fn law_17_random_programs_whose_runtime_dies_lose_nothing_in_silence() {
    check_random(MIXED, false, "die(&program, &way)", die);
}

/// Law 21, cut at every suspension, those in the exits included.
#[test]
fn law_21_random_stacks_are_their_contexts_nested_by_hand() {
    const STACKS: Vocabulary = Vocabulary {
        name: "stacks",
        statements: &[Say::Stack, Say::Hold, Say::Step, Say::Fail],
        exits: &[Exits::Steps, Exits::Fails, Exits::Locks, Exits::Leaves, Exits::DropsOwned],
        size: 3,
    };
    let (programs, first) = (variable("TENURE_PROGRAMS", PROGRAMS), variable("TENURE_SEED", SEED));
    let (mut compared, mut wrong) = (0, Vec::new());
    for (seed, panics) in (first..first + programs).flat_map(|seed| [(seed, false), (seed, true)]) {
        let stack = make(STACKS, &mut Choices::random(seed), false);
        let by_hand = make(STACKS, &mut Choices::random(seed), true);
        if stack == by_hand {
            continue;
        }
        for cut in 0.. {
            let way = Way { panics, cut: Some(cut), cuts: vec![0], ..Way::PLAIN };
            let (of_stack, of_hand) = (run(&stack, &way), run(&by_hand, &way));
            compared += 1;
            if of_stack.events != of_hand.events {
                if wrong.is_empty() {
                    let what = format!("by hand it is {:?}, on a stack {:?}", of_hand.events, of_stack.events);
                    println!("seed {seed}: {what}\n{}", shrink::as_test(&stack, &way, MODEL));
                }
                wrong.push((seed, cut));
            }
            if of_stack.suspensions <= cut && of_hand.suspensions <= cut {
                break;
            }
        }
    }
    println!("{compared} runs of each compared");
    assert!(wrong.is_empty(), "{} runs differ, of seeds and cuts {wrong:?}", wrong.len());
    assert!(compared > 1000 || programs < 500, "{compared} runs are too few to show anything");
}

/// The same seed makes the same trace.
#[test]
fn a_trace_can_be_had_again() {
    for seed in 1..50 {
        let (program, mut way) = of_seed(MIXED, seed);
        (way.several_threads, way.moves) = (false, None);
        assert_eq!(run(&program, &way).events, run(&program, &way).events, "seed {seed}");
    }
}

/// The comparison can fail: an outer exit that overtakes an inner one, or is told something else, is refused.
#[test]
fn the_model_refuses_what_is_out_of_order() {
    let plain = |exit| Context::new(Form::Plain, exit);
    let codes = vec![vec![Op::With(0, 2)], vec![], vec![Op::With(1, 3)], vec![]];
    let program = Program { codes, contexts: vec![plain(1), plain(1)] };
    let way = Way { cuts: vec![0], ..Way::PLAIN };
    let seen = run(&program, &way);
    assert_eq!(verdict(&program, &seen), Ok(()));
    let refused = |events: &[Event]| accept::accepts(&program, Rules::RIGHT, events, false) == Some(false);
    let mut swapped = seen.events.clone();
    swapped.rotate_left(2);
    let mut told = seen.events.clone();
    told[0] = Event::Begins(1, Told::Cancelled);
    assert!(refused(&swapped) && refused(&told) && refused(&seen.events[..3]), "{:?}", seen.events);
}
