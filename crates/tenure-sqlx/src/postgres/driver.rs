//! What PostgreSQL does in its own way.

use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Postgres, Row as _, SqlSafeStr as _, SqlStr};
use sqlx_core::transaction::TransactionManager;

use crate::backend::{Backend, Driver};
use crate::cancel::Cancel;
use crate::server::{ANSWER_LIMIT, skip_abandoned};
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

    async fn settle(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        skip_abandoned::<Self>(connection).await
    }

    async fn skip(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // One that was stopped is reported as any other error of a statement.
        skip_abandoned::<Self>(connection).await
    }

    async fn execute(connection: &mut PgConnection, statement: SqlStr) -> Result<(), sqlx::Error> {
        Self::settle(connection).await?;
        connection.execute(statement).await.map(drop)
    }

    async fn is_whole(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // sqlx queues a rollback of everything when a nested `begin` of its own is dropped.
        if Manager::get_transaction_depth(connection) == 0 {
            return Ok(false);
        }
        // A `COMMIT` is never refused: in an aborted transaction it rolls back, without one it does nothing.
        // A savepoint is refused in both. It ends with the transaction.
        match Self::execute(connection, "SAVEPOINT tenure_commit".into_sql_str()).await {
            Ok(()) => Ok(true),
            Err(error) if code(&error) == Some(NO_ACTIVE_TRANSACTION) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn roll_back(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Self::settle(connection).await?;
        if Manager::get_transaction_depth(connection) == 0 {
            // One that was begun in plain SQL ends here. Without one, a `ROLLBACK` would be a warning in the
            // server's log; so there is one. If the open one is aborted, its `BEGIN` is refused, and all after it.
            return match connection.execute("BEGIN; ROLLBACK").await {
                Err(error) if Self::is_answer(&error) => connection.execute("ROLLBACK").await.map(drop),
                ended => ended.map(drop),
            };
        }
        while Manager::get_transaction_depth(connection) > 0 {
            Manager::rollback(connection).await?;
        }
        Ok(())
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

    fn says_not_open(_error: &sqlx::Error) -> bool {
        false
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        matches!(code(error), Some(TOO_MANY_CONNECTIONS | CANNOT_CONNECT_NOW))
    }

    fn is_conflict(error: &(dyn DatabaseError + 'static)) -> bool {
        let code = error.try_downcast_ref().map(PgDatabaseError::code);
        matches!(code, Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
    }
}

impl Cancel for Postgres {
    /// The number is that of the process, which serves no other session.
    async fn cancel_statement(connection: &mut PgConnection) -> Result<SqlStr, sqlx::Error> {
        let session: i32 = connection.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)?;
        Ok(AssertSqlSafe(format!("SELECT pg_cancel_backend({session})")).into_sql_str())
    }
}

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
