//! The model of the order in which exits run (law 13), and a search through all that it can do.
//!
//! `state` says what a program, a scope, a frame and a begun exit are; `rules` who waits for whom; `code` what
//! each statement does; `dropping` what becomes of
//! code that is cut; `ledger` which properties have to hold; `programs` makes programs; `explore` tries every interleaving,
//! cut at every step. DESIGN.md, "How is the order kept when everything is dropped at once?", has the argument in words.
//!
//! `TENURE_MODEL_DEEPER=1` lets each search make programs of that many more statements, and takes as many random ones times
//! ten: minutes instead of seconds.

mod machine;
mod questions;

use std::time::Instant;

use machine::explore::{Verdict, explore, trace_of, traces};
use machine::programs::{Choices, Exits, Say, Vocabulary, make};
use machine::rules::Rules;

use Exits::{
    ClosesOwned, Drains, DropsAndAwaits, DropsOwned, DropsOwnedUnderLock, Fails, Hangs, Leaves, Limited, Locks,
    Nothing, Steps, WaitsForNext, Withs,
};

/// Seeds of the random programs count up from here.
const SEED: u64 = 1;

const GUARDS: Vocabulary = Vocabulary {
    name: "guards",
    statements: &[Say::Hold, Say::Own, Say::Drop, Say::Close],
    exits: &[Nothing, Locks, WaitsForNext, DropsOwned, ClosesOwned, DropsAndAwaits, DropsOwnedUnderLock],
    size: 3,
};
/// Long enough for what owns a guard to be closed while one between the two is pending.
const OWNERS: Vocabulary = Vocabulary {
    name: "owners",
    statements: &[Say::Hold, Say::Own, Say::Drop, Say::Close],
    exits: &[Locks, ClosesOwned],
    size: 5,
};
const BRANCHES: Vocabulary = Vocabulary {
    name: "branches",
    statements: &[Say::Hold, Say::Drop, Say::Close, Say::With, Say::Join, Say::Cut],
    exits: &[Locks, WaitsForNext, Leaves],
    size: 3,
};
const STACKS: Vocabulary = Vocabulary {
    name: "stacks",
    statements: &[Say::Hold, Say::Generator, Say::Stack, Say::StackGuard, Say::With, Say::Cut],
    exits: &[Locks, DropsOwned],
    size: 2,
};
const GROUPS: Vocabulary = Vocabulary {
    name: "groups",
    statements: &[Say::Hold, Say::Drop, Say::With, Say::Group, Say::Fail],
    exits: &[Steps, Locks, WaitsForNext],
    size: 3,
};
const STOPS: Vocabulary = Vocabulary {
    name: "stops",
    statements: &[Say::Hold, Say::JoinContexts, Say::Select, Say::Recovering, Say::Stoppable, Say::Fail],
    exits: &[Steps, Locks],
    size: 2,
};
const DRAINS: Vocabulary = Vocabulary {
    name: "drains",
    statements: &[Say::Hold, Say::Drop, Say::With, Say::Group, Say::Join, Say::Drain, Say::Own],
    exits: &[Nothing, Drains, DropsOwned],
    size: 3,
};
const LIMITS: Vocabulary = Vocabulary {
    name: "limits",
    statements: &[Say::Hold, Say::With, Say::Own],
    exits: &[Hangs, Limited, DropsOwned],
    size: 3,
};
const LIMITED_BRANCHES: Vocabulary = Vocabulary {
    name: "limited branches",
    statements: &[Say::Hold, Say::Drop, Say::With, Say::Join, Say::Generator, Say::Cut],
    exits: &[Hangs, Limited, DropsOwned],
    size: 2,
};
const LIMITED_STACKS: Vocabulary = Vocabulary {
    name: "limited stacks",
    statements: &[Say::Stack, Say::StackGuard],
    exits: &[Hangs, Limited],
    size: 1,
};
const MOVES: Vocabulary = Vocabulary {
    name: "moves",
    statements: &[Say::Hold, Say::Drop, Say::Give, Say::Shielded, Say::Park, Say::With, Say::Close],
    exits: &[Steps, Locks],
    size: 3,
};
const MIXED: Vocabulary = Vocabulary {
    name: "mixed",
    statements: &[
        Say::Hold,
        Say::Own,
        Say::Drop,
        Say::Close,
        Say::Park,
        Say::Give,
        Say::With,
        Say::Shielded,
        Say::Generator,
        Say::Stack,
        Say::StackGuard,
        Say::Join,
        Say::Cut,
        Say::Group,
        Say::Step,
    ],
    exits: &[
        Steps,
        Locks,
        Leaves,
        Withs,
        Limited,
        DropsOwned,
        ClosesOwned,
        DropsOwnedUnderLock,
        DropsAndAwaits,
    ],
    size: 6,
};

fn deeper() -> usize {
    std::env::var("TENURE_MODEL_DEEPER").ok().and_then(|deeper| deeper.parse().ok()).unwrap_or(0)
}

/// What a search came across.
#[derive(Debug, Default)]
struct Survey {
    programs: usize,
    states: usize,
    /// Programs that wait for themselves without any cut.
    deadlocks: usize,
    too_large: usize,
}

fn survey(vocabulary: Vocabulary, random: Option<u64>) -> Survey {
    let vocabulary = Vocabulary { size: vocabulary.size + deeper(), ..vocabulary };
    let start = Instant::now();
    let mut survey = Survey::default();
    let mut visit = |choices: &mut Choices| {
        let program = make(vocabulary, choices, false);
        survey.programs += 1;
        match explore(&program, Rules::RIGHT) {
            Verdict::Fine(states) => survey.states += states,
            Verdict::Deadlocks => survey.deadlocks += 1,
            Verdict::TooLarge => survey.too_large += 1,
            Verdict::Wrong(what, world) => {
                let trace = trace_of(&program, Rules::RIGHT, what);
                panic!("{what}: {program:#?}\nafter {trace:?}\nas {world:#?}")
            }
        }
    };
    match random {
        None => {
            let mut choices = Choices::all();
            visit(&mut choices);
            while choices.advance() {
                visit(&mut choices);
            }
        }
        Some(many) => (SEED..SEED + many).for_each(|seed| visit(&mut Choices::random(seed))),
    }
    println!("{}, up to {} statements, in {:?}: {survey:?}", vocabulary.name, vocabulary.size, start.elapsed());
    survey
}

/// All programs there are: none waits for ever, each exit runs once, in order.
#[track_caller]
fn check_all(vocabulary: Vocabulary, at_least: usize) {
    let survey = survey(vocabulary, None);
    let tried = survey.programs - survey.deadlocks;
    assert!(tried >= at_least, "{tried} programs are too few to show anything");
    assert_eq!(survey.too_large, 0, "a program was not explored to its end");
}

#[test]
fn law_13_guards_that_own_and_close_guards() {
    check_all(GUARDS, 300);
    check_all(OWNERS, 300);
}

#[test]
fn law_13_branches_and_bodies_cut_at_each_step() {
    check_all(BRANCHES, 500);
}

#[test]
fn law_13_stacks_on_stacks_and_generators() {
    check_all(STACKS, 500);
}

#[test]
fn law_13_groups() {
    check_all(GROUPS, 1000);
}

/// Tokens, branches that are dropped by the first that ends, contexts that are joined, exits that recover.
#[test]
fn law_14_stops_and_joins() {
    check_all(STOPS, 100);
}

#[test]
fn law_18_drains_inside_exits_and_children() {
    check_all(DRAINS, 1000);
}

#[test]
fn law_15_limits_that_expire_at_each_step() {
    check_all(LIMITS, 300);
    check_all(LIMITED_BRANCHES, 100);
    check_all(LIMITED_STACKS, 50);
}

#[test]
fn law_13_guards_that_move_and_enters_that_go_on() {
    check_all(MOVES, 300);
}

#[test]
fn law_13_random_programs_of_all_kinds() {
    let many = if deeper() == 0 { 40 } else { 1500 };
    let survey = survey(MIXED, Some(many));
    assert!(survey.too_large * 20 < survey.programs, "most have to be explored to their ends");
}

/// Law 21: cut anywhere, those in the exits included, the traces of a stack are those of the same contexts nested by hand.
#[test]
fn law_21_a_stack_is_its_contexts_nested_by_hand() {
    const STACK: Vocabulary = Vocabulary {
        name: "a stack",
        statements: &[Say::Stack, Say::Hold, Say::Fail],
        exits: &[Steps, Fails],
        size: 2,
    };
    let (mut compared, mut runs) = (0, 0);
    let mut choices = Choices::all();
    loop {
        let stack = make(STACK, &mut choices, false);
        choices.again();
        let by_hand = make(STACK, &mut choices, true);
        if stack != by_hand {
            let entries = stack.entries();
            let of_stack = traces(&stack, Rules::RIGHT, &entries);
            let of_hand = traces(&by_hand, Rules::RIGHT, &entries);
            let (Some(of_stack), Some(of_hand)) = (of_stack, of_hand) else { panic!("too large: {stack:#?}") };
            let other = of_stack.symmetric_difference(&of_hand).min();
            assert_eq!(other, None, "only one of the two runs like this: {stack:#?}");
            (compared, runs) = (compared + 1, runs + of_stack.len());
        }
        if !choices.advance() {
            break;
        }
    }
    println!("{compared} stacks in {runs} ways of running");
    assert!(compared > 200);
}
