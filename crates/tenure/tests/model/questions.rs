//! What is not so: each wrong rule, with the smallest program that shows it; and the questions that the rules had to answer.

use super::machine::explore::{Verdict, explore, leads_to, trace_of, traces};
use super::machine::rules::{Gate, Rules};
use super::machine::state::{Context, Event, Form, OWNED, Op, Program, Told};

fn plain(exit: usize) -> Context {
    Context::new(Form::Plain, exit)
}

/// A program of this body, of exits 1, 2, …, with a context for each, and of more codes.
fn program(body: Vec<Op>, exits: Vec<Vec<Op>>, more: Vec<Vec<Op>>) -> Program {
    let contexts = (1..=exits.len()).map(plain).collect();
    let codes = [body].into_iter().chain(exits).chain(more).collect();
    Program { codes, contexts }
}

#[track_caller]
fn check_fine(program: &Program, rules: Rules) {
    match explore(program, rules) {
        Verdict::Fine(states) => assert!(states > 1),
        Verdict::Wrong(what, _) => panic!("{what} after {:?}", trace_of(program, rules, what)),
        other => panic!("{other:?}"),
    }
}

/// The wrong rule is caught on this program, and the right one is not.
#[track_caller]
fn check_wrong(program: &Program, rules: Rules, expected: &str) {
    check_fine(program, Rules::RIGHT);
    assert!(leads_to(program, rules, expected), "the rule was not caught: {:?}", explore(program, rules));
}

fn locks() -> Vec<Op> {
    vec![Op::Lock, Op::Step, Op::Unlock]
}

/// U1: `a` holds the lock, half exited, behind `b`, which waits for it.
#[test]
fn law_13d_what_has_begun_waits_for_no_younger_sibling() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Close(1)];
    let two = program(body, vec![locks(), locks()], vec![]);
    check_wrong(&two, Rules { begun_waits: true, ..Rules::RIGHT }, "stuck");
}

/// U3: branches side by side, where the exit of the younger waits for a signal of the older's.
#[test]
fn law_13c_a_branch_waits_for_no_sibling() {
    let body = vec![Op::Join(vec![3, 4])];
    let exits = vec![vec![Op::Step], vec![Op::WaitGone(0)]];
    let join = program(body, exits, vec![vec![Op::With(0, 5)], vec![Op::With(1, 5)], vec![]]);
    check_wrong(&join, Rules { branch_waits: true, ..Rules::RIGHT }, "stuck");
}

/// U2: what an exit drops would land beside it, and nobody who awaits the exit would wait for it.
#[test]
fn law_13e_an_exit_has_a_scope_of_its_own() {
    let owner = program(
        vec![Op::Hold(1, 0), Op::Own(2, 1, vec![1]), Op::Close(2)],
        vec![vec![Op::Step], vec![Op::Drop(OWNED), Op::Step]],
        vec![],
    );
    check_wrong(&owner, Rules { exit_has_scope: false, ..Rules::RIGHT }, "13e");
    let signal = program(
        vec![Op::Hold(1, 0), Op::Own(2, 1, vec![1])],
        vec![vec![Op::Step], vec![Op::Drop(OWNED), Op::WaitGone(0)]],
        vec![],
    );
    // The guard is older than its owner by its id, and would be put behind it.
    check_wrong(&signal, Rules { exit_has_scope: false, ..Rules::RIGHT }, "stuck");
}

/// U14: one that is handed over later is not in the list, and is overtaken.
#[test]
fn law_13b_a_wait_is_not_looked_up_once() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Hold(3, 2), Op::Drop(2), Op::Drop(1), Op::Drop(3)];
    let three = program(body, vec![vec![], vec![Op::Step], vec![Op::Step]], vec![]);
    check_wrong(&three, Rules { snapshot: true, ..Rules::RIGHT }, "13b");
}

/// U14: looked up in one place and kept in another: `inner` waits for `x`, which waits for the owner of `inner`.
#[test]
fn law_13_a_wait_does_not_outlive_a_move() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Own(3, 2, vec![1]), Op::Drop(2), Op::Close(3)];
    let three = program(body, vec![vec![], vec![Op::Step], vec![Op::Close(OWNED)]], vec![]);
    check_wrong(&three, Rules { gate: Gate::Home, ..Rules::RIGHT }, "stuck");
    check_wrong(&three, Rules { gate: Gate::Home, snapshot: true, ..Rules::RIGHT }, "stuck");
}

/// A guard of an outer body that is closed inside an inner one, while a younger sibling is pending in the outer scope, waits
/// for that sibling as long as all bodies between run in place. To look in the inner scope alone is stuck nowhere, but it
/// lets the older of two guards overtake the younger.
#[test]
fn question_a_guard_of_an_outer_body_is_closed_in_an_inner_one() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Drop(2), Op::With(2, 4)];
    let program = program(body, vec![vec![], vec![Op::Step], vec![]], vec![vec![Op::Close(1)]]);
    check_fine(&program, Rules::RIGHT);
    let overtakes = |trace: &Vec<Event>| {
        let begins = trace.iter().position(|event| *event == Event::Begins(0, Told::Completed));
        let ends = trace.iter().position(|event| *event == Event::Ends(1));
        begins.is_some_and(|begins| ends.is_none_or(|ends| begins < ends))
    };
    let here = Rules { gate: Gate::Here, ..Rules::RIGHT };
    check_fine(&program, here);
    assert!(traces(&program, here, &[]).is_some_and(|all| all.iter().any(overtakes)));
    assert!(traces(&program, Rules::RIGHT, &[]).is_some_and(|all| !all.iter().any(overtakes)));
}

/// An exit that is polled in place is not waited for by siblings: the one who polls it may never poll it again. (`select!` on
/// `&mut closing`, and in another arm a close of an older guard.)
#[test]
fn question_an_exit_in_place_is_not_waited_for() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Park(2), Op::Close(1)];
    let parked = program(body, vec![vec![Op::Step], vec![Op::Step]], vec![]);
    check_wrong(&parked, Rules { in_place_counts: true, ..Rules::RIGHT }, "stuck");
}

/// A drain inside an exit leaves out all that waits for its caller: not only the exit it is called in.
#[test]
fn question_a_drain_leaves_out_who_waits_for_its_caller() {
    let body = vec![Op::Hold(1, 0), Op::With(1, 3)];
    let around = program(body, vec![vec![], vec![Op::Drain]], vec![vec![]]);
    check_wrong(&around, Rules { drain_leaves_out_waiting: false, ..Rules::RIGHT }, "stuck");
}

/// Two that drain do not wait for each other.
#[test]
fn question_a_drain_leaves_out_drains_that_wait_for_it() {
    let body = vec![Op::Join(vec![3, 4])];
    let more = vec![vec![Op::With(0, 5)], vec![Op::With(1, 5)], vec![]];
    let two = program(body, vec![vec![Op::Drain], vec![Op::Drain]], more);
    check_wrong(&two, Rules { drain_leaves_out_drains: false, ..Rules::RIGHT }, "stuck");
}

/// A guard's limit counts from when its turn has come: else it is closed by force while one that was entered later, and may
/// use it, still exits.
#[test]
fn question_a_guards_limit_does_not_count_its_wait_for_younger_siblings() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1)];
    let mut two = program(body, vec![vec![Op::Step], vec![Op::Step]], vec![]);
    two.contexts[0].limited = true;
    check_wrong(&two, Rules { limit_counts_siblings: true, ..Rules::RIGHT }, "13b");
}

/// A hanging child of an exit that runs out of time holds up nothing beyond that exit.
#[test]
fn question_what_an_exit_leaves_at_its_limit_holds_up_nothing() {
    let body = vec![Op::With(0, 4)];
    let exits = vec![vec![], vec![Op::Hold(1, 2), Op::Drop(1), Op::Hang], vec![Op::Hang]];
    let mut nested = program(body, exits, vec![vec![Op::With(1, 5)], vec![]]);
    nested.contexts[1].limited = true;
    check_fine(&nested, Rules::RIGHT);
}

/// A guard that is dropped where there is no frame waits for nobody, and nobody for it; one that is moved into an inner body,
/// an exit or a group's child belongs to that.
#[test]
fn question_a_guard_that_moves_belongs_to_where_it_is_dropped() {
    let elsewhere = program(vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Give(1)], vec![locks(), locks()], vec![]);
    check_fine(&elsewhere, Rules::RIGHT);
    let mut child = program(
        vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Group(2, 4, vec![5])],
        vec![locks(), locks(), vec![]],
        vec![vec![Op::Drop(2)], vec![Op::Step, Op::Close(1)]],
    );
    child.contexts[2].form = Form::Group;
    check_fine(&child, Rules::RIGHT);
}

/// The enter of a `with` that was shielded, and dropped, goes on at once, and its exit then; an older guard waits for both.
#[test]
fn question_a_shielded_enter_is_a_branch_that_has_begun() {
    let mut shielded = program(vec![Op::Hold(1, 0), Op::With(1, 3)], vec![locks(), locks()], vec![vec![]]);
    shielded.contexts[1].shielded = 2;
    check_fine(&shielded, Rules::RIGHT);
    let all = traces(&shielded, Rules::RIGHT, &[]).expect("it is small");
    let waits = |trace: &Vec<Event>| {
        let outer = trace.iter().position(|event| matches!(event, Event::Begins(0, _)));
        let inner = trace.iter().position(|event| *event == Event::Ends(1));
        inner.is_none() || inner < outer
    };
    assert!(
        all.iter().all(waits) && all.iter().any(|trace| trace.contains(&Event::Begins(1, Told::Cancelled)))
    );
}

/// A close by hand that was dropped before it began is pending where it was dropped, and is told of a cancellation.
#[test]
fn question_a_close_that_is_dropped_before_it_begins_is_pending() {
    let body = vec![Op::Hold(1, 0), Op::Hold(2, 1), Op::Drop(2), Op::Cut(3)];
    let cut = program(body, vec![vec![Op::Step], vec![Op::Step]], vec![vec![Op::Close(1)]]);
    check_fine(&cut, Rules::RIGHT);
    let all = traces(&cut, Rules::RIGHT, &[]).expect("it is small");
    assert!(all.iter().any(|trace| trace.contains(&Event::Begins(0, Told::Cancelled))));
}

/// U8: the entries of a dropped stack whose exits have not begun, told what they would have been told anyway, differ from
/// the same contexts nested by hand.
#[test]
fn law_21_a_stack_dropped_while_it_closes_tells_cancelled() {
    let mut stack = program(vec![Op::With(2, 3)], vec![vec![], vec![]], vec![vec![]]);
    stack.contexts.push(Context::new(Form::Stack(vec![0, 1]), 0));
    let by_hand = program(vec![Op::With(0, 3)], vec![vec![], vec![]], vec![vec![Op::With(1, 4)], vec![]]);
    let wrong = Rules { dropped_stack_tells_cancelled: false, ..Rules::RIGHT };
    assert_eq!(traces(&stack, Rules::RIGHT, &[0, 1]), traces(&by_hand, Rules::RIGHT, &[0, 1]));
    assert_ne!(traces(&stack, wrong, &[0, 1]), traces(&by_hand, wrong, &[0, 1]));
}
