//! What SQLite does in its own way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(feature = "pool")]
use sqlx::Row as _;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteError, SqliteTransactionManager as Manager};
use sqlx::{Connection as _, Executor as _, SqlSafeStr as _, SqlStr, Sqlite, SqliteConnection};
use sqlx_core::transaction::TransactionManager as _;

use crate::Begin;
#[cfg(feature = "pool")]
use crate::backend::Role;
use crate::backend::{Backend, Driver, Restored};
use crate::line::send_off;

/// When a transaction takes SQLite's locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are all that SQLite has")]
pub enum Mode {
    /// `BEGIN DEFERRED`: a lock for reading at the first read, one for writing at the first write.
    #[default]
    Deferred,
    /// `BEGIN IMMEDIATE`: the lock for writing at once. For whoever means to write.
    Immediate,
    /// `BEGIN EXCLUSIVE`: as immediate, and without WAL it keeps readers out as well.
    Exclusive,
}

/// How a transaction on SQLite begins.
impl Begin<'_, Sqlite> {
    /// With the lock for writing: [`Mode::Immediate`].
    pub fn immediate(self) -> Self {
        self.mode(Mode::Immediate)
    }

    /// With the lock for writing, and without WAL readers are kept out: [`Mode::Exclusive`].
    pub fn exclusive(self) -> Self {
        self.mode(Mode::Exclusive)
    }
}

impl Backend for Sqlite {
    type Mode = Mode;

    const ANSWER_LIMIT: Option<Duration> = None;
}

impl Driver for Sqlite {
    /// SQLite removes its log with the last connection; of two that close at the same time each takes the other for
    /// one that stays.
    const CLOSES_IN_TURN: bool = true;

    const COMMITS_AT_ONCE: bool = true;

    fn begin_statement(mode: Mode) -> SqlStr {
        match mode {
            Mode::Deferred => "BEGIN DEFERRED",
            Mode::Immediate => "BEGIN IMMEDIATE",
            Mode::Exclusive => "BEGIN EXCLUSIVE",
        }
        .into_sql_str()
    }

    async fn prove(_connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        // The worker takes its commands in order, and each answer goes to the one who asked.
        Ok(())
    }

    async fn skip(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    async fn interrupt(connection: &mut SqliteConnection) -> Result<Option<Arc<AtomicBool>>, sqlx::Error> {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        // Relaxed: a flag that is seen a little later does as well.
        let goes_on = move || !seen.load(Ordering::Relaxed);
        connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, goes_on);
        Ok(Some(flag))
    }

    async fn execute(connection: &mut SqliteConnection, statement: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(statement).await.map(drop)
    }

    async fn is_whole(connection: &mut SqliteConnection, _is_shared: bool) -> Result<bool, sqlx::Error> {
        // Rollbacks that sqlx queued when a future was dropped are still to change the depth. The worker
        // takes its commands in order, so the answer to a ping comes after them.
        connection.ping().await?;
        Ok(Manager::get_transaction_depth(connection) > 0)
    }

    async fn commit_at_once(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        // It goes in line behind the rollbacks that sqlx has queued, and is refused where nothing is open any more. A
        // commit of sqlx's would succeed there.
        connection.execute("COMMIT").await.map(drop)
    }

    async fn begin_counted(connection: &mut SqliteConnection, begin: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(begin).await.map(drop)
    }

    fn lower_count(connection: &mut SqliteConnection) {
        // A rollback that is refused does not lower the count.
        send_off(connection.execute("BEGIN"));
        Manager::start_rollback(connection);
    }

    async fn roll_back(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if !Self::is_whole(connection, true).await? {
            // sqlx knows of no transaction. One begun in plain SQL ends here; without one
            // SQLite refuses, which is as good.
            return match connection.execute("ROLLBACK").await {
                Err(error) if !says_no_transaction(&error) => Err(error),
                _ => Ok(()),
            };
        }
        let Err(refused) = end_every_level(connection).await else {
            return Ok(());
        };
        // SQLite rolls back by itself on a full disk and the like, and then refuses to do so again. A `BEGIN`
        // that it accepts proves that no transaction is open, and ending that one sets sqlx's count right.
        match connection.execute("BEGIN").await {
            Ok(_) => end_every_level(connection).await,
            Err(_) => Err(refused),
        }
    }

    async fn tidy(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        // It goes in line behind what sqlx has queued. Without a transaction it is refused, which is as good.
        if Manager::get_transaction_depth(connection) == 0 {
            match connection.execute("ROLLBACK").await {
                Err(error) if says_no_transaction(&error) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if Manager::get_transaction_depth(connection) > 0 { Self::roll_back(connection).await } else { Ok(()) }
    }

    /// What a session keeps is its own to know: an in-memory database would be gone with it.
    async fn restore(_connection: &mut SqliteConnection) -> Result<Restored, sqlx::Error> {
        Ok(Restored::Kept)
    }

    fn is_answer(error: &sqlx::Error) -> bool {
        use sqlx::Error::{BeginFailed, Database, InvalidSavePointStatement};
        matches!(error, Database(_) | BeginFailed | InvalidSavePointStatement)
    }

    fn says_not_open(error: &sqlx::Error) -> bool {
        says_no_transaction(error)
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        error.as_database_error().is_some_and(Self::is_conflict)
    }

    fn is_conflict(error: &(dyn DatabaseError + 'static)) -> bool {
        matches!(primary_code(error), Some(SQLITE_BUSY | SQLITE_LOCKED))
    }

    fn is_spoilt(error: &(dyn DatabaseError + 'static)) -> bool {
        primary_code(error).is_some_and(|code| SPOILT.contains(&code))
    }

    #[cfg(feature = "pool")]
    fn shows_spoilt(shown: &str) -> bool {
        let mut codes = SPOILT.iter();
        shown.contains("SqliteError") && codes.any(|code| shown.contains(&format!("code: {code},")))
    }

    #[cfg(feature = "pool")]
    fn is_read_only(error: &(dyn DatabaseError + 'static)) -> bool {
        primary_code(error) == Some(SQLITE_READONLY)
    }

    #[cfg(feature = "pool")]
    fn shows_read_only(shown: &str) -> bool {
        shown.contains("SqliteError") && shown.contains(&format!("code: {SQLITE_READONLY},"))
    }

    #[cfg(feature = "pool")]
    async fn role(connection: &mut SqliteConnection) -> Result<Role, sqlx::Error> {
        let is_read_only: bool = connection.fetch_one("PRAGMA query_only").await?.try_get(0)?;
        Ok(if is_read_only { Role::Replica } else { Role::Primary })
    }
}

/// Rolls back until sqlx counts no level of nesting.
async fn end_every_level(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    while Manager::get_transaction_depth(connection) > 0 {
        Manager::rollback(connection).await?;
    }
    Ok(())
}

/// How many steps of its machine SQLite makes before it looks whether it is to stop: some 20 µs of them.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

/// `SQLITE_IOERR`, `SQLITE_CORRUPT`, `SQLITE_NOTADB`.
const SPOILT: [i32; 3] = [10, 11, 26];
const SQLITE_ERROR: i32 = 1;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
#[cfg(feature = "pool")]
const SQLITE_READONLY: i32 = 8;

/// The result code without its extension: `SQLITE_BUSY_SNAPSHOT` (517) is a `SQLITE_BUSY` (5).
fn primary_code(error: &(dyn DatabaseError + 'static)) -> Option<i32> {
    let error: &SqliteError = error.try_downcast_ref()?;
    let code = error.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Whether this answer to a `COMMIT` or `ROLLBACK` says that there is nothing to end: that is the only reason for
/// which either fails with the unspecific code.
fn says_no_transaction(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(primary_code) == Some(SQLITE_ERROR)
}
