//! A bank under fire, to show that whatever is entered is exited.
//!
//! Clients move money between accounts in an SQLite database. Some transfers are dropped half way, some time out, some
//! are refused, some panic, and Ctrl-C may stop everything at any time. Whatever happens, each transaction is
//! committed or rolled back, each connection is returned and closed, and the sum of the money stays what it was. The
//! bank counts all that, and exits with 0 only if it is so.
//!
//! Where to read on: [`transfer`] is what an application looks like on tenure, [`run`] how its parts nest,
//! [`connections`] what a pool is told of its resource.
#![forbid(unsafe_code)]

mod account;
mod audit;
mod cli;
mod client;
mod connections;
mod database;
mod order;
mod panics;
mod problem;
mod progress;
mod run;
mod table;
mod tally;
mod transfer;

use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = match cli::settings() {
        Ok(settings) => settings,
        Err(usage) => return usage.tell(),
    };
    panics::keep_injected_ones_quiet();
    run::to_the_end(&settings)
}
