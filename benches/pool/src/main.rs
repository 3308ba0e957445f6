//! tenure-pool beside its peers: all scenarios in one run, a table and a picture of what came out.
//!
//! `cargo run --release -p tenure-pool-bench` prints the table; `-- --write` also writes `BENCHMARKS.md` and
//! `benchmarks.svg` into `crates/tenure-pool`; `-- --quick` measures a tenth of the time.
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

fn main() -> ExitCode {
    let mut options = run::Options { quick: false };
    let mut write = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--write" => write = true,
            other => {
                eprintln!("unknown argument {other}; known are --quick and --write");
                return ExitCode::FAILURE;
            }
        }
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
