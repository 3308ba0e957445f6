//! The long checks: `cargo xtask verify`. Each is the long form of something that `cargo xtask test` does in short.
//!
//! # Invariants
//! 1. What the user has set in the environment (`TENURE_PROGRAMS`, `TENURE_SEED`, `TENURE_MATRIX_RUNS`, `PROPTEST_CASES`,
//!    `MIRIFLAGS`) counts; the defaults are here.
//! 2. What builds with other flags builds in a folder of its own, so that the next `cargo xtask test` need not build anew.

use std::process::Command;
use std::time::Duration;

use crate::steps::{self, Needs, Plan, Step, add_flags};

const HOUR: Duration = Duration::from_secs(60 * 60);

pub(crate) const STEPS: &[Step] = &[
    Step::new("order", "the model of the order, with larger programs", order).within(HOUR.saturating_mul(3)),
    Step::new("random", "200,000 random programs of the hub, on both flavours", random)
        .within(HOUR.saturating_mul(12)),
    Step::new("model", "loom models of what is shared between threads", steps::model).within(HOUR),
    Step::new("pool", "100,000 random histories of the pool", pool).within(HOUR.saturating_mul(6)),
    Step::new("matrix", "10,000 ways to leave a connection, for each database", matrix)
        .with(Needs::Servers)
        .within(HOUR.saturating_mul(6)),
    Step::new("miri", "the hub and the pool's core under miri, by Stacked and by Tree Borrows", miri)
        .with(Needs::Nightly)
        .within(HOUR.saturating_mul(3)),
    Step::new("threads", "the hub under the thread sanitizer", threads)
        .with(Needs::Nightly)
        .within(HOUR.saturating_mul(3)),
];

fn order(plan: &Plan<'_>) -> Vec<Command> {
    let mut call = plan.cargo("test --release --package tenure --test model --no-fail-fast");
    call.env("TENURE_MODEL_DEEPER", or_set("TENURE_MODEL_DEEPER", "1"));
    vec![call]
}

/// In release: it is the number that counts. The seeds are printed, so the output has to be seen.
fn random(plan: &Plan<'_>) -> Vec<Command> {
    let mut call = plan.cargo("test --release --package tenure --test random --no-fail-fast -- --nocapture");
    call.env("TENURE_PROGRAMS", or_set("TENURE_PROGRAMS", "200000"));
    vec![call]
}

fn pool(plan: &Plan<'_>) -> Vec<Command> {
    let mut call = plan.cargo("test --release --package tenure-pool --test it --no-fail-fast machine");
    call.env("PROPTEST_CASES", or_set("PROPTEST_CASES", "100000"));
    vec![call]
}

fn matrix(plan: &Plan<'_>) -> Vec<Command> {
    let targets = ["it", "servers"];
    let call = |target| {
        let mut call = plan.cargo("test --package tenure-sqlx --all-features --no-fail-fast");
        call.args(["--test", target, "whatever_was_left", "--", "--nocapture"]);
        call.env("TENURE_MATRIX_RUNS", or_set("TENURE_MATRIX_RUNS", "10000"));
        call
    };
    targets.into_iter().map(call).collect()
}

/// Miri checks the memory that the arena of a stack and the slots of the pool share, under both models of aliasing.
///
/// Tests that start processes, or that measure, are no tests of memory, and are left out.
fn miri(plan: &Plan<'_>) -> Vec<Command> {
    let mut calls = Vec::new();
    for model in ["", "-Zmiri-tree-borrows"] {
        for words in [
            "--package tenure-pool --lib raw",
            "--package tenure --test it -- stack::law_2 stack_memory held::law generator::law join::law_33 group::law_34_b --skip everywhere --skip thousand",
        ] {
            let mut call = plan.nightly(&format!("miri test {words}"));
            // Isolated, a program has neither a clock nor the environment, both of which tokio asks for.
            add_flags(&mut call, "MIRIFLAGS", &format!("-Zmiri-disable-isolation {model}"));
            calls.push(call);
        }
    }
    calls
}

/// The standard library is built with the sanitizer too: without it, its locks and channels would look like races.
fn threads(plan: &Plan<'_>) -> Vec<Command> {
    let host = plan.toolchain.host();
    let call = |words: &str| {
        let mut call = plan.nightly(&format!("test -Zbuild-std --target {host} --package tenure {words}"));
        call.env("CARGO_TARGET_DIR", plan.workspace.target_dir().join("threads"));
        add_flags(&mut call, "RUSTFLAGS", "-Zsanitizer=thread");
        call.env("TENURE_PROGRAMS", or_set("TENURE_PROGRAMS", "2000"));
        call
    };
    vec![
        call("--test it --no-fail-fast -- --skip compile_fail"),
        call("--test random --no-fail-fast -- --nocapture"),
    ]
}

/// What the user has set, or this.
fn or_set(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.to_owned())
}
