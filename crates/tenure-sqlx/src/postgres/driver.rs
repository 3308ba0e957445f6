//! What PostgreSQL does in its own way.

use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Postgres, Row as _, SqlSafeStr as _, SqlStr};
use sqlx_core::transaction::TransactionManager;

#[cfg(feature = "pool")]
use crate::backend::Role;
use crate::backend::{Backend, Driver, Restored};
use crate::cancel::Cancel;
use crate::lease::out_of_place;
use crate::line::send_off;
use crate::server::{ANSWER_LIMIT, skip_abandoned, without_panic, word};
use crate::{Begin, Isolation};

type Manager = <Postgres as sqlx::Database>::TransactionManager;

/// How a transaction on PostgreSQL begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Mode {
    /// `ISOLATION LEVEL …`; `None` is the session's default.
    pub isolation: Option<Isolation>,
    /// `READ ONLY` or `READ WRITE`; `None` is the session's default.
    pub read_only: Option<bool>,
    /// `DEFERRABLE` or `NOT DEFERRABLE`; `None` is the session's default.
    pub deferrable: Option<bool>,
}

/// How a transaction on PostgreSQL begins.
impl Begin<'_, Postgres> {
    /// On this isolation level.
    pub fn isolation(self, isolation: Isolation) -> Self {
        self.map_mode(|mode| mode.isolation = Some(isolation))
    }

    /// Without the right to change anything.
    pub fn read_only(self) -> Self {
        self.map_mode(|mode| mode.read_only = Some(true))
    }

    /// Waits at its first statement until it can run without a risk of a serialization failure. It has an effect if
    /// it is [serializable](Isolation::Serializable) and [read-only](Self::read_only) as well.
    pub fn deferrable(self) -> Self {
        self.map_mode(|mode| mode.deferrable = Some(true))
    }
}

impl Backend for Postgres {
    type Mode = Mode;

    const ANSWER_LIMIT: Option<Duration> = Some(ANSWER_LIMIT);
}

impl Driver for Postgres {
    const COMMITS_AT_ONCE: bool = true;

    fn begin_statement(mode: Mode) -> SqlStr {
        if mode == Mode::default() {
            return "BEGIN".into_sql_str();
        }
        let mut begin = "BEGIN".to_owned();
        if let Some(isolation) = mode.isolation {
            begin.push_str(" ISOLATION LEVEL ");
            begin.push_str(isolation.sql());
        }
        begin.push_str(match mode.read_only {
            Some(true) => " READ ONLY",
            Some(false) => " READ WRITE",
            None => "",
        });
        begin.push_str(match mode.deferrable {
            Some(true) => " DEFERRABLE",
            Some(false) => " NOT DEFERRABLE",
            None => "",
        });
        AssertSqlSafe(begin).into_sql_str()
    }

    async fn prove(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        in_order(connection, "", "", "").await.map(drop)
    }

    async fn skip(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // One that was stopped is reported as any other error of a statement.
        skip_abandoned::<Self>(connection).await
    }

    async fn execute(connection: &mut PgConnection, statements: SqlStr) -> Result<(), sqlx::Error> {
        in_order(connection, &format!("{}; ", statements.as_str()), "", "").await.map(drop)
    }

    async fn is_whole(connection: &mut PgConnection, is_shared: bool) -> Result<bool, sqlx::Error> {
        // sqlx queues a rollback of everything when a nested `begin` of its own is dropped.
        if Manager::get_transaction_depth(connection) == 0 {
            return Ok(false);
        }
        // A `COMMIT` is never refused: in an aborted transaction it rolls back, without one it does nothing.
        // A savepoint is refused in both. It ends with the transaction.
        let question = if is_shared { WHOLE_AND_SHARED } else { "SAVEPOINT tenure_commit; " };
        match in_order(connection, question, "", "").await {
            Ok(_) => Ok(true),
            Err(error) if code(&error) == Some(NO_ACTIVE_TRANSACTION) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn clear_the_way(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        without_panic(skip_abandoned::<Self>(connection)).await
    }

    async fn commit_at_once(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // Where the savepoint is refused, what is behind it in the message is passed over.
        in_order(connection, WHOLE_AND_SHARED, "", "; COMMIT").await.map(drop)
    }

    async fn begin_counted(connection: &mut PgConnection, begin: SqlStr) -> Result<(), sqlx::Error> {
        without_panic(async { connection.execute(begin).await.map(drop) }).await
    }

    fn lower_count(connection: &mut PgConnection) {
        // A rollback where nothing is open would be a warning in the server's log.
        send_off(connection.execute("BEGIN"));
        Manager::start_rollback(connection);
    }

    async fn roll_back(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        without_panic(async {
            skip_abandoned::<Self>(connection).await?;
            // In an aborted transaction no echo comes back: it follows the rollback.
            while Manager::get_transaction_depth(connection) > 0 {
                Manager::rollback(connection).await?;
            }
            Ok(())
        })
        .await?;
        end_open(connection).await
    }

    async fn tidy(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if Manager::get_transaction_depth(connection) > 0 {
            return Self::roll_back(connection).await;
        }
        end_open(connection).await
    }

    async fn restore(connection: &mut PgConnection) -> Result<Restored, sqlx::Error> {
        if let Some(deallocate) = in_order(connection, RESTORE, PREPARED_BY_USER, "").await? {
            in_order(connection, &format!("{deallocate}; "), "", "").await?;
        }
        Ok(Restored::Whole)
    }

    fn is_answer(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::InvalidSavePointStatement => true,
            sqlx::Error::Database(_) => database_error(error).is_some_and(|error| {
                let is_last_word = matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
                let is_unsure = error.code() == STATEMENT_COMPLETION_UNKNOWN
                    || error.code().starts_with(CLASS_CONNECTION_EXCEPTION);
                !is_last_word && !is_unsure
            }),
            _ => false,
        }
    }

    fn says_not_open(error: &sqlx::Error) -> bool {
        code(error) == Some(NO_ACTIVE_TRANSACTION)
    }

    fn says_aborted(error: &sqlx::Error) -> bool {
        code(error) == Some(IN_FAILED_TRANSACTION)
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        matches!(code(error), Some(TOO_MANY_CONNECTIONS | CANNOT_CONNECT_NOW))
    }

    fn is_conflict(error: &(dyn DatabaseError + 'static)) -> bool {
        let code = error.try_downcast_ref().map(PgDatabaseError::code);
        matches!(code, Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
    }

    fn is_spoilt(error: &(dyn DatabaseError + 'static)) -> bool {
        error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| {
            let is_last_word = matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
            is_last_word || SPOILT.contains(&error.code())
        })
    }

    #[cfg(feature = "pool")]
    fn shows_spoilt(shown: &str) -> bool {
        shows(shown, &SPOILT)
    }

    #[cfg(feature = "pool")]
    fn is_read_only(error: &(dyn DatabaseError + 'static)) -> bool {
        error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| READ_ONLY.contains(&error.code()))
    }

    #[cfg(feature = "pool")]
    fn shows_read_only(shown: &str) -> bool {
        shows(shown, &READ_ONLY)
    }

    #[cfg(feature = "pool")]
    async fn role(connection: &mut PgConnection) -> Result<Role, sqlx::Error> {
        match in_order(connection, "", IS_READ_ONLY, "").await?.as_deref() {
            Some("off") => Ok(Role::Primary),
            _ => Ok(Role::Replica),
        }
    }

    fn shows_stale_plan(shown: &str) -> bool {
        shows(shown, &STALE_PLAN)
    }

    fn is_stale_plan(error: &(dyn DatabaseError + 'static)) -> bool {
        error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| STALE_PLAN.contains(&error.code()))
    }
}

impl Cancel for Postgres {
    /// The number is that of the process, which serves no other session.
    async fn cancel_statement(connection: &mut PgConnection) -> Result<SqlStr, sqlx::Error> {
        let session: i32 = connection.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)?;
        Ok(AssertSqlSafe(format!("SELECT pg_cancel_backend({session})")).into_sql_str())
    }
}

/// The question whether there is a transaction that a `COMMIT` would keep, on a connection that others will use.
const WHOLE_AND_SHARED: &str = "UNLISTEN *; SAVEPOINT tenure_commit; ";

/// What leaves nothing of a session's own but its prepared statements, which sqlx counts on.
const RESTORE: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
    SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; ";

/// The statements that take away what was prepared in SQL, not by the driver; null if nothing was.
const PREPARED_BY_USER: &str = ", (SELECT pg_catalog.string_agg('DEALLOCATE ' || pg_catalog.quote_ident(name), '; ') \
    FROM pg_catalog.pg_prepared_statements WHERE from_sql)";

/// Whether a transaction is open. A statement on its own begins one, whose time is that of the statement.
const IS_OPEN: &str =
    ", CASE WHEN pg_catalog.now() = pg_catalog.statement_timestamp() THEN 'none' ELSE 'open' END";

/// Query for the question whether a transaction that begins now may only read. On a server in recovery it is so whatever is set.
#[cfg(feature = "pool")]
const IS_READ_ONLY: &str = ", pg_catalog.current_setting('transaction_read_only')";

/// `read_only_sql_transaction`.
#[cfg(feature = "pool")]
const READ_ONLY: [&str; 1] = ["25006"];
/// `feature_not_supported`, said of a plan whose table has changed, and `invalid_sql_statement_name`.
const STALE_PLAN: [&str; 2] = ["0A000", "26000"];
/// What a session says that can do no more what others want of it: besides, `read_only_sql_transaction`, as after a
/// failover, and that the server stops.
const SPOILT: [&str; 6] = ["0A000", "26000", "25006", "57P01", "57P02", "57P05"];
const IN_FAILED_TRANSACTION: &str = "25P02";
const CLASS_CONNECTION_EXCEPTION: &str = "08";
const NO_ACTIVE_TRANSACTION: &str = "25P01";
const SERIALIZATION_FAILURE: &str = "40001";
const STATEMENT_COMPLETION_UNKNOWN: &str = "40003";
const DEADLOCK_DETECTED: &str = "40P01";
const TOO_MANY_CONNECTIONS: &str = "53300";
const CANNOT_CONNECT_NOW: &str = "57P03";

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The `SQLSTATE`, if it is PostgreSQL that says it.
fn code(error: &sqlx::Error) -> Option<&str> {
    database_error(error).map(PgDatabaseError::code)
}

/// Runs `first` (statements, each with its semicolon) and behind it an echo, which `besides` may add a column of text
/// to (with its comma): that is what comes back. What `last` says (with a semicolon in front) is done behind the echo, in
/// the same message; its answer comes in the same one.
///
/// If the echo comes back, all that was sent before has been answered, and the connection is in its place in the
/// protocol. sqlx does not count the answers to a `COPY`: after one that did not end, each statement would read the
/// answer of the one before.
async fn in_order(
    connection: &mut PgConnection,
    first: &str,
    besides: &str,
    last: &str,
) -> Result<Option<String>, sqlx::Error> {
    without_panic(async {
        skip_abandoned::<Postgres>(connection).await?;
        let word = word();
        let statements = AssertSqlSafe(format!("{first}SELECT '{word}'{besides}{last}")).into_sql_str();
        let rows = connection.fetch_all(statements).await?;
        let row = rows.last().ok_or_else(out_of_place)?;
        if row.try_get::<&str, _>(0).ok() != Some(word.as_str()) {
            return Err(out_of_place());
        }
        if besides.is_empty() { Ok(None) } else { row.try_get(1) }
    })
    .await
}

/// Ends a transaction that was begun in plain SQL, if one is open, and has the place of the connection proved.
///
/// Along with the echo goes the question whether one is open: then its time is not the statement's. A `ROLLBACK` where
/// none is open would be a warning in the server's log, and one of a transaction opened for it would be counted.
///
/// What the session listens to ends here too: a notification is a message that sqlx expects in no answer, and would fail
/// the next user's statement.
async fn end_open(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_open = match in_order(connection, "UNLISTEN *; ", IS_OPEN, "").await {
        Ok(answer) => answer.as_deref() == Some("open"),
        Err(error) if code(&error) == Some(IN_FAILED_TRANSACTION) => true,
        Err(error) => return Err(error),
    };
    if is_open { in_order(connection, "ROLLBACK; UNLISTEN *; ", "", "").await.map(drop) } else { Ok(()) }
}

/// Whether one of these codes is in what an error shows of itself.
fn shows(shown: &str, codes: &[&str]) -> bool {
    shown.contains("PgDatabaseError") && codes.iter().any(|code| shown.contains(&format!("{code:?}")))
}
