//! Which compiler is used, and what a machine lacks.
//!
//! Warnings and the compiler's wording change from release to release. So one release is the measure:
//! on it warnings are errors and the messages of code that must not compile are compared. There is no
//! `rust-toolchain.toml`, which would make rustup download that release unasked; it is used where it is
//! installed, and any later one is good enough for everything else.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::Error;

/// The release whose warnings and messages count. `rust-version` in the root manifest is its lower end.
const MEASURE: Version = Version(1, 95);

/// The name under which rustup has it.
const MEASURE_NAME: &str = "1.95.0";

/// The cargo to call.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// To be chosen by name, where the default is another release.
    chosen: Option<&'static str>,
    /// The release in use.
    version: Version,
}

impl Toolchain {
    /// Finds the compiler.
    pub(crate) fn find() -> Result<Self, Error> {
        let Some(version) = version(None) else {
            return Err(Error::Missing("there is no `rustc`; install Rust from https://rustup.rs".to_owned()));
        };
        // Asked with `rustup run`, which never downloads.
        let (chosen, version) = if version != MEASURE && version_installed() {
            (Some(MEASURE_NAME), MEASURE)
        } else {
            (None, version)
        };
        if version < MEASURE {
            return Err(Error::Missing(format!(
                "Rust {version} is too old, {MEASURE} is needed; run `rustup update stable`"
            )));
        }
        Ok(Self { chosen, version })
    }

    /// Whether this is the release whose warnings and messages count.
    pub(crate) fn is_measure(&self) -> bool {
        self.version == MEASURE
    }

    /// What to tell a person about the compiler, if there is something to tell.
    pub(crate) fn remark(&self) -> Option<String> {
        match (self.chosen, self.is_measure()) {
            (Some(name), _) => Some(format!("using the installed toolchain {name}")),
            (None, true) => None,
            (None, false) => Some(format!(
                "this is Rust {}: warnings do not fail the run and compile-fail messages are not \
                 compared; `rustup toolchain install {MEASURE_NAME}` gives the full check",
                self.version
            )),
        }
    }

    /// A call of cargo, free of what the cargo that runs this program has put into the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if INHERITED.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO" {
                cargo.env_remove(name.as_ref());
            }
        }
        cargo.env("CARGO_TERM_COLOR", "never");
        if let Some(name) = self.chosen {
            cargo.env("RUSTUP_TOOLCHAIN", name);
        }
        cargo
    }

    /// Checks that rustfmt, clippy and a C compiler are there.
    pub(crate) fn check_tools(&self) -> Result<(), Error> {
        for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
            if !succeeds(self.cargo().args([tool, "--version"])) {
                let toolchain = match self.chosen {
                    Some(name) => format!(" --toolchain {name}"),
                    None => String::new(),
                };
                return Err(Error::Missing(format!(
                    "{component} is missing; run `rustup component add {component}{toolchain}`"
                )));
            }
        }
        let named = std::env::var_os("CC");
        let compilers = match &named {
            Some(compiler) => vec![PathBuf::from(compiler)],
            None => ["cc", "gcc", "clang"].map(PathBuf::from).to_vec(),
        };
        if compilers.iter().any(|compiler| succeeds(Command::new(compiler).arg("--version"))) {
            return Ok(());
        }
        Err(Error::Missing(
            "a C compiler is missing (SQLite is built from source); install one, on Debian with \
             `apt-get install gcc libc6-dev`, on macOS with `xcode-select --install`"
                .to_owned(),
        ))
    }
}

/// Variables that cargo sets for the program it runs.
const INHERITED: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// A release of Rust, without its patch level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// Reads `rustc 1.95.0 (59807616e 2026-04-14)`.
    fn parse(line: &str) -> Option<Self> {
        let number = line.strip_prefix("rustc ")?.split_whitespace().next()?;
        let number = number.split('-').next()?;
        let mut parts = number.split('.').map(str::parse);
        Some(Self(parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

/// The version of the default `rustc`, or of the toolchain of this name.
fn version(toolchain: Option<&str>) -> Option<Version> {
    let mut command = match toolchain {
        Some(name) => {
            let mut command = Command::new("rustup");
            command.args(["run", name, "rustc"]);
            command
        }
        None => Command::new("rustc"),
    };
    let output = command.arg("--version").stdin(Stdio::null()).output().ok()?;
    Version::parse(&String::from_utf8_lossy(&output.stdout))
}

fn version_installed() -> bool {
    version(Some(MEASURE_NAME)) == Some(MEASURE)
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_read_and_ordered() {
        let stable = Version::parse("rustc 1.95.0 (59807616e 2026-04-14)");
        assert_eq!(stable, Some(Version(1, 95)));
        assert_eq!(Version::parse("rustc 1.101.0-nightly (abc 2026-09-01)"), Some(Version(1, 101)));
        assert_eq!(Version::parse("cargo 1.95.0"), None);
        assert!(Version(1, 101) > Version(1, 95));
    }
}
