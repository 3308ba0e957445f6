//! A group of operations that are to be compared.

use std::time::Duration;

use benches_hub::find;
use benches_hub::measure::{one_thread, time_of};
use criterion::{Criterion, Throughput};

/// Short, since there are many: the whole takes about a minute.
pub(crate) fn config() -> Criterion {
    let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_secs(1));
    Criterion::default().warm_up_time(warm_up).measurement_time(measurement).sample_size(40).without_plots()
}

/// Measures each operation in a task of a current-thread runtime, many in one poll, as in a program.
pub(crate) fn side_by_side(criterion: &mut Criterion, group: &str, names: &[&str]) {
    let runtime = one_thread();
    let mut group = criterion.benchmark_group(group);
    for name in names {
        let operation = find(name).expect("the operation is in the list");
        group.throughput(Throughput::Elements(operation.tenures.max(1)));
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|times| time_of(&runtime, operation, times));
        });
    }
    group.finish();
}
