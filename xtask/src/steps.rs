//! What is checked, in order: the quick and the likely to fail come first.
//!
//! A check is added by a line in [`STEPS`] and the function that says which commands it is made of. A
//! step without commands has nothing to check in this workspace and is not shown.

use std::process::Command;
use std::time::Duration;

use crate::servers::Servers;
use crate::toolchain::Toolchain;
use crate::verify;
use crate::workspace::Workspace;

/// The packages some of whose tests want more than a compiler. These are in test targets of their own, which need
/// no more than their step gives them:
///
/// | target | finds |
/// |---|---|
/// | `servers` | the servers' addresses in `TENURE_POSTGRES_URL` and `TENURE_MYSQL_URL` |
/// | `restart` | the same; its tests stop the servers and see them start again |
/// | `browser` | the paths of a browser and its driver in `TENURE_CHROMIUM` and `TENURE_CHROMEDRIVER` |
const TESTED_APART: &[Apart] = &[
    Apart { package: "tenure-test", folder: "crates/tenure-test", plain: "--lib --test it --test museum" },
    Apart { package: "tenure-sqlx", folder: "crates/tenure-sqlx", plain: "--lib --test it" },
    Apart { package: "bank", folder: "apps/bank", plain: "--bins --test it" },
];

#[derive(Debug)]
struct Apart {
    package: &'static str,
    folder: &'static str,
    /// The targets that want no more than a compiler.
    plain: &'static str,
}

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What is there while it runs.
    pub(crate) needs: Needs,
    /// How long one of its commands may take.
    pub(crate) command_timeout: Duration,
    calls: fn(&Plan<'_>) -> Vec<Command>,
}

/// What a check needs besides a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Servers,
    Browser,
    /// The nightly toolchain, with its sources and miri.
    Nightly,
}

/// Which checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Those that every change has to pass.
    Test,
    /// Those that take hours.
    Verify,
}

/// What the steps are made from.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) toolchain: &'a Toolchain,
}

const STEPS: &[Step] = &[
    Step::new("format", "rustfmt has nothing to change", format),
    Step::new("clippy", "no warning, all targets, all features", clippy),
    Step::new("features", "each feature of each library compiles alone", features),
    Step::new("docs", "rustdoc has no warning", docs),
    Step::new("tests", "unit, integration and compile-fail tests", tests),
    Step::new("doctests", "the examples in the documentation", doctests),
    Step::new("examples", "each example prints what it promises", examples),
    Step::new("model", "loom models of what is shared between threads", model),
    Step::new("bank", "the bank, small: money conserved, nothing leaked", bank),
    Step::new("browser", "tests of pages in a real browser", in_browser).with(Needs::Browser),
    Step::new("servers", "tests on PostgreSQL and MariaDB", on_servers).with(Needs::Servers),
];

/// How long one command of a step may take, where the step says nothing else.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl Step {
    pub(crate) const fn new(
        name: &'static str,
        about: &'static str,
        calls: fn(&Plan<'_>) -> Vec<Command>,
    ) -> Self {
        Self { name, about, needs: Needs::Nothing, command_timeout: COMMAND_TIMEOUT, calls }
    }

    pub(crate) const fn with(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    pub(crate) const fn within(mut self, command_timeout: Duration) -> Self {
        self.command_timeout = command_timeout;
        self
    }
}

impl Plan<'_> {
    /// The steps that have something to check here, each with its commands.
    pub(crate) fn steps(&self, suite: Suite) -> Vec<(&'static Step, Vec<Command>)> {
        let steps = match suite {
            Suite::Test => STEPS,
            Suite::Verify => verify::STEPS,
        };
        steps.iter().map(|step| (step, (step.calls)(self))).filter(|(_, calls)| !calls.is_empty()).collect()
    }

    pub(crate) fn cargo(&self, words: &str) -> Command {
        let mut cargo = self.toolchain.cargo();
        cargo.current_dir(self.workspace.root());
        cargo.args(words.split_whitespace());
        cargo
    }

    /// As [`cargo`](Self::cargo), of the nightly toolchain.
    pub(crate) fn nightly(&self, words: &str) -> Command {
        let mut cargo = self.toolchain.nightly();
        cargo.current_dir(self.workspace.root());
        cargo.args(words.split_whitespace());
        cargo
    }

    /// Clippy, on which a warning is an error where the release is the one that counts.
    fn clippy(&self, words: &str) -> Command {
        let mut cargo = self.cargo("clippy --quiet");
        cargo.args(words.split_whitespace());
        if self.toolchain.is_measure() {
            cargo.args(["--", "-D", "warnings"]);
        }
        cargo
    }
}

fn format(plan: &Plan<'_>) -> Vec<Command> {
    // The files alone: `cargo fmt --all` shows the rest by mending it.
    vec![plan.cargo("fmt --all --check -- --files-with-diff --color never")]
}

fn clippy(plan: &Plan<'_>) -> Vec<Command> {
    vec![plan.clippy("--workspace --all-targets --all-features")]
}

/// All of a library's features together are what `clippy` has seen.
fn features(plan: &Plan<'_>) -> Vec<Command> {
    let mut calls = Vec::new();
    for library in plan.workspace.libraries() {
        if library.features.is_empty() {
            continue;
        }
        let bare = format!("--package {} --lib --no-default-features", library.name);
        calls.push(plan.clippy(&bare));
        for feature in library.features {
            calls.push(plan.clippy(&format!("{bare} --features {feature}")));
        }
    }
    calls
}

fn docs(plan: &Plan<'_>) -> Vec<Command> {
    let mut call = plan.cargo("doc --quiet --workspace --all-features --no-deps");
    if plan.toolchain.is_measure() {
        add_flags(&mut call, "RUSTDOCFLAGS", "-D warnings");
    }
    vec![call]
}

fn tests(plan: &Plan<'_>) -> Vec<Command> {
    let mut most = plan.cargo("test --workspace --exclude examples --all-features --tests --no-fail-fast");
    let mut calls = Vec::new();
    for Apart { package, plain, .. } in tested_apart(plan) {
        most.args(["--exclude", package]);
        calls.push(plan.cargo(&format!("test --package {package} --all-features {plain} --no-fail-fast")));
    }
    if !plan.toolchain.is_measure() {
        most.args(["--", "--skip", "compile_fail"]);
    }
    calls.insert(0, most);
    calls
}

fn doctests(plan: &Plan<'_>) -> Vec<Command> {
    vec![plan.cargo("test --workspace --all-features --doc --no-fail-fast")]
}

fn examples(plan: &Plan<'_>) -> Vec<Command> {
    if plan.workspace.has_package("examples") {
        vec![plan.cargo("test --package examples --test it --no-fail-fast")]
    } else {
        Vec::new()
    }
}

/// The flag has a name of its own, for `cfg(loom)` takes `tokio::signal` away, which the hub needs.
///
/// In release, for a model explores many thousand interleavings, and in a target folder of its own, for
/// the flag makes cargo build everything anew.
pub(crate) fn model(plan: &Plan<'_>) -> Vec<Command> {
    let target = plan.workspace.target_dir().join("loom");
    let call = |library: String| {
        let mut call = plan.cargo("test --release --lib --no-fail-fast");
        call.args(["--package", &library, "model"]);
        add_flags(&mut call, "RUSTFLAGS", "--cfg tenure_loom");
        call.env("CARGO_TARGET_DIR", &target);
        call
    };
    plan.workspace.modelled().into_iter().map(call).collect()
}

fn bank(plan: &Plan<'_>) -> Vec<Command> {
    if plan.workspace.has_package("apps/bank") {
        vec![plan.cargo("run --quiet --package bank -- --clients 16 --transfers 2000 --seed 1")]
    } else {
        Vec::new()
    }
}

fn on_servers(plan: &Plan<'_>) -> Vec<Command> {
    // Servers that someone else has started are not for us to stop.
    let targets = if Servers::are_all_ours() { ["servers", "restart"].as_slice() } else { &["servers"] };
    targets.iter().flat_map(|target| apart(plan, target)).collect()
}

fn in_browser(plan: &Plan<'_>) -> Vec<Command> {
    apart(plan, "browser")
}

/// Tests this target of all packages that have it.
fn apart(plan: &Plan<'_>, target: &str) -> Vec<Command> {
    let has_it = |apart: &&Apart| {
        let folder = plan.workspace.root().join(apart.folder).join("tests").join(target);
        folder.is_dir()
    };
    let call = |apart: &Apart| {
        let package = apart.package;
        plan.cargo(&format!("test --package {package} --all-features --test {target} --no-fail-fast"))
    };
    tested_apart(plan).filter(has_it).map(call).collect()
}

/// Those that are here.
fn tested_apart(plan: &Plan<'_>) -> impl Iterator<Item = &'static Apart> {
    TESTED_APART.iter().filter(|apart| plan.workspace.has_package(apart.folder))
}

/// Adds to the compiler flags that the user may have set.
pub(crate) fn add_flags(command: &mut Command, variable: &str, flags: &str) {
    let flags = match std::env::var(variable) {
        Ok(before) if !before.is_empty() => format!("{before} {flags}"),
        _ => flags.to_owned(),
    };
    command.env(variable, flags);
}
