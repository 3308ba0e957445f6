//! A bank to be started, in a folder of its own, and what came of it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The path of the binary.
pub(crate) const BANK: &str = env!("CARGO_BIN_EXE_bank");

/// A folder in which banks are started. Their temporary folders are in `temporary` inside it.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("temporary")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that starts a bank here.
    pub(crate) fn bank<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(BANK);
        command.args(arguments).current_dir(self.folder.path()).env("TMPDIR", self.path("temporary"));
        command
    }

    /// Runs a bank here to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        Ended::of(&self.bank(arguments).output().unwrap())
    }

    /// Starts a bank here that goes on until it is stopped.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Child {
        let endless = ["--transfers", "1000000000"];
        let mut command = self.bank(arguments);
        command.args(endless).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a bank here that only serves, on a free port.
    pub(crate) fn serve<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Service {
        let mut command = self.bank(arguments);
        command.args(["--serve", "127.0.0.1:0"]);
        Service::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Checks that no temporary folder is left.
    #[track_caller]
    pub(crate) fn assert_no_temporary_folder(&self) {
        let left: Vec<_> = list(&self.path("temporary"));
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// A bank that serves. Killed, if it has not been stopped.
pub(crate) struct Service {
    bank: Option<Child>,
    output: BufReader<ChildStdout>,
    /// Its host and port.
    pub(crate) address: String,
}

impl Service {
    fn of(mut bank: Child) -> Self {
        let mut output = BufReader::new(bank.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.strip_prefix("serving on http://").and_then(|line| line.split(',').next());
        let Some(address) = address.map(str::to_owned) else {
            panic!("{line:?}: {:?}", Ended::of(&bank.wait_with_output().unwrap()));
        };
        Self { bank: Some(bank), output, address }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.bank.as_ref().unwrap(), name);
    }

    /// What came of it, after a signal.
    pub(crate) fn ended(mut self) -> Ended {
        let mut table = String::new();
        self.output.read_to_string(&mut table).unwrap();
        let output = self.bank.take().unwrap().wait_with_output().unwrap();
        Ended { table, ..Ended::of(&output) }
    }

    /// Waits until its state, as it tells it, is as `wanted`.
    #[track_caller]
    pub(crate) fn wait_for(&self, wanted: impl Fn(&serde_json::Value) -> bool) {
        wait_until(|| wanted(&super::http::get(&self.address, "/state").json()));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut bank) = self.bank.take() {
            // It may have ended by itself.
            let _ = bank.kill();
            let _ = bank.wait();
        }
    }
}

/// Sends a process a signal.
pub(crate) fn signal(process: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until `happened`.
#[track_caller]
pub(crate) fn wait_until(happened: impl Fn() -> bool) {
    const LIMIT: Duration = Duration::from_secs(60);
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < LIMIT, "it did not happen");
        thread::yield_now();
    }
}

/// The paths in a folder.
pub(crate) fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// What came of a bank.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) table: String,
    pub(crate) complaints: String,
}

/// Complaints of the bank itself, and panics: without the library's lines on what did not start, and on the failures of
/// clients that were cancelled.
fn complaints(told: &str) -> String {
    let by_library = ["tenure: it did not start: ", "tenure: body failed and nobody was there to be told: "];
    let own = |line: &&str| !by_library.iter().any(|beginning| line.starts_with(beginning));
    told.split_inclusive('\n').filter(own).collect()
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            table: String::from_utf8(output.stdout.clone()).unwrap(),
            complaints: complaints(&String::from_utf8(output.stderr.clone()).unwrap()),
        }
    }

    /// The sentences of the bank itself: without what the library and the driver say of exits that met a disk or a server
    /// that was gone, in the background, where no caller was left to be told.
    pub(crate) fn sentences(&self) -> Vec<&str> {
        self.complaints.lines().filter(|line| line.starts_with("bank: ")).collect()
    }

    /// The value in the row of this label.
    #[track_caller]
    pub(crate) fn value(&self, label: &str) -> &str {
        let row = self.table.lines().map(str::trim).find_map(|row| row.strip_prefix(label));
        row.unwrap_or_else(|| panic!("no row {label:?} in {self:?}")).trim()
    }

    #[track_caller]
    pub(crate) fn count(&self, label: &str) -> u64 {
        self.value(label).replace(',', "").parse().unwrap()
    }

    /// Checks the guarantees, which hold whether a bank has run to its end or not.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) {
        assert_eq!(self.value("sum of money before"), "1,000,000.00");
        assert_eq!(self.value("sum of money after"), "1,000,000.00");
        assert_eq!(self.count("exits lost"), 0);
        assert_eq!(self.count("open transactions left"), 0);
        assert_eq!(self.count("connections opened"), self.count("connections closed"));
        assert!(self.count("exits run") > 0);
    }

    /// Checks that it ended with this code, no table, and this sentence alone.
    #[track_caller]
    pub(crate) fn assert_refused(&self, code: i32, sentence: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.complaints, format!("bank: {sentence}\n"));
        assert_eq!(self.table, "");
    }
}
