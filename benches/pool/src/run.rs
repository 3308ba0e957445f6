//! One run: every scenario for every pool, in turns, so that a noisy moment of the machine meets all alike.

use std::time::Duration;

use crate::designs::{Bitmap, Locked};
use crate::peers::{
    Asyncband, Bb8, Deadpool, DeadpoolTimed, Fastpool, Floor, Mobc, Peer, Sqlx, Tenure, TenureFifo,
};
use crate::scenarios::{self, Crowd, Herd, Memory};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
}

/// The functions of one pool.
struct Entry {
    name: &'static str,
    creates: bool,
    alone: fn(usize, bool, u32) -> f64,
    two_at_once: fn(u32) -> f64,
    crowd: fn(Duration) -> Crowd,
    queue: fn(u32) -> f64,
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
    pub(crate) memory: Memory,
    pub(crate) spike: Option<(Duration, u32)>,
    pub(crate) herd: Option<Herd>,
    pub(crate) storm: usize,
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
            Entry::of::<Tenure>(),
            Entry::of::<TenureFifo>(),
            Entry::of::<Deadpool>(),
            Entry::of::<DeadpoolTimed>(),
            Entry::of::<Asyncband>(),
            Entry::of::<Fastpool>(),
            Entry::of::<Bb8>(),
            Entry::of::<Sqlx>(),
            Entry::of::<Mobc>(),
            Entry::of::<Floor>(),
            Entry::of::<Locked>(),
            Entry::of::<Bitmap>(),
        ];
        let (turns, rounds, time) = if options.quick {
            (3, 30_000, Duration::from_millis(100))
        } else {
            (9, 300_000, Duration::from_millis(500))
        };
        let alone = best(&entries, "alone", turns, |entry| (entry.alone)(0, false, rounds));
        let alone_on_two =
            best(&entries, "alone, two workers", turns, |entry| (entry.alone)(2, false, rounds));
        let checked = best(&entries, "with a check", turns, |entry| (entry.alone)(0, true, rounds));
        let two = best(&entries, "two at once", turns, |entry| (entry.two_at_once)(rounds));
        let queue = best(&entries, "queue of 10,000", turns, |entry| (entry.queue)(10_000));
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
                memory: (entry.memory)(),
                spike: entry.creates.then(|| (entry.spike)()),
                herd: entry.creates.then(|| (entry.herd)()),
                storm: (entry.storm)(),
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

/// Of several turns the one with the median throughput, and of each percentile the median.
fn crowds(entries: &[Entry], turns: u32, time: Duration) -> Vec<Crowd> {
    let mut all: Vec<Vec<Crowd>> = vec![Vec::new(); entries.len()];
    for turn in 1..=turns {
        eprintln!("crowd: turn {turn} of {turns}");
        for (place, entry) in entries.iter().enumerate() {
            all[place].push((entry.crowd)(time));
        }
    }
    all.iter()
        .map(|crowds| Crowd {
            ops_per_second: median(crowds, |crowd| crowd.ops_per_second),
            p50: Duration::from_secs_f64(median(crowds, |crowd| crowd.p50.as_secs_f64())),
            p99: Duration::from_secs_f64(median(crowds, |crowd| crowd.p99.as_secs_f64())),
            p999: Duration::from_secs_f64(median(crowds, |crowd| crowd.p999.as_secs_f64())),
            fairness: median(crowds, |crowd| crowd.fairness),
        })
        .collect()
}

fn median(crowds: &[Crowd], of: impl Fn(&Crowd) -> f64) -> f64 {
    let mut values: Vec<f64> = crowds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
