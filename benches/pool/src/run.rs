//! One run: every scenario for every pool, in turns, so that a noisy moment of the machine meets all alike.

use std::time::Duration;

use crate::designs::{Bitmap, Gated, Locked, Stack};
use crate::peers::{Asyncband, Bb8, Deadpool, Fastpool, Floor, Mobc, Peer, Sqlx, Tenure};
use crate::scenarios::{self, Crowd, Herd, Memory};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
}

/// The functions of one pool.
struct Entry {
    name: &'static str,
    creates: bool,
    cancels: bool,
    alone: fn(usize, bool, u32) -> f64,
    two_at_once: fn(u32) -> f64,
    crowd: fn(Duration) -> Crowd,
    queue: fn(usize, u32) -> f64,
    memory: fn() -> Memory,
    spike: fn() -> (Duration, u32),
    herd: fn() -> Herd,
    storm: fn() -> usize,
}

impl Entry {
    fn of<P: Peer>() -> Self {
        Self {
            name: P::NAME,
            creates: P::CREATES,
            cancels: P::CANCELS,
            alone: scenarios::alone::<P>,
            two_at_once: scenarios::two_at_once::<P>,
            crowd: scenarios::crowd::<P>,
            queue: scenarios::queue::<P>,
            memory: scenarios::memory::<P>,
            spike: scenarios::spike::<P>,
            herd: scenarios::herd::<P>,
            storm: scenarios::storm::<P>,
        }
    }
}

/// What came out for one pool.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) alone: f64,
    pub(crate) alone_on_two: f64,
    pub(crate) checked: f64,
    pub(crate) two_at_once: f64,
    pub(crate) crowd: Crowd,
    pub(crate) queue: f64,
    pub(crate) queue_on_two: f64,
    pub(crate) memory: Memory,
    pub(crate) spike: Option<(Duration, u32)>,
    pub(crate) herd: Option<Herd>,
    pub(crate) storm: Option<usize>,
}

pub(crate) struct Results {
    pub(crate) figures: Vec<Figures>,
}

impl Results {
    pub(crate) fn of(&self, name: &str) -> &Figures {
        let found = self.figures.iter().find(|figures| figures.name == name);
        found.expect("the names are those of the entries")
    }

    pub(crate) fn measure(options: Options) -> Self {
        let entries = [
            Entry::of::<Tenure<false>>(),
            Entry::of::<Tenure<true>>(),
            Entry::of::<Deadpool<false>>(),
            Entry::of::<Deadpool<true>>(),
            Entry::of::<Asyncband>(),
            Entry::of::<Fastpool>(),
            Entry::of::<Bb8>(),
            Entry::of::<Sqlx>(),
            Entry::of::<Mobc>(),
            Entry::of::<Floor>(),
            Entry::of::<Locked>(),
            Entry::of::<Gated<Bitmap>>(),
            Entry::of::<Gated<Stack>>(),
        ];
        let (turns, rounds, time) = if options.quick {
            (3, 30_000, Duration::from_millis(50))
        } else {
            (11, 100_000, Duration::from_millis(100))
        };
        let alone = best(&entries, "alone", turns, |entry| (entry.alone)(0, false, rounds));
        let alone_on_two = best(&entries, "alone, two workers", turns, |entry| (entry.alone)(2, false, rounds));
        let checked = best(&entries, "with a check", turns, |entry| (entry.alone)(0, true, rounds));
        let two = best(&entries, "two at once", turns, |entry| (entry.two_at_once)(5 * rounds));
        let queue = best(&entries, "queue of 10,000", turns, |entry| (entry.queue)(0, 10_000));
        let queue_on_two =
            best(&entries, "queue of 10,000, two workers", turns, |entry| (entry.queue)(2, 10_000));
        let crowds = crowds(&entries, turns, time);
        let mut figures = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            eprintln!("behaviour of {}", entry.name);
            figures.push(Figures {
                name: entry.name,
                alone: alone[place],
                alone_on_two: alone_on_two[place],
                checked: checked[place],
                two_at_once: two[place],
                crowd: crowds[place].clone(),
                queue: queue[place],
                queue_on_two: queue_on_two[place],
                memory: (entry.memory)(),
                // Three of them, for a wake-up that comes late is not the pool's.
                spike: entry.creates.then(|| (0..3).map(|_| (entry.spike)()).min()).flatten(),
                herd: entry.creates.then(|| (entry.herd)()),
                storm: entry.cancels.then(|| (entry.storm)()),
            });
        }
        Self { figures }
    }
}

/// The least of several turns: what the code costs, without what the machine adds.
fn best(entries: &[Entry], what: &str, turns: u32, measure: impl Fn(&Entry) -> f64) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; entries.len()];
    for turn in 1..=turns {
        eprintln!("{what}: turn {turn} of {turns}");
        for (place, entry) in entries.iter().enumerate() {
            best[place] = best[place].min(measure(entry));
        }
    }
    best
}

/// Of several turns the best of each figure, as [`best`] does: other programs on the machine only ever make it worse.
fn crowds(entries: &[Entry], turns: u32, time: Duration) -> Vec<Crowd> {
    let mut all: Vec<Vec<Crowd>> = vec![Vec::new(); entries.len()];
    for turn in 1..=turns {
        eprintln!("crowd: turn {turn} of {turns}");
        for (place, entry) in entries.iter().enumerate() {
            all[place].push((entry.crowd)(time));
        }
    }
    all.iter().map(|crowds| best_crowd(crowds)).collect()
}

/// The throughput and the fairness of the turn with the most throughput, and the percentiles of the turn with the least
/// 99th, so that the figures of one kind belong together.
fn best_crowd(crowds: &[Crowd]) -> Crowd {
    let fastest = crowds.iter().max_by(|a, b| a.ops_per_second.total_cmp(&b.ops_per_second));
    let calmest = crowds.iter().min_by_key(|crowd| (crowd.p99, crowd.p999));
    match (fastest, calmest) {
        (Some(fastest), Some(calmest)) => {
            Crowd { ops_per_second: fastest.ops_per_second, fairness: fastest.fairness, ..calmest.clone() }
        }
        _ => unreachable!("there is at least one turn"),
    }
}
