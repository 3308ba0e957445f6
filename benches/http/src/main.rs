//! What a stack for each request costs: the same handler with the layer and without, in one run.
//!
//! `cargo run --release -p tenure-http-bench` prints three tables; `-- --quick` measures a tenth of the time.
//!
//! `-- --soak 300` runs a server for so many seconds, and shows its memory and its descriptors meanwhile.
//!
//! 1. What is the cost of a request, when nothing else is measured? The service is called in the process: timed, and where
//!    there is valgrind, its instructions are counted.
//! 2. What is left of the throughput of a server, over real connections?
//! 3. How long does it take until the last exit has run, when 10,000 clients disconnect at once?
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "figures for people")]

mod call;
mod disconnect;
mod noop;
mod soak;
mod throughput;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let share = match *arguments {
        [] => 1,
        ["--quick"] => 10,
        // This program as its own clients.
        ["--hold", address, clients] => match disconnect::hold(address, clients) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the clients: {error}");
                return ExitCode::FAILURE;
            }
        },
        ["--soak", seconds] => match soak::soak(seconds) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the soak: {error}");
                return ExitCode::FAILURE;
            }
        },
        // One way alone, for valgrind.
        ["--calls", way, requests] => match call::calls(way, requests) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{way} {requests}: {error}");
                return ExitCode::FAILURE;
            }
        },
        ["--serving", server, requests] => match throughput::serving(server, requests) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{server} {requests}: {error}");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("unknown arguments {arguments:?}; known is --quick");
            return ExitCode::FAILURE;
        }
    };
    call::measure(share);
    throughput::measure(share);
    disconnect::measure(share);
    ExitCode::SUCCESS
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
