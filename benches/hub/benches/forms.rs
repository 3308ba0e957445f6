//! What do the other forms of a tenure cost, beside `with`: a generator context, a guard, a shield, three joined?

use criterion::{Criterion, criterion_group, criterion_main};

mod side_by_side;
use side_by_side::side_by_side;

fn forms(criterion: &mut Criterion) {
    side_by_side(criterion, "one resource", &["by_hand", "plain_with", "generator", "held", "shielded"]);
}

fn joined(criterion: &mut Criterion) {
    side_by_side(criterion, "three resources", &["by_hand_nested", "with_nested", "join_three"]);
}

criterion_group! { name = benches; config = side_by_side::config(); targets = forms, joined }
criterion_main!(benches);
