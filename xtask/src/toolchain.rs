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

/// The toolchain of the long checks: miri and sanitizers are in no other.
const NIGHTLY: &str = "nightly";
const NIGHTLY_COMPONENTS: [&str; 2] = ["miri", "rust-src"];
const NIGHTLY_USES: &str = "for miri and the thread sanitizer";

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

    /// A call of the nightly cargo, free of the same things.
    pub(crate) fn nightly(&self) -> Command {
        let mut cargo = self.cargo();
        cargo.env("RUSTUP_TOOLCHAIN", NIGHTLY);
        cargo
    }

    /// Checks that the nightly toolchain is there, with the components that the long checks need.
    pub(crate) fn check_nightly(&self) -> Result<(), Error> {
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "list", "--installed", "--toolchain", NIGHTLY]).stdin(Stdio::null());
        let Ok(output) = rustup.output() else {
            return Err(Error::Missing(format!(
                "some of these steps need rustup ({NIGHTLY_USES}); install it from https://rustup.rs"
            )));
        };
        let all = NIGHTLY_COMPONENTS.join(",");
        if !output.status.success() {
            return Err(Error::Missing(format!(
                "the nightly toolchain is missing ({NIGHTLY_USES}); run `rustup toolchain install {NIGHTLY} \
                 --profile minimal --component {all}`"
            )));
        }
        let missing = missing_components(&String::from_utf8_lossy(&output.stdout));
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(" ");
        Err(Error::Missing(format!(
            "the nightly toolchain lacks {missing} ({NIGHTLY_USES}); run `rustup component add {missing} --toolchain {NIGHTLY}`"
        )))
    }

    /// The triple of this machine, as the nightly compiler names it: what the sanitizer builds the standard library for.
    pub(crate) fn host(&self) -> String {
        let said = self.nightly_rustc_says();
        let host = said.lines().find_map(|line| line.strip_prefix("host: "));
        host.unwrap_or("x86_64-unknown-linux-gnu").to_owned()
    }

    fn nightly_rustc_says(&self) -> String {
        let mut rustup = Command::new("rustup");
        let output = rustup.args(["run", NIGHTLY, "rustc", "-vV"]).stdin(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
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

/// Those that are not in the list of what is installed, each on a line, some with the host's triple behind the name.
fn missing_components(installed: &str) -> Vec<&'static str> {
    let is_there = |component: &str| {
        let name_of = |line: &str| line == component || line.starts_with(&format!("{component}-"));
        installed.lines().map(str::trim).any(name_of)
    };
    NIGHTLY_COMPONENTS.into_iter().filter(|component| !is_there(component)).collect()
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
    use super::{Version, missing_components};

    #[test]
    fn components_are_known_with_and_without_a_triple() {
        assert_eq!(missing_components("cargo-x86_64-unknown-linux-gnu\nrust-src\n"), ["miri"]);
        assert_eq!(missing_components("miri-x86_64-unknown-linux-gnu\nrust-src\n"), [""; 0]);
        assert_eq!(missing_components("rust-std\n"), ["miri", "rust-src"]);
    }

    #[test]
    fn versions_are_read_and_ordered() {
        let stable = Version::parse("rustc 1.95.0 (59807616e 2026-04-14)");
        assert_eq!(stable, Some(Version(1, 95)));
        assert_eq!(Version::parse("rustc 1.101.0-nightly (abc 2026-09-01)"), Some(Version(1, 101)));
        assert_eq!(Version::parse("cargo 1.95.0"), None);
        assert!(Version(1, 101) > Version(1, 95));
    }
}
