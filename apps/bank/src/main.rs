//! A bank under fire, to show that whatever is entered is exited.
//!
//! A service over HTTP keeps accounts in SQLite, PostgreSQL or MySQL. Its own clients move money between them: some
//! disconnect half way, some time out, some are refused, some make it panic. When the last of them have sent their
//! requests, the service stops; and a signal may stop everything at any time. Whatever happens, each transaction is
//! committed or rolled back, each connection is returned and closed, and the sum of the money stays what it was. The
//! bank counts all that, and exits with 0 only if it is so.
//!
//! Where to read on: [`books::transfer`] is what an application looks like on tenure, [`service`] how it is served,
//! [`run`] how the parts nest, [`books::connections`] what a pool is told of its resource.
#![forbid(unsafe_code)]

mod books;
mod cli;
mod clients;
mod panics;
mod problem;
mod progress;
mod run;
mod service;
mod table;
mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = match cli::settings() {
        Ok(settings) => settings,
        Err(usage) => return usage.tell(),
    };
    panics::keep_injected_ones_quiet();
    run::to_the_end(&settings)
}
