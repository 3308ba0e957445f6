//! Peers that take turns, and the table of what came out.

use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::kind::{Kind, Options};
use crate::peers::{Check, Dead, Own, Peer, Tenure};

/// What one round does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many tasks write at a time.
    pub(crate) tasks: u32,
    /// How many transactions each does, one after the other.
    pub(crate) each: u32,
}

/// All peers on one database, with one load.
pub(crate) struct Race<K: Kind> {
    options: Options<K>,
    size: usize,
    load: Load,
}

/// One peer and its figures.
struct Runner {
    name: &'static str,
    peer: Box<dyn Racer>,
    /// Microseconds for each transaction, by round.
    rounds: Vec<f64>,
    /// Nanoseconds of single transactions.
    single: Vec<u64>,
}

/// A peer without its type.
trait Racer {
    /// Does the load, and returns its time in microseconds and the nanoseconds of each transaction.
    fn round(&self, runtime: &Runtime, load: Load) -> (f64, Vec<u64>);
    fn close(self: Box<Self>, runtime: &Runtime);
}

/// A peer on its database.
struct On<K, P>(P, std::marker::PhantomData<K>);

impl<K: Kind, P: Peer<K>> Racer for On<K, P> {
    fn round(&self, runtime: &Runtime, load: Load) -> (f64, Vec<u64>) {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let begin = Instant::now();
            for _ in 0..load.tasks {
                tasks.spawn(client::<K, P>(self.0.clone(), load.each));
            }
            let single: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
            (begin.elapsed().as_secs_f64() * 1e6, single)
        })
    }

    fn close(self: Box<Self>, runtime: &Runtime) {
        runtime.block_on(self.0.close());
    }
}

async fn client<K: Kind, P: Peer<K>>(peer: P, count: u32) -> Vec<u64> {
    let mut single = Vec::with_capacity(count as usize);
    for number in 0..count {
        let begin = Instant::now();
        peer.write(i64::from(number)).await.expect("nothing disturbs it");
        single.push(begin.elapsed().as_nanos() as u64);
    }
    single
}

impl<K: Kind> Race<K> {
    pub(crate) fn new(options: &Options<K>, size: usize, load: Load) -> Self {
        Self { options: options.clone(), size, load }
    }

    pub(crate) fn run(&self, runtime: &Runtime, rounds: u32) {
        let Load { tasks, each } = self.load;
        let (a_task, connections) = (counted(tasks, "task"), counted(self.size as u32, "connection"));
        println!("### {a_task}, a pool of {connections}, {} transactions a round\n", tasks * each);
        println!("| check before lending | way | µs each | ratio to sqlx | p50 µs | p99 µs |");
        println!("|---|---|---:|---:|---:|---:|");
        for check in [Check::Never, Check::Default] {
            let mut runners = self.runners(runtime, check);
            self.rounds(runtime, rounds, &mut runners);
            Self::print(check, &mut runners);
            runners.into_iter().for_each(|runner| runner.peer.close(runtime));
        }
        println!();
    }

    fn runners(&self, runtime: &Runtime, check: Check) -> Vec<Runner> {
        let _in_runtime = runtime.enter();
        vec![self.runner::<Own<K>>(check), self.runner::<Dead<K>>(check), self.runner::<Tenure<K>>(check)]
    }

    fn runner<P: Peer<K>>(&self, check: Check) -> Runner {
        let peer = On::<K, P>(P::new(&self.options, self.size, check), std::marker::PhantomData);
        Runner { name: P::NAME, peer: Box::new(peer), rounds: Vec::new(), single: Vec::new() }
    }

    fn rounds(&self, runtime: &Runtime, rounds: u32, runners: &mut [Runner]) {
        let transactions = f64::from(self.load.tasks * self.load.each);
        for round in 0..=rounds as usize {
            for place in 0..runners.len() {
                let first = (round + place) % runners.len();
                let runner = &mut runners[first];
                let (time, single) = runner.peer.round(runtime, self.load);
                // The first one opens the connections and warms up.
                if round > 0 {
                    runner.rounds.push(time / transactions);
                    runner.single.extend(single);
                }
            }
        }
    }

    fn print(check: Check, runners: &mut [Runner]) {
        let base = runners[0].rounds.clone();
        for runner in runners {
            runner.single.sort_unstable();
            let percentile = |share: usize| runner.single[runner.single.len() * share / 100] as f64 / 1e3;
            let ratios = runner.rounds.iter().zip(&base).map(|(own, base)| own / base).collect();
            let check = match check {
                Check::Never => "none",
                Check::Default => "its default",
            };
            println!(
                "| {check} | {} | {:.1} | {:.2} | {:.1} | {:.1} |",
                runner.name,
                median(runner.rounds.clone()),
                median(ratios),
                percentile(50),
                percentile(99),
            );
        }
    }
}

fn counted(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
