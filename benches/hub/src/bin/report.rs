//! What does the hub cost, beside what it aims at?
//!
//! ```sh
//! cargo run --release -p benches-hub --bin report
//! ```
//!
//! It prints Markdown: a table of the aims, a table of all operations, a table of hand-overs.

use std::time::Duration;

use benches_hub::hand_over::{self, Bytes, Crowd, Taken};
use benches_hub::measure::{
    Samples, allocations_of, one_thread, side_by_side, time_of, time_outside_of_tasks, two_threads,
};
use benches_hub::memory::CountingAllocator;
use benches_hub::{OPERATIONS, Operation, find};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ROUNDS: usize = 61;
const CROWD: u64 = 100_000;
const CROWD_COUNTED: u64 = 4_000;
const CROWD_ROUNDS: usize = 5;

fn main() {
    let runtime = one_thread();
    eprintln!("times of {} operations, {ROUNDS} rounds ...", OPERATIONS.len());
    let costs = Costs::measure(&runtime);
    eprintln!("{CROWD} tenures cancelled at once, {CROWD_ROUNDS} rounds of each kind ...");
    let crowds = crowds();
    aims(&costs, &crowds);
    costs.print();
    print_crowds(&crowds);
}

struct Cost {
    operation: &'static Operation,
    samples: Samples,
    outside: Samples,
    allocations: i64,
}

struct Costs(Vec<Cost>);

impl Costs {
    fn measure(runtime: &Runtime) -> Self {
        let operations: Vec<_> = OPERATIONS.iter().collect();
        let inside = side_by_side(runtime, &operations, ROUNDS, time_of);
        let outside = side_by_side(runtime, &operations, ROUNDS / 3, time_outside_of_tasks);
        let costs = operations.into_iter().zip(inside).zip(outside).map(|((operation, samples), outside)| {
            let allocations = allocations_of(runtime, operation);
            Cost { operation, samples, outside, allocations }
        });
        Self(costs.collect())
    }

    fn of(&self, name: &str) -> &Cost {
        let operation = find(name).expect("the operation is in the list");
        self.0.iter().find(|cost| cost.operation.name == operation.name).expect("all were measured")
    }

    /// Nanoseconds of each tenure above the same by hand: by medians, and by minima.
    fn above_by_hand(&self, name: &str) -> (f64, f64) {
        let cost = self.of(name);
        let by_hand = self.of(cost.operation.by_hand);
        let above = |of: fn(&Samples) -> f64| {
            of(&cost.samples) / tenures(cost) - of(&by_hand.samples) / tenures(by_hand)
        };
        (above(Samples::median), above(Samples::minimum))
    }

    fn print(&self) {
        println!(
            "\n| Operation | ns, median | ns, minimum | ns each tenure | times by hand | allocations | ns outside of a task |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for cost in &self.0 {
            let Cost { operation: Operation { name, by_hand, .. }, samples, outside, allocations } = cost;
            let (median, minimum, outside) = (samples.median(), samples.minimum(), outside.median());
            let by_hand = self.of(by_hand);
            let each = median / tenures(cost);
            let ratio = each / (by_hand.samples.median() / tenures(by_hand));
            println!(
                "| `{name}` | {median:.0} | {minimum:.0} | {each:.1} | {ratio:.1} | {allocations} | {outside:.0} |"
            );
        }
    }
}

fn tenures(cost: &Cost) -> f64 {
    cost.operation.tenures.max(1) as f64
}

struct CrowdCost {
    name: &'static str,
    tenures: u64,
    taken: Vec<Taken>,
    /// Of futures: memory with a few tenures, and with many.
    bytes: Option<(Bytes, Bytes)>,
}

fn crowds() -> Vec<CrowdCost> {
    let one = one_thread();
    let two = two_threads();
    let futures = |name, runtime: &Runtime, crowd| {
        // A runtime each, since what a registry has grown to it keeps.
        let few = hand_over::bytes(&one_thread(), crowd, CROWD_COUNTED / 4);
        let many = hand_over::bytes(&one_thread(), crowd, CROWD_COUNTED);
        // Memory that grows with the square would need tens of gigabytes: then the time of fewer has to do.
        let tenures = if many.handed_over < 2 * few.handed_over { CROWD } else { CROWD_COUNTED };
        CrowdCost::measure(name, runtime, crowd, tenures, Some((few, many)))
    };
    vec![
        futures("futures of one task, in order; one thread", &one, Crowd::InOrder),
        futures("futures of one task, in order; two threads", &two, Crowd::InOrder),
        futures("futures of one task, in reverse; one thread", &one, Crowd::InReverse),
        CrowdCost::measure("a task each, aborted; one thread", &one, Crowd::Tasks, CROWD, None),
        CrowdCost::measure("a task each, aborted; two threads", &two, Crowd::Tasks, CROWD, None),
    ]
}

impl CrowdCost {
    fn measure(
        name: &'static str,
        runtime: &Runtime,
        crowd: Crowd,
        tenures: u64,
        bytes: Option<(Bytes, Bytes)>,
    ) -> Self {
        let taken = (0..CROWD_ROUNDS).map(|_| hand_over::cancel(runtime, crowd, tenures)).collect();
        Self { name, tenures, taken, bytes }
    }

    fn milliseconds(&self, of: fn(&Taken) -> Duration) -> (f64, f64) {
        let mut times: Vec<f64> = self.taken.iter().map(|taken| of(taken).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[0])
    }
}

fn print_crowds(crowds: &[CrowdCost]) {
    let (few, many) = (CROWD_COUNTED / 4, CROWD_COUNTED);
    println!(
        "\n| Cancelled at once | tenures | drained, ms median | minimum | of it dropping | bytes held | bytes handed over, \
         of {few} | of {many} |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for crowd in crowds {
        let (drained, minimum) = crowd.milliseconds(|taken| taken.drained);
        let (dropping, _) = crowd.milliseconds(|taken| taken.dropping);
        let CrowdCost { name, tenures, .. } = crowd;
        print!("| {name} | {tenures} | {drained:.0} | {minimum:.0} | {dropping:.0} |");
        match crowd.bytes {
            Some((few, many)) => println!(" {} | {} | {} |", many.held, few.handed_over, many.handed_over),
            None => println!(" | | |"),
        }
    }
}

fn aims(costs: &Costs, crowds: &[CrowdCost]) {
    println!("| What | Aim | Reached, median | minimum |\n|---|---:|---:|---:|");
    let ns = |what: &str, aim: u32, (median, minimum): (f64, f64)| {
        println!("| {what} | ≤ {aim} ns | {median:.0} ns | {minimum:.0} ns |");
    };
    ns("`with`, above the same by hand", 40, costs.above_by_hand("plain_with"));
    let allocations = costs.of("plain_with").allocations - costs.of("by_hand").allocations;
    println!("| `with`, allocations above by hand | ≤ 1 | {allocations} | |");
    ns("an entry of 10 on a stack, all told", 60, each(costs, "stack_10"));
    ns("an entry of 10,000 on a stack, all told", 60, each(costs, "stack_10000"));
    ns("a generator context, all told", 150, each(costs, "generator"));
    let (drained, minimum) = crowds[0].milliseconds(|taken| taken.drained);
    let tenures = crowds[0].tenures;
    println!("| 100,000 cancelled, until drained | ≤ 500 ms | {drained:.0} ms ({tenures}) | {minimum:.0} ms |");
    let future = hand_over::future_bytes();
    let held = crowds[0].bytes.map_or(0, |(_, many)| many.held);
    println!(
        "| a held tenure, beyond resource and body | ≤ 300 bytes | {} bytes ({future} in the future, {held} in the registry) | |",
        future.cast_signed() as i64 + held
    );
}

fn each(costs: &Costs, name: &str) -> (f64, f64) {
    let cost = costs.of(name);
    (cost.samples.median() / tenures(cost), cost.samples.minimum() / tenures(cost))
}
