//! How many instructions does one operation take?
//!
//! It does one operation so many times, in a task of a current-thread runtime, and nothing else; so the difference
//! between two runs under callgrind, divided by the difference in times, is the count of one:
//!
//! ```sh
//! cargo build --release -p benches-hub --bin count
//! target/release/count                    # the names of the operations
//! target/release/count --instructions     # a table of all, by running itself under valgrind
//! target/release/count --instructions plain_with generator
//! valgrind --tool=callgrind target/release/count plain_with 10000 && callgrind_annotate callgrind.out.*
//! ```
//!
//! `--outside` as a third argument of a single operation does it in `block_on` itself, outside of any task.

use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};

use benches_hub::{OPERATIONS, Operation, find};
use tokio::runtime::{Builder, Runtime};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("count: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        [] => {
            OPERATIONS.iter().for_each(|operation| println!("{}", operation.name));
            Ok(())
        }
        ["--instructions", names @ ..] => table(names),
        [name, times] => repeat(named(name)?, times.parse()?, false),
        [name, times, "--outside"] => repeat(named(name)?, times.parse()?, true),
        _ => Err("usage: count [--instructions [NAME…] | NAME TIMES [--outside]]".into()),
    }
}

fn named(name: &str) -> Result<&'static Operation, Failure> {
    find(name).ok_or_else(|| format!("there is no operation `{name}`").into())
}

fn repeat(operation: &'static Operation, times: u64, outside: bool) -> Result<(), Failure> {
    let runtime: Runtime = Builder::new_current_thread().build()?;
    if outside {
        runtime.block_on(operation.repeat(times));
    } else {
        runtime.block_on(async { tokio::spawn(operation.repeat(times)).await })?;
    }
    Ok(())
}

fn table(names: &[&str]) -> Result<(), Failure> {
    let chosen: Vec<&Operation> = if names.is_empty() {
        OPERATIONS.iter().collect()
    } else {
        names.iter().map(|name| named(name)).collect::<Result<_, _>>()?
    };
    println!("{:<18} {:>12} {:>12}", "operation", "instructions", "each tenure");
    for operation in chosen {
        let instructions = instructions_of(operation)?;
        let tenures = u32::try_from(operation.tenures.max(1))?;
        println!("{:<18} {instructions:>12.0} {:>12.0}", operation.name, instructions / f64::from(tenures));
    }
    Ok(())
}

/// The instructions of one operation: the difference of two runs.
fn instructions_of(operation: &Operation) -> Result<f64, Failure> {
    let tenures = u32::try_from(operation.tenures.max(1))?;
    let few = (1_000 / tenures).max(2);
    let many = few * 3;
    let more = instructions_of_run(operation, many)?;
    let less = instructions_of_run(operation, few)?;
    Ok((more - less) / f64::from(many - few))
}

fn instructions_of_run(operation: &Operation, times: u32) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([operation.name, &times.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    match collected {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => Err(format!("valgrind failed: {said}").into()),
    }
}
