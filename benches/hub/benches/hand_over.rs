//! How long does it take until the exits of tenures that are cancelled at once have ended, and does one take longer
//! among four thousand than among a thousand? (criterion prints the time of the whole crowd, and the tenures in a
//! second; `--bin report` has a hundred thousand of them, and their memory.)

use std::time::Duration;

use benches_hub::hand_over::{Crowd, cancel};
use benches_hub::measure::one_thread;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn hand_over(criterion: &mut Criterion) {
    let runtime = one_thread();
    let mut group = criterion.benchmark_group("cancelled at once");
    for (name, crowd) in
        [("in order", Crowd::InOrder), ("in reverse", Crowd::InReverse), ("tasks", Crowd::Tasks)]
    {
        for tenures in [1_000, 4_000] {
            group.throughput(Throughput::Elements(tenures));
            group.bench_function(BenchmarkId::new(name, tenures), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| cancel(&runtime, crowd, tenures).drained).sum());
            });
        }
    }
    group.finish();
}

fn config() -> Criterion {
    let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_secs(2));
    Criterion::default().warm_up_time(warm_up).measurement_time(measurement).sample_size(10).without_plots()
}

criterion_group! { name = benches; config = config(); targets = hand_over }
criterion_main!(benches);
