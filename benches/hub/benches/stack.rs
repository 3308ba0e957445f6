//! What does an entry of an exit stack cost, entered and exited, and does it cost more on a stack of ten thousand?
//! (criterion prints the time of a whole stack, and the entries in a second.)

use criterion::{Criterion, criterion_group, criterion_main};

mod side_by_side;
use side_by_side::side_by_side;

fn entries(criterion: &mut Criterion) {
    side_by_side(criterion, "a stack", &["stack_0", "stack_1", "stack_10", "stack_10000"]);
}

fn kinds(criterion: &mut Criterion) {
    side_by_side(criterion, "ten entries", &["stack_10", "stack_closed_10", "stack_push_10", "stack_defer_10"]);
}

criterion_group! { name = benches; config = side_by_side::config(); targets = entries, kinds }
criterion_main!(benches);
