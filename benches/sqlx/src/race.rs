//! Peers that take turns, and the table of what came out.

use std::time::Instant;

use tenure_sqlx::pool::{Connections, SessionReset};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::kind::{Kind, Options};
use crate::peers::{AnyError, Bare, Dead, Own, Peer, Tenure, Use};

/// What one round does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many tasks act at a time.
    pub(crate) tasks: u32,
    /// How often each does, one after the other.
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
    /// Microseconds for each act, by round.
    rounds: Vec<f64>,
    /// Nanoseconds of single acts.
    single: Vec<u64>,
}

/// A peer without its type.
trait Racer {
    /// Does the load, and returns its time in microseconds and the nanoseconds of each act.
    fn round(&self, runtime: &Runtime, load: Load) -> (f64, Vec<u64>);
    fn close(self: Box<Self>, runtime: &Runtime);
}

/// A peer on its database, and what it does.
struct On<K, P>(P, Use, std::marker::PhantomData<K>);

impl<K: Kind, P: Peer<K>> Racer for On<K, P> {
    fn round(&self, runtime: &Runtime, load: Load) -> (f64, Vec<u64>) {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let begin = Instant::now();
            for _ in 0..load.tasks {
                tasks.spawn(client::<K, P>(self.0.clone(), self.1, load.each));
            }
            let single: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
            (begin.elapsed().as_secs_f64() * 1e6, single)
        })
    }

    fn close(self: Box<Self>, runtime: &Runtime) {
        runtime.block_on(self.0.close());
    }
}

async fn client<K: Kind, P: Peer<K>>(peer: P, how: Use, count: u32) -> Vec<u64> {
    let mut single = Vec::with_capacity(count as usize);
    for number in 0..count {
        let begin = Instant::now();
        peer.act(how, i64::from(number)).await.expect("nothing disturbs it");
        single.push(begin.elapsed().as_nanos() as u64);
    }
    single
}

fn runner<K: Kind>(name: &'static str, peer: impl Peer<K>, how: Use) -> Runner {
    let peer = On::<K, _>(peer, how, std::marker::PhantomData);
    Runner { name, peer: Box::new(peer), rounds: Vec::new(), single: Vec::new() }
}

impl<K: Kind> Race<K> {
    pub(crate) fn new(options: &Options<K>, size: usize, load: Load) -> Self {
        Self { options: options.clone(), size, load }
    }

    /// Transactions, by all peers in turns.
    pub(crate) fn transactions(&self, runtime: &Runtime, rounds: u32) -> Result<(), AnyError> {
        self.heading("transaction", "ratio to sqlx's pool by default");
        let _in_runtime = runtime.enter();
        let (options, size, how) = (&self.options, self.size, Use::Transaction);
        let bare = runtime.block_on(Bare::<K>::new(options, size))?;
        let tenure = |checks| Tenure::<K>::new(options, size, checks, |connections| connections);
        let first = |connections: Connections<K>| connections.prove_before_commit(true);
        let runners = vec![
            runner::<K>("sqlx's pool, by default", Own::<K>::new(options, size, true), how),
            runner::<K>("sqlx's pool, no check", Own::<K>::new(options, size, false), how),
            runner::<K>("deadpool, a ping before it lends", Dead::<K>::new(options, size, true), how),
            runner::<K>("deadpool, no check", Dead::<K>::new(options, size, false), how),
            runner::<K>("**tenure, by default**", tenure(true), how),
            runner::<K>("tenure, no check", tenure(false), how),
            runner::<K>("tenure, `prove_before_commit`", Tenure::<K>::new(options, size, true, first), how),
            runner::<K>("floor: sqlx without a pool", bare, how),
        ];
        self.run(runtime, rounds, runners);
        Ok(())
    }

    /// Single statements by uses that complete or fail, with each way to set sessions back.
    pub(crate) fn resets(&self, runtime: &Runtime, rounds: u32) {
        self.heading("use of one `SELECT`", "ratio to sqlx's pool");
        let _in_runtime = runtime.enter();
        let (options, size) = (&self.options, self.size);
        let reset = |when, checks| {
            Tenure::<K>::new(options, size, checks, |connections| connections.session_reset(when))
        };
        let (never, on_failure, always) = (SessionReset::Never, SessionReset::OnFailure, SessionReset::Always);
        let runners = vec![
            runner::<K>("sqlx's pool, by default", Own::<K>::new(options, size, true), Use::Statement),
            runner::<K>("completed: `Never`, no check", reset(never, false), Use::Statement),
            runner::<K>("completed: `Never`, checked", reset(never, true), Use::Statement),
            runner::<K>("completed: `OnFailure`, checked (default)", reset(on_failure, true), Use::Statement),
            runner::<K>("completed: `Always`", reset(always, true), Use::Statement),
            runner::<K>("failed: `Never`", reset(never, true), Use::Failed),
            runner::<K>("failed: `OnFailure` (default), `Always`", reset(on_failure, true), Use::Failed),
        ];
        self.run(runtime, rounds, runners);
    }

    fn heading(&self, what: &str, ratio: &str) {
        let Load { tasks, each } = self.load;
        let (a_task, connections) = (counted(tasks, "task"), counted(self.size as u32, "connection"));
        println!("### A {what}: {a_task}, {connections}, {} a round\n", tasks * each);
        println!("| way | µs each | {ratio} | p50 µs | p99 µs |");
        println!("|---|---:|---:|---:|---:|");
    }

    fn run(&self, runtime: &Runtime, rounds: u32, mut runners: Vec<Runner>) {
        let acts = f64::from(self.load.tasks * self.load.each);
        for round in 0..=rounds as usize {
            for place in 0..runners.len() {
                let first = (round + place) % runners.len();
                let runner = &mut runners[first];
                let (time, single) = runner.peer.round(runtime, self.load);
                // The first one opens the connections and warms up.
                if round > 0 {
                    runner.rounds.push(time / acts);
                    runner.single.extend(single);
                }
            }
        }
        print(&mut runners);
        runners.into_iter().for_each(|runner| runner.peer.close(runtime));
        println!();
    }
}

fn print(runners: &mut [Runner]) {
    let base = runners[0].rounds.clone();
    for runner in runners {
        runner.single.sort_unstable();
        let percentile = |share: usize| runner.single[runner.single.len() * share / 100] as f64 / 1e3;
        let ratios = runner.rounds.iter().zip(&base).map(|(own, base)| own / base).collect();
        println!(
            "| {} | {:.1} | {:.2} | {:.1} | {:.1} |",
            runner.name,
            median(runner.rounds.clone()),
            median(ratios),
            percentile(50),
            percentile(99),
        );
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
