//! Durations counted in buckets, four to a doubling, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::nanos;

const BUCKETS: usize = 160;

#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let value = nanos(duration);
        self.buckets[bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Durations {
        Durations {
            counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)),
        }
    }
}

fn bucket(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let doubling = value.ilog2() as usize;
    let quarter = ((value >> (doubling - 2)) & 3) as usize;
    ((doubling - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let (doubling, quarter) = (bucket / 4 + 1, (bucket % 4) as u64);
    ((4 + quarter + 1) << (doubling - 2)) - 1
}

/// A snapshot of a histogram of durations; each value is known to within a quarter.
#[derive(Clone, Debug)]
pub struct Durations {
    counts: Vec<u64>,
    sum: Duration,
}

impl Durations {
    /// Returns how many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns the duration which the given share of them did not exceed; `quantile(0.99)` is the 99th percentile.
    /// Zero if nothing was recorded.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank within a count; the bucket is coarser than the rounding"
        )]
        let rank = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, number) in self.counts.iter().enumerate() {
            seen += number;
            if count > 0 && seen >= rank {
                return Duration::from_nanos(upper(bucket));
            }
        }
        Duration::ZERO
    }

    /// Returns the buckets that are not empty: the largest duration of each, and how many it has. For exporters.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counted = self.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0);
        counted.map(|(bucket, count)| (Duration::from_nanos(upper(bucket)), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_its_bucket() {
        let mut previous = None;
        for number in 0..BUCKETS - 1 {
            let top = upper(number);
            assert_eq!(bucket(top), number);
            assert_eq!(bucket(top + 1), number + 1);
            assert!(previous < Some(top));
            previous = Some(top);
        }
    }

    #[test]
    fn quantiles_are_within_a_quarter() {
        let histogram = Histogram::new();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let durations = histogram.snapshot();
        assert_eq!(durations.count(), 1000);
        let median = durations.quantile(0.5).as_micros();
        assert!((500..=625).contains(&median), "{median}");
        assert_eq!(Histogram::new().snapshot().quantile(0.5), Duration::ZERO);
    }
}
