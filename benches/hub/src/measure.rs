//! Times and allocations of operations, on a current-thread runtime, inside a task.

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::memory;
use crate::operations::Operation;

/// A runtime of one thread, with a clock.
///
/// # Panics
/// If the system has no more threads or descriptors.
#[must_use]
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime can be built")
}

/// A runtime of two workers, with a clock.
///
/// # Panics
/// If the system has no more threads or descriptors.
#[must_use]
pub fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime can be built")
}

/// How long it takes to do the operation so many times, in a task of its own.
///
/// # Panics
/// If the operation does.
#[must_use]
pub fn time_of(runtime: &Runtime, operation: &'static Operation, times: u64) -> Duration {
    let timed = async move {
        let begin = Instant::now();
        operation.repeat(times).await;
        begin.elapsed()
    };
    runtime.block_on(async { tokio::spawn(timed).await }).expect("no operation panics")
}

/// The same in `block_on` itself, outside of any task.
#[must_use]
pub fn time_outside_of_tasks(runtime: &Runtime, operation: &'static Operation, times: u64) -> Duration {
    runtime.block_on(async {
        let begin = Instant::now();
        operation.repeat(times).await;
        begin.elapsed()
    })
}

/// How often one operation allocates, after a few that have warmed up what is kept.
///
/// # Panics
/// If the operation does.
#[must_use]
pub fn allocations_of(runtime: &Runtime, operation: &'static Operation) -> i64 {
    let counted = async move {
        operation.repeat(3).await;
        let of = async |times| {
            memory::begin();
            operation.repeat(times).await;
            memory::end().allocations
        };
        // The difference: a batch is a box itself.
        of(2).await - of(1).await
    };
    runtime.block_on(async { tokio::spawn(counted).await }).expect("no operation panics")
}

/// Times of one operation in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds the time of a batch.
    pub fn add(&mut self, batch: Duration, times: u64) {
        self.0.push(batch.as_nanos() as f64 / times as f64);
    }

    /// The least: what the operation costs when the machine does nothing else.
    #[must_use]
    pub fn minimum(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The one in the middle.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// Measures all operations side by side: a round of each after a round of each, so that what else the machine does
/// meets them alike.
#[must_use]
pub fn side_by_side(
    runtime: &Runtime,
    operations: &[&'static Operation],
    rounds: usize,
    time: fn(&Runtime, &'static Operation, u64) -> Duration,
) -> Vec<Samples> {
    let mut samples = vec![Samples::default(); operations.len()];
    for _ in 0..rounds {
        for (operation, samples) in operations.iter().zip(&mut samples) {
            let times = TENURES_IN_BATCH.div_ceil(operation.tenures.max(1));
            samples.add(time(runtime, operation, times), times);
        }
    }
    samples
}

/// About a millisecond.
const TENURES_IN_BATCH: u64 = 4_000;
