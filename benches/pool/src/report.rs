//! The tables.

use std::fmt::Write;

use crate::run::{Figures, Results};

const BASE: &str = "deadpool 0.13";

/// The whole report as Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from(INTRODUCTION);
    costs(&mut text, results);
    crowd(&mut text, results);
    memory(&mut text, results);
    behaviour(&mut text, results);
    text
}

const INTRODUCTION: &str = "\
# tenure-pool beside its peers

All pools in one run, in turns, on the same machine; each with its default settings and the size the scenario asks for.
tenure-pool, bb8, sqlx and mobc have a time limit of 30 s on every get by default, which is on; deadpool, asyncband and
fastpool have none. The resource is a number, its check returns at once.

These figures are made by `cargo run --release -p tenure-pool-bench -- --write`, which also writes the picture. Each is the
best of eleven turns in which all pools take part one after the other: what other programs on the machine do only makes
a turn worse. In brackets: the ratio to deadpool. The designs at the end are bare cores that were tried for tenure-pool,
without its features; the tagged stack is the one it has.

The percentiles above the 99th, and the least/most column, show what other programs did on the machine as much as the
pool: the tails are times the system gave to others. Compare them from a run on a quiet machine.

![the figures as bars](benchmarks.svg)
";

fn ratio(of: f64, to: f64) -> String {
    format!("{of:.0} ({:.2})", of / to)
}

fn costs(text: &mut String, results: &Results) {
    let base = results.of(BASE);
    text.push_str(
        "\n## What a get, a touch and a return cost, in nanoseconds\n\n\
         | pool | one task | one task, two workers | with a check that returns at once | two tasks at once, two workers | \
         each of 10,000 waiters on 4 resources | the same, two workers |\n|---|---|---|---|---|---|---|\n",
    );
    for figures in &results.figures {
        let cells = [
            ratio(figures.alone, base.alone),
            ratio(figures.alone_on_two, base.alone_on_two),
            ratio(figures.checked, base.checked),
            ratio(figures.two_at_once, base.two_at_once),
            ratio(figures.queue, base.queue),
            ratio(figures.queue_on_two, base.queue_on_two),
        ];
        row(text, figures, &cells);
    }
}

fn crowd(text: &mut String, results: &Results) {
    let base = &results.of(BASE).crowd;
    text.push_str(
        "\n## 64 tasks, 8 resources, two workers, held over one yield\n\n\
         | pool | thousand ops/s | wait p50 µs | p99 µs | p99.9 µs | least/most ops of a task |\n|---|---|---|---|---|---|\n",
    );
    for figures in &results.figures {
        let crowd = &figures.crowd;
        let micros = |time: std::time::Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
        let cells = [
            ratio(crowd.ops_per_second / 1e3, base.ops_per_second / 1e3),
            micros(crowd.p50),
            micros(crowd.p99),
            micros(crowd.p999),
            format!("{:.2}", crowd.fairness),
        ];
        row(text, figures, &cells);
    }
}

fn memory(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Memory\n\n\
         | pool | allocations for a get and return | bytes of the future | heap bytes for each waiter | both |\n\
         |---|---|---|---|---|\n",
    );
    for figures in &results.figures {
        let memory = &figures.memory;
        let cells = [
            format!("{:.2}", memory.allocations),
            memory.future.to_string(),
            format!("{:.0}", memory.heap),
            format!("{:.0}", memory.future as f64 + memory.heap),
        ];
        row(text, figures, &cells);
    }
}

fn behaviour(text: &mut String, results: &Results) {
    text.push_str(
        "\n## Behaviour\n\n\
         Spike: 50 requests at once on 5 idle resources, a connect takes 150 ms, a use 2 ms. Herd: 64 callers, at most 8\n\
         resources, connecting fails for the first half second. Storm: 4,000 gets on 4 resources, dropped at many moments.\n\n\
         | pool | spike: ms, new connections | herd: served, failed, attempts, ms | storm: capacity after it |\n\
         |---|---|---|---|\n",
    );
    for figures in &results.figures {
        let spike =
            figures.spike.map_or("–".to_owned(), |(took, new)| format!("{} ms, {new}", took.as_millis()));
        let herd = figures.herd.map_or("–".to_owned(), |herd| {
            let ms = herd.took.as_millis();
            format!("{}, {}, {}, {ms} ms", herd.served, herd.failed, herd.attempts)
        });
        let storm = figures.storm.map_or("–".to_owned(), |left| format!("{left} of 4"));
        row(text, figures, &[spike, herd, storm]);
    }
}

fn row(text: &mut String, figures: &Figures, cells: &[String]) {
    let ours = figures.name.starts_with("tenure");
    let mark = if ours { "**" } else { "" };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| {mark}{}{mark} | {} |", figures.name, cells.join(" | "));
}
