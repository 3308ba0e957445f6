//! What does `with` cost above the same calls written by hand: when all is well, nested three deep, when the body
//! fails, when it waits? And what do the ways out cost that people use today: a box, a spawned task?

use criterion::{Criterion, criterion_group, criterion_main};

mod side_by_side;
use side_by_side::side_by_side;

fn well(criterion: &mut Criterion) {
    let names = &["by_hand", "by_hand_boxed", "by_hand_spawned", "plain_with", "detailed", "recovering"];
    side_by_side(criterion, "with", names);
}

fn nested(criterion: &mut Criterion) {
    side_by_side(criterion, "three, nested", &["by_hand_nested", "with_nested"]);
}

fn failing(criterion: &mut Criterion) {
    side_by_side(criterion, "a body that fails", &["by_hand_failing", "with_failing"]);
}

fn waiting(criterion: &mut Criterion) {
    side_by_side(criterion, "a body that waits once", &["by_hand_waiting", "with_waiting"]);
}

criterion_group! { name = benches; config = side_by_side::config(); targets = well, nested, failing, waiting }
criterion_main!(benches);
