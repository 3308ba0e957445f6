//! The cost of serving beside `axum::serve`, and of a stack for each request: in one run.
//!
//! `cargo run --release -p tenure-http-bench` prints all tables; with `-- --quick` in a tenth of the time, and with a name
//! only those: `call`, `instructions`, `throughput`, `idle`, `disconnect`.
//!
//! 1. `call`: what is the cost of a request, when nothing else is measured? The service is called in the process: timed, and
//!    where there is valgrind, its instructions are counted.
//! 2. `instructions`: how many take a server's requests, over a real connection?
//! 3. `throughput`: how many requests does a server answer, and how soon, at 1, 64 and 1,000 connections?
//! 4. `idle`: how much memory does a connection take that waits for its next request?
//! 5. `disconnect`: how soon has the exit of a request run whose client goes away; and the last one of 10,000 at once?
//!
//! `--soak 300` runs a server for so many seconds, and shows its memory and its descriptors meanwhile.
//!
//! `--serve WAY` serves one of them for another client, such as wrk, until its input ends: `axum`, `serve`, `nothing`, `layer`,
//! `layer-one`, `around`, `around-one`.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "figures for people")]

mod call;
mod clients;
mod disconnect;
mod idle;
mod instructions;
mod noop;
mod process;
mod soak;
mod throughput;
mod ways;

use std::error::Error;
use std::process::ExitCode;

use ways::Way;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        // This program as its own servers and clients, and what is looked at with valgrind.
        ["--serve", way] => process::serve(way),
        ["--hold", address, clients] => disconnect::hold(address, clients),
        ["--calls", way, requests] => call::calls(way, requests),
        ["--serving", way, requests] => instructions::serving(way, requests),
        ["--soak", seconds] => soak::soak(seconds).map_err(Into::into),
        ["--quick", ref which @ ..] => measure(10, which),
        ref which => measure(1, which),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn measure(share: u32, which: &[&str]) -> Result<(), Box<dyn Error>> {
    const KNOWN: [&str; 5] = ["call", "instructions", "throughput", "idle", "disconnect"];
    if let Some(unknown) = which.iter().find(|one| !KNOWN.contains(one)) {
        return Err(format!("{unknown} is unknown; known are --quick, {}", KNOWN.join(", ")).into());
    }
    let asked = |name| which.is_empty() || which.contains(&name);
    if asked("call") {
        call::measure(share);
    }
    if asked("instructions") {
        instructions::measure(&Way::ALL);
    }
    if asked("throughput") {
        throughput::measure(share as usize, &Way::ALL)?;
    }
    if asked("idle") {
        idle::measure(&[Way::Axum, Way::Serve, Way::Layer, Way::Around])?;
    }
    if asked("disconnect") {
        disconnect::one_by_one(share)?;
        disconnect::at_once(share);
    }
    Ok(())
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
