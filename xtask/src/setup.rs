//! What the tests need besides a compiler, and how it comes onto the machine.
//!
//! # Invariants
//! 1. Nothing is installed unasked: by `cargo xtask setup`, and by the other commands unless they are told `--no-install`.
//! 2. What will be done is said before it is done.
//! 3. Where a program is missing and may not be installed, the error says what to install.

use crate::browser;
use crate::error::Error;
use crate::install::{self, Installing};
use crate::interrupt::Interrupt;
use crate::servers;
use crate::steps::Needs;

/// Something that tests use, and the packages that it comes in.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) programs: &'static [&'static str],
    pub(crate) debian_packages: &'static [&'static str],
    /// The sentence for a machine on which it cannot be installed from here.
    pub(crate) cure: &'static str,
    /// The variables by which a user brings one; all are set, or none counts.
    pub(crate) variables: &'static [&'static str],
}

impl Tool {
    /// Returns `true` if the user has brought one.
    pub(crate) fn is_brought(&self) -> bool {
        self.variables.iter().all(|variable| std::env::var_os(variable).is_some())
    }
}

/// The tools of a step.
fn tools(needs: Needs) -> &'static [Tool] {
    match needs {
        Needs::Nothing | Needs::Nightly => &[],
        Needs::Servers => servers::TOOLS,
        Needs::Browser => browser::TOOLS,
    }
}

/// Makes sure that what these steps need is there, before the first of them runs.
///
/// # Errors
/// If something is missing and cannot, or may not, be installed from here.
pub(crate) fn ensure(
    needs: impl IntoIterator<Item = Needs>,
    installing: Installing,
    interrupt: &Interrupt,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let mut seen = Vec::new();
    for needs in needs {
        if seen.contains(&needs) {
            continue;
        }
        seen.push(needs);
        for tool in tools(needs) {
            install::ensure(tool, installing, interrupt, say)?;
        }
    }
    Ok(())
}

/// Installs all that is missing and says, for each tool, what was found and what is done.
///
/// # Errors
/// As [`ensure`], when everything has been looked at.
pub(crate) fn run(only_say: bool, interrupt: &Interrupt) -> Result<(), Error> {
    let mut say = |line: &str| println!("{line}");
    let mut first_error = None;
    for tool in [Needs::Servers, Needs::Browser].into_iter().flat_map(tools) {
        if tool.is_brought() {
            say(&format!("{}: using {}, as set", tool.name, tool.variables.join(" and ")));
        } else if install::is_there(tool) {
            say(&format!("{}: found", tool.name));
        } else if only_say {
            say(&format!("{}: missing; {}", tool.name, install::what_would_happen(tool)));
        } else if let Err(error) = install::ensure(tool, Installing::Allowed, interrupt, &mut say) {
            say(&format!("{}: {error}", tool.name));
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}
