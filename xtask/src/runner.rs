//! Runs the steps and says how they went, one line each.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::browser;
use crate::error::Error;
use crate::install::Installing;
use crate::interrupt::Interrupt;
use crate::process::{self, Ended, Observer};
use crate::results::Results;
use crate::servers::Servers;
use crate::setup;
use crate::steps::{Needs, Plan, Step, Suite};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Says what the steps are.
pub(crate) fn list(workspace: &Workspace, suite: Suite) -> Result<(), Error> {
    let toolchain = &Toolchain::find()?;
    for (step, _) in (Plan { workspace, toolchain }).steps(suite) {
        say(format_args!("{:<10} {}\n", step.name, step.about));
    }
    Ok(())
}

/// What to check, and how.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) suite: Suite,
    /// The names of the steps; all, if there is none.
    pub(crate) only: Vec<String>,
    pub(crate) verbose: bool,
    pub(crate) installing: Installing,
}

/// Runs the steps that are chosen, and stops at the first that fails.
pub(crate) fn check(workspace: &Workspace, interrupt: &Interrupt, chosen: &Chosen) -> Result<(), Error> {
    let toolchain = &Toolchain::find()?;
    toolchain.check_tools()?;
    if let Some(remark) = toolchain.remark() {
        say(format_args!("note: {remark}\n"));
    }
    let steps = named(Plan { workspace, toolchain }.steps(chosen.suite), &chosen.only)?;
    let needs = steps.iter().map(|(step, _)| step.needs);
    setup::ensure(needs, chosen.installing, interrupt, &mut |line| say(format_args!("{line}\n")))?;
    if steps.iter().any(|(step, _)| step.needs == Needs::Nightly) {
        toolchain.check_nightly()?;
    }
    let start = Instant::now();
    let mut results = Results::default();
    let count = steps.len();
    let mut runner = Runner { workspace, interrupt, verbose: chosen.verbose, count, results: &mut results };
    let ended = steps
        .into_iter()
        .enumerate()
        .try_for_each(|(index, (step, calls))| runner.step(index + 1, step, calls));
    say(format_args!("{} in all\n", Elapsed(start.elapsed())));
    if !results.is_empty() {
        say(format_args!("{results}\n"));
    }
    ended
}

type Planned = (&'static Step, Vec<Command>);

/// The steps that were asked for, in their own order; all, if none was named.
fn named(steps: Vec<Planned>, only: &[String]) -> Result<Vec<Planned>, Error> {
    let names: Vec<&str> = steps.iter().map(|(step, _)| step.name).collect();
    if let Some(wrong) = only.iter().find(|name| !names.contains(&name.as_str())) {
        let names = names.join(", ");
        return Err(Error::Usage(format!("no step `{wrong}` here, there are {names}")));
    }
    Ok(steps
        .into_iter()
        .filter(|(step, _)| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect())
}

struct Runner<'a> {
    workspace: &'a Workspace,
    interrupt: &'a Interrupt,
    verbose: bool,
    count: usize,
    results: &'a mut Results,
}

impl Runner<'_> {
    fn step(&mut self, number: usize, step: &Step, calls: Vec<Command>) -> Result<(), Error> {
        let title = format!("[{number}/{}] {}", self.count, step.name);
        let mut view = View::open(self.workspace, title, step.name, self.verbose)?;
        let ended = self.calls(step, calls, &mut view);
        self.results.add(view.results);
        match &ended {
            Ok(()) => view.finish("ok"),
            Err(Error::Interrupted { .. }) => view.finish("interrupted"),
            Err(_) => {
                view.finish("FAILED");
                view.show_output();
            }
        }
        ended
    }

    fn calls(&self, step: &Step, calls: Vec<Command>, view: &mut View) -> Result<(), Error> {
        let name = step.name;
        // Stopped when this is left, however it is left.
        let mut servers = None;
        let mut variables: Vec<(&str, OsString)> = Vec::new();
        match step.needs {
            // Whether the nightly toolchain is there was asked before the first step.
            Needs::Nothing | Needs::Nightly => {}
            Needs::Servers => {
                let started = servers.insert(Servers::start(self.interrupt, &mut |line| view.line(line))?);
                variables.extend(started.addresses().map(|(name, address)| (name, address.into())));
            }
            Needs::Browser => {
                let found = browser::variables()?;
                variables.extend(found.map(|(name, path)| (name, path.into())));
            }
        }
        for mut call in calls {
            view.line(&format!("$ {}", words(&call)));
            call.envs(variables.iter().map(|(name, value)| (name, value)));
            let why = match process::run(&mut call, step.command_timeout, self.interrupt, view)? {
                Ended::Exited(status) if status.success() => continue,
                Ended::Exited(status) => format!("failed: `{}` ended with {status}", words(&call)),
                Ended::OutOfTime(limit) => {
                    format!("took longer than {}: `{}`", Elapsed(limit), words(&call))
                }
            };
            return Err(Error::Step { name, why });
        }
        Ok(())
    }
}

/// A command as a person would type it.
fn words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The line of a step, and what its commands print.
struct View {
    title: String,
    start: Instant,
    log: File,
    log_path: PathBuf,
    output: Vec<String>,
    results: Results,
    closing_lines: Vec<String>,
    mode: Mode,
    shown: Option<Duration>,
}

/// How a step is shown while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The line is written again as time passes.
    Terminal,
    /// The line is begun, and ended when the step has ended.
    Plain,
    /// All output is shown.
    Verbose,
}

impl View {
    fn open(workspace: &Workspace, title: String, name: &str, verbose: bool) -> Result<Self, Error> {
        let folder = workspace.target_dir().join("xtask");
        let log_path = folder.join(format!("{name}.log"));
        let log = std::fs::create_dir_all(&folder)
            .and_then(|()| File::create(&log_path))
            .map_err(Error::io(format!("write {}", log_path.display())))?;
        let mode = match (verbose, std::io::stdout().is_terminal()) {
            (true, _) => Mode::Verbose,
            (false, true) => Mode::Terminal,
            (false, false) => Mode::Plain,
        };
        let view = Self {
            start: Instant::now(),
            log,
            log_path,
            output: Vec::new(),
            results: Results::default(),
            closing_lines: Vec::new(),
            mode,
            shown: None,
            title,
        };
        match mode {
            Mode::Terminal | Mode::Plain => say(format_args!("{} … ", view.title)),
            Mode::Verbose => say(format_args!("{} …\n", view.title)),
        }
        Ok(view)
    }

    fn finish(&mut self, how: &str) {
        let elapsed = Elapsed(self.start.elapsed());
        match self.mode {
            Mode::Terminal => say(format_args!("\r{} … {how} ({elapsed})\n", self.title)),
            Mode::Plain => say(format_args!("{how} ({elapsed})\n")),
            Mode::Verbose => say(format_args!("{} … {how} ({elapsed})\n", self.title)),
        }
        if self.mode != Mode::Verbose {
            for line in &self.closing_lines {
                say(format_args!("{line}\n"));
            }
        }
    }

    /// Shows what was printed, without what says nothing about the failure.
    fn show_output(&self) {
        if self.mode != Mode::Verbose {
            let lines = self.output.iter().map(String::as_str).filter(|line| !is_noise(line));
            let lines: Vec<&str> = lines.collect();
            let (first, left_out, last) = shortened(&lines);
            let gap = format!("… {left_out} lines …");
            let gap = (left_out > 0).then_some(gap.as_str());
            for line in first.iter().copied().chain(gap).chain(last.iter().copied()) {
                say(format_args!("    {line}\n"));
            }
        }
        say(format_args!("all output is in {}\n", self.log_path.display()));
    }
}

impl Observer for View {
    fn line(&mut self, line: &str) {
        // The log is a help; a full disk shows itself where it matters.
        let _ = writeln!(self.log, "{line}");
        if self.mode == Mode::Verbose {
            say(format_args!("{line}\n"));
        }
        if let Some(results) = Results::parse(line) {
            self.results.add(results);
            if !results.is_empty() {
                self.closing_lines.push(line.to_owned());
            }
        }
        self.output.push(line.to_owned());
    }

    fn tick(&mut self) {
        let seconds = Duration::from_secs(self.start.elapsed().as_secs());
        if self.mode == Mode::Terminal && self.shown != Some(seconds) {
            self.shown = Some(seconds);
            say(format_args!("\r{} … {}", self.title, Elapsed(seconds)));
        }
    }
}

/// How many lines of a failure are shown from its beginning, where a compiler says what is wrong.
const FIRST_LINES: usize = 150;

/// How many from its end, where a test runner does.
const LAST_LINES: usize = 250;

/// The beginning, how many lines are left out, and the end.
fn shortened<T>(lines: &[T]) -> (&[T], usize, &[T]) {
    match lines.len().checked_sub(FIRST_LINES + LAST_LINES) {
        None | Some(0) => (lines, 0, &[]),
        Some(left_out) => (&lines[..FIRST_LINES], left_out, &lines[FIRST_LINES + left_out..]),
    }
}

/// Whether a line tells of progress alone.
fn is_noise(line: &str) -> bool {
    const PROGRESS: [&str; 8] = [
        "Compiling ",
        "Checking ",
        "Documenting ",
        "Downloaded ",
        "Downloading ",
        "Locking ",
        "Updating ",
        "Blocking waiting for file lock",
    ];
    let line = line.trim_start();
    PROGRESS.iter().any(|word| line.starts_with(word)) || (line.starts_with("test ") && line.ends_with(" ok"))
}

/// Prints at once. Nobody may be listening any more; the run goes on for its exit code.
fn say(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

/// A time as a person says it.
struct Elapsed(Duration);

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            seconds @ 1..120 => write!(f, "{seconds} s"),
            seconds => write!(f, "{} min {} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Elapsed, FIRST_LINES, LAST_LINES, is_noise, shortened};

    #[test]
    fn long_output_loses_its_middle() {
        let shown = FIRST_LINES + LAST_LINES;
        let lines: Vec<usize> = (0..shown + 7).collect();
        assert_eq!(shortened(&lines[..shown]), (&lines[..shown], 0, &[][..]));
        let (first, left_out, last) = shortened(&lines);
        assert_eq!((first.last(), left_out, last[0]), (Some(&(FIRST_LINES - 1)), 7, FIRST_LINES + 7));
        assert_eq!(last.len(), LAST_LINES);
    }

    #[test]
    fn times_are_said_in_fitting_units() {
        for (millis, said) in [(420, "0.4 s"), (12_900, "12 s"), (125_000, "2 min 5 s")] {
            assert_eq!(Elapsed(Duration::from_millis(millis)).to_string(), said);
        }
    }

    #[test]
    fn what_tells_of_a_failure_is_shown() {
        assert!(is_noise("   Compiling tenure v0.1.0"));
        assert!(is_noise("test law_01_order ... ok"));
        assert!(!is_noise("test law_01_order ... FAILED"));
        assert!(!is_noise("error[E0308]: mismatched types"));
    }
}
