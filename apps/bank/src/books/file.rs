//! An SQLite database to keep the books in: a file that is given, or one in a temporary folder. Checked before use.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tempfile::TempDir;
use tenure::{AsyncExit, Outcome, with};
use tenure_sqlx::sqlite;

use super::ledger::{self, Ledger as _, Owner};
use crate::problem::{FOREIGN, Problem};

/// The bank's database file. The temporary folder that it may be in is removed at the exit.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    path: PathBuf,
    keep: Keep,
}

/// How long the file is kept.
#[derive(Debug)]
enum Keep {
    /// It was given, and stays. It is locked, so that two banks do not count each other's money. SQLite locks in
    /// another way and is not in the way of this.
    File { _lock: File },
    /// It goes with its folder.
    Folder(TempDir),
}

impl DatabaseFile {
    /// Claims the file at this path, or makes a temporary folder for one.
    pub(crate) async fn claim(path: Option<&Path>) -> Result<Self, Problem> {
        match path {
            Some(path) => Self::kept(path),
            None => Self::temporary(),
        }
    }

    fn kept(path: &Path) -> Result<Self, Problem> {
        let lock = lock(path).map_err(|reason| Problem::unusable(path.display(), reason))?;
        Ok(Self { path: path.to_owned(), keep: Keep::File { _lock: lock } })
    }

    fn temporary() -> Result<Self, Problem> {
        let folder = tempfile::Builder::new().prefix("bank-").tempdir().map_err(Problem::Folder)?;
        Ok(Self { path: folder.path().join("bank.db"), keep: Keep::Folder(folder) })
    }

    /// Makes what is missing in it.
    pub(crate) async fn prepare(&self) -> Result<(), Problem> {
        let prepared = match self.owner().await {
            Ok(Owner::BankOrNobody) => {
                with(sqlite::connect(self.options()), async |connection| ledger::prepare(connection).await)
                    .await
            }
            Ok(Owner::Other) => Err(Problem::unusable(self.path.display(), FOREIGN)),
            Err(problem) => Err(problem),
        };
        prepared.map_err(|problem| problem.at(self.path.display()))
    }

    /// Looks at the database before it is connected to for good, which changes its journal mode for good.
    async fn owner(&self) -> Result<Owner, Problem> {
        with(sqlite::connect(self.plain_options()), async |connection| Ok(Sqlite::owner(connection).await?))
            .await
    }

    /// How to connect.
    pub(crate) fn options(&self) -> SqliteConnectOptions {
        self.plain_options()
            .journal_mode(SqliteJournalMode::Wal)
            // With a write-ahead log, what is committed survives a crash of the process.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
    }

    fn plain_options(&self) -> SqliteConnectOptions {
        // SQLite gives `:memory:` and `file:…` a meaning of their own, unless they are in a folder.
        let path = Path::new(".").join(&self.path);
        SqliteConnectOptions::new().filename(path).create_if_missing(true)
    }
}

/// How long SQLite itself waits for another writer. Short, because it blocks the connection's thread
/// and is not fair; the transaction's own retries do the rest.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1);

impl AsyncExit for DatabaseFile {
    type Error = Problem;

    async fn exit(self, _outcome: Outcome<'_>) -> Result<(), Problem> {
        match self.keep {
            Keep::Folder(folder) => folder.close().map_err(Problem::Folder),
            Keep::File { .. } => Ok(()),
        }
    }
}

/// Opens and locks a file that can be the bank's database, as far as that can be seen from outside. Else says in a few
/// words why it cannot.
fn lock(path: &Path) -> Result<File, String> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if path.exists() && !path.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if !folder.is_dir() {
        return Err("its folder does not exist".to_owned());
    }
    // SQLite puts its log beside the file, so the folder has to be writable, not just the file.
    tempfile::tempfile_in(folder).map_err(|error| format!("its folder cannot be written to: {error}"))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| format!("it cannot be read and written: {error}"))?;
    let header = header(&file).map_err(|error| format!("it cannot be read: {error}"))?;
    // An empty file is an empty database.
    if !header.is_empty() && header != HEADER {
        return Err("it is no SQLite database".to_owned());
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err("another bank is using it".to_owned()),
        Err(TryLockError::Error(error)) => Err(format!("it cannot be locked: {error}")),
    }
}

/// What an SQLite database begins with.
const HEADER: &[u8] = b"SQLite format 3\0";

fn header(file: &File) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut header)?;
    Ok(header)
}
