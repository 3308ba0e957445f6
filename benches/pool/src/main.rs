//! tenure-pool beside its peers: all scenarios in one run, a table and a picture of what came out.
//!
//! `cargo run --release -p tenure-pool-bench -- --help` says how to use it.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    reason = "figures for people, on a 64-bit machine"
)]

mod alloc;
mod designs;
mod peers;
mod report;
mod run;
mod scenarios;
mod svg;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::run::Results;

const HELP: &str = "\
tenure-pool beside deadpool, asyncband, fastpool, bb8, sqlx's pool and mobc, in one run: what a get and return costs,
alone and in a crowd, what a waiter costs in memory, and what becomes of a spike, an outage and a storm of cancels.
Nothing is needed but the machine: the resources are numbers, and the server they come from is a pretended one.

Usage: cargo run --release -p tenure-pool-bench -- [OPTIONS]

It takes two and a half minutes on two cores, tells on the standard error what it is at, and prints the tables as
Markdown on the standard output. Other programs that run meanwhile make the figures worse.

Options:
  --quick     fewer turns and rounds: half a minute, to see whether something is much slower
  --write     also write the tables to crates/tenure-pool/BENCHMARKS.md, and a picture beside them
  -h, --help  print this
";

fn main() -> ExitCode {
    let mut options = run::Options { quick: false };
    let mut write = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--write" => write = true,
            "-h" | "--help" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("unknown argument {other}\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing; run it with --release");
    }
    let results = Results::measure(options);
    let text = report::markdown(&results);
    println!("{text}");
    if write {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crates/tenure-pool");
        let written = std::fs::write(folder.join("BENCHMARKS.md"), text)
            .and_then(|()| std::fs::write(folder.join("benchmarks.svg"), svg::picture(&results)));
        if let Err(error) = written {
            eprintln!("cannot write the report: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
