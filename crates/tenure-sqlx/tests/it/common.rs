//! A database in a folder of its own, and a witness that looks at it from outside.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;
use tenure::{IncidentKind, with};
use tenure_sqlx::sqlite::{self, Connection, Transaction};
use tenure_test::Recorder;
use tokio::runtime::{Builder, Runtime};

pub(crate) use crate::dropped::drop_at;
use crate::failure::Failure;

/// A database file with the empty tables `notes` and, for commits that fail, `children` with a deferred
/// foreign key.
pub(crate) struct TempDb {
    folder: TempDir,
}

impl TempDb {
    pub(crate) async fn new() -> Self {
        let db = Self { folder: tempfile::tempdir().unwrap() };
        let mut connection = db.options().create_if_missing(true).connect().await.unwrap();
        connection
            .execute(
                "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
                 CREATE TABLE children (
                     parent INTEGER REFERENCES notes DEFERRABLE INITIALLY DEFERRED
                 );
                 CREATE TABLE numbers (n INTEGER);",
            )
            .await
            .unwrap();
        connection.close().await.unwrap();
        db
    }

    /// In WAL mode, with a short wait for a busy database.
    pub(crate) fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(self.folder.path().join("test.db"))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_millis(1))
    }

    pub(crate) async fn connect(&self) -> Connection {
        sqlite::connect(self.options()).await.unwrap()
    }

    /// The texts that are committed, read on a connection that is closed again.
    pub(crate) async fn notes(&self) -> Vec<String> {
        let mut witness = self.witness().await;
        let notes = witness.notes().await;
        witness.close().await;
        notes
    }

    /// Whether there is a write-ahead log. The last connection that closes removes it.
    pub(crate) fn has_log(&self) -> bool {
        let mut log = self.options().get_filename().as_os_str().to_owned();
        log.push("-wal");
        std::path::Path::new(&log).exists()
    }

    pub(crate) async fn witness(&self) -> Witness {
        Witness(self.options().connect().await.unwrap())
    }
}

/// A connection of its own, which sees what is committed and what is locked.
pub(crate) struct Witness(pub(crate) SqliteConnection);

impl Witness {
    /// The texts that are committed, in order of insertion.
    pub(crate) async fn notes(&mut self) -> Vec<String> {
        sqlx::query_scalar("SELECT text FROM notes ORDER BY id").fetch_all(&mut self.0).await.unwrap()
    }

    /// Whether somebody has the lock for writing.
    pub(crate) async fn is_locked(&mut self) -> bool {
        match self.0.execute("BEGIN IMMEDIATE").await {
            Ok(_) => {
                self.0.execute("ROLLBACK").await.unwrap();
                false
            }
            Err(_) => true,
        }
    }

    pub(crate) async fn close(self) {
        self.0.close().await.unwrap();
    }

    pub(crate) async fn lock(&mut self) {
        self.0.execute("BEGIN IMMEDIATE").await.unwrap();
    }

    pub(crate) async fn unlock(&mut self) {
        self.0.execute("ROLLBACK").await.unwrap();
    }
}

/// Runs `run` with 0, 1, 2, … until it says that what it was to drop at that suspension ended before; but at least up to
/// `least`. On a busy machine the database's thread may answer before it is asked, and a run have fewer suspensions.
pub(crate) async fn at_every_suspension(least: usize, mut run: impl AsyncFnMut(usize) -> bool) {
    let mut n = 0;
    while !run(n).await || n < least {
        n += 1;
    }
}

/// Polls `future` until it is suspended for the n-th time, counted from zero, and leaves it there.
pub(crate) async fn suspended_at<F: Future>(n: usize, mut future: Pin<&mut F>) {
    let ended = drop_at(n, poll_fn(|context| future.as_mut().poll(context))).await;
    assert!(ended.is_none(), "it ended before");
}

/// Makes each step of each statement take a moment, so that no answer is there before it is asked for: every wait for
/// the database is a suspension, on every machine.
pub(crate) async fn slow_down(connection: &mut SqliteConnection) {
    let mut handle = connection.lock_handle().await.unwrap();
    handle.set_progress_handler(1, || {
        std::thread::sleep(STEP);
        true
    });
}

const STEP: Duration = Duration::from_micros(100);

/// Waits for all that was handed over, and checks that nothing went wrong and nothing is left.
#[track_caller]
pub(crate) fn drained() -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let report = tenure::drain(DRAIN_LIMIT).await;
        assert!(report.open.is_empty(), "at {caller}: {report:?}");
        for incident in &report.incidents {
            // The error of a body whose caller was dropped during the exit.
            let is_expected = incident.kind == IncidentKind::BodyUnclaimed;
            assert!(is_expected, "at {caller}: {incident}");
        }
    }
}

const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Runs a test on a runtime of each flavour.
pub(crate) fn on_both_flavours(test: impl AsyncFn()) {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test());
    }
}

/// Writes a note.
pub(crate) async fn note(connection: &mut SqliteConnection, text: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO notes (text) VALUES (?)").bind(text).execute(connection).await.map(drop)
}

/// Checks that a connection is clean: neither sqlx nor SQLite has a transaction open on it.
pub(crate) async fn assert_clean(connection: &mut Connection) {
    let connection = connection.ready().await.unwrap();
    connection.ping().await.unwrap();
    assert!(!connection.is_in_transaction(), "sqlx counts a transaction");
    connection.execute("BEGIN").await.expect("no transaction is open");
    connection.execute("ROLLBACK").await.unwrap();
}

/// A database for a proof, which makes its own runtimes.
pub(crate) fn prepared() -> Arc<TempDb> {
    Arc::new(Runtime::new().unwrap().block_on(TempDb::new()))
}

/// What a proof does in a transaction: writes two notes about an attempt, one of them under a savepoint.
pub(crate) async fn write_both(transaction: &mut Transaction, recorder: &Recorder) -> Result<(), Failure> {
    sqlx::query("DELETE FROM notes").execute(&mut **transaction).await?;
    note(transaction, "first").await?;
    recorder.step("written").await?;
    with(transaction.savepoint(), async |savepoint| {
        note(savepoint, "second").await?;
        recorder.step("written under a savepoint").await?;
        Ok::<_, Failure>(())
    })
    .await?;
    recorder.step("released").await?;
    Ok(())
}
