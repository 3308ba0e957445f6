//! One entry for all checks of this workspace: `cargo xtask test`, and `cargo xtask verify` for those that take hours.
//!
//! - [`cli`]: the command line, as words.
//! - [`steps`]: what is checked, in order; the place to add a check.
//! - [`verify`]: the checks that take long.
//! - [`runner`]: runs the steps and says how they went.
//! - [`process`]: one child at a time, in a process group that never outlives its step.
//! - [`servers`]: private database servers for as long as a step needs them.
//! - [`browser`]: a browser, likewise.
//! - [`setup`]: what these need; [`install`]: how what is missing comes onto the machine.
//! - [`tidy`]: checks the words of the documentation and the shape of the crates.
//! - [`toolchain`]: which compiler is used, and what a machine lacks.
#![forbid(unsafe_code)]

mod browser;
mod cli;
mod error;
mod install;
mod interrupt;
mod process;
mod results;
mod runner;
mod servers;
mod setup;
mod steps;
mod tidy;
mod toolchain;
mod verify;
mod workspace;

use std::process::ExitCode;

use cli::Cli;
use error::Error;
use interrupt::Interrupt;
use workspace::Workspace;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), Error> {
    let cli = Cli::parse(std::env::args().skip(1))?;
    let interrupt = Interrupt::listen()?;
    let workspace = Workspace::find()?;
    match cli {
        Cli::Help => {
            print!("{}", cli::HELP);
            Ok(())
        }
        Cli::List { suite } => runner::list(&workspace, suite),
        Cli::Check { suite, only, verbose, installing } => {
            runner::check(&workspace, &interrupt, &runner::Chosen { suite, only, verbose, installing })
        }
        Cli::Servers { command, installing } if command.is_empty() => servers::hold(&interrupt, installing),
        Cli::Servers { command, installing } => servers::hold_for(&command, &interrupt, installing),
        Cli::Tidy => tidy::check(&workspace),
        Cli::Setup { only_say } => setup::run(only_say, &interrupt),
    }
}
