//! A bank to be started, in a folder of its own, and what came of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

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

    /// Checks that no temporary folder is left.
    #[track_caller]
    pub(crate) fn assert_no_temporary_folder(&self) {
        let left: Vec<_> = list(&self.path("temporary"));
        assert!(left.is_empty(), "left behind: {left:?}");
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

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            table: String::from_utf8(output.stdout.clone()).unwrap(),
            complaints: String::from_utf8(output.stderr.clone()).unwrap(),
        }
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
