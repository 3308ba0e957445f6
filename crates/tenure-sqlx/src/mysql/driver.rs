//! What MySQL and MariaDB do in their own way.

use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, Executor as _, MySql, MySqlConnection, Row as _, SqlSafeStr as _, SqlStr};
use sqlx_core::transaction::TransactionManager;

#[cfg(feature = "pool")]
use crate::backend::Role;
use crate::backend::{Backend, Driver, Restored};
use crate::cancel::Cancel;
use crate::lease::out_of_place;
use crate::patience::within;
use crate::server::{ANSWER_LIMIT, skip_abandoned, skip_those, without_panic, word};
use crate::{Begin, Isolation};

type Manager = <MySql as sqlx::Database>::TransactionManager;

/// How a transaction on MySQL begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Mode {
    /// `SET TRANSACTION ISOLATION LEVEL …`; `None` is the session's default.
    pub isolation: Option<Isolation>,
    /// `READ ONLY` or `READ WRITE`; `None` is the session's default.
    pub read_only: Option<bool>,
    /// `WITH CONSISTENT SNAPSHOT`.
    pub consistent_snapshot: bool,
}

/// How a transaction on MySQL begins.
impl Begin<'_, MySql> {
    /// On this isolation level.
    pub fn isolation(self, isolation: Isolation) -> Self {
        self.map_mode(|mode| mode.isolation = Some(isolation))
    }

    /// Without the right to change anything.
    pub fn read_only(self) -> Self {
        self.map_mode(|mode| mode.read_only = Some(true))
    }

    /// Sees what is committed at its beginning, not at its first read. It has an effect on
    /// [`RepeatableRead`](Isolation::RepeatableRead), MySQL's default.
    pub fn consistent_snapshot(self) -> Self {
        self.map_mode(|mode| mode.consistent_snapshot = true)
    }
}

impl Backend for MySql {
    type Mode = Mode;

    const ANSWER_LIMIT: Option<Duration> = Some(ANSWER_LIMIT);
}

impl Driver for MySql {
    /// Several statements in one, which sqlx sends in one packet.
    fn begin_statement(mode: Mode) -> SqlStr {
        let mut begin = String::new();
        if let Some(isolation) = mode.isolation {
            begin = format!("SET TRANSACTION ISOLATION LEVEL {}; ", isolation.sql());
        }
        begin.push_str("START TRANSACTION ");
        let characteristics = [
            mode.consistent_snapshot.then_some("WITH CONSISTENT SNAPSHOT"),
            mode.read_only.map(|read_only| if read_only { "READ ONLY" } else { "READ WRITE" }),
        ];
        let characteristics: Vec<&str> = characteristics.into_iter().flatten().collect();
        begin.push_str(&characteristics.join(", "));
        begin.push_str("; SAVEPOINT tenure_begin");
        AssertSqlSafe(begin).into_sql_str()
    }

    async fn prove(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        in_order(connection, "", "").await.map(drop)
    }

    async fn skip(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        let is_answer = |error: &sqlx::Error| number(error) == Some(INTERRUPTED) || Self::is_answer(error);
        without_panic(skip_those::<Self>(connection, is_answer)).await
    }

    async fn execute(connection: &mut MySqlConnection, statements: SqlStr) -> Result<(), sqlx::Error> {
        in_order(connection, &format!("{}; ", statements.as_str()), "").await.map(drop)
    }

    async fn is_whole(connection: &mut MySqlConnection, _is_shared: bool) -> Result<bool, sqlx::Error> {
        // Levels that sqlx has nested and that were leaked go first: the savepoint at the bottom takes those above
        // it along.
        while Manager::get_transaction_depth(connection) > 1 {
            Manager::commit(connection).await?;
        }
        match in_order(connection, "RELEASE SAVEPOINT tenure_begin; ", "").await {
            Ok(_) => Ok(Manager::get_transaction_depth(connection) > 0),
            Err(error) if number(&error) == Some(SAVEPOINT_DOES_NOT_EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn roll_back(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        within(Some(ORDER_LIMIT), async {
            if Manager::get_transaction_depth(connection) == 0 {
                // Where none is open it does nothing.
                in_order(connection, "ROLLBACK; ", "").await.map(drop)
            } else {
                Self::prove(connection).await
            }
        })
        .await?;
        while Manager::get_transaction_depth(connection) > 0 {
            Manager::rollback(connection).await?;
        }
        Ok(())
    }

    /// Neither MySQL nor MariaDB sets a session back by a statement; the command of the protocol sqlx does not have.
    async fn restore(_connection: &mut MySqlConnection) -> Result<Restored, sqlx::Error> {
        Ok(Restored::Replace)
    }

    fn is_answer(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::InvalidSavePointStatement => true,
            sqlx::Error::Database(_) => number(error).is_some_and(|number| !LAST_WORDS.contains(&number)),
            _ => false,
        }
    }

    /// A `BEGIN` is several statements, of which the first may have succeeded.
    fn is_refused_begin(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::InvalidSavePointStatement)
    }

    fn says_not_open(_error: &sqlx::Error) -> bool {
        false
    }

    fn is_busy(error: &sqlx::Error) -> bool {
        matches!(number(error), Some(TOO_MANY_CONNECTIONS | TOO_MANY_USER_CONNECTIONS))
    }

    fn is_conflict(error: &(dyn DatabaseError + 'static)) -> bool {
        let error = error.try_downcast_ref().map(MySqlDatabaseError::number);
        matches!(error, Some(DEADLOCK | LOCK_WAIT_TIMEOUT | CHANGED_SINCE_LAST_READ))
    }

    fn is_spoilt(error: &(dyn DatabaseError + 'static)) -> bool {
        let number = error.try_downcast_ref().map(MySqlDatabaseError::number);
        number.is_some_and(|number| SPOILT.contains(&number) || LAST_WORDS.contains(&number))
    }

    #[cfg(feature = "pool")]
    fn shows_spoilt(shown: &str) -> bool {
        shows(shown, &SPOILT) || shows(shown, &LAST_WORDS)
    }

    #[cfg(feature = "pool")]
    fn is_read_only(error: &(dyn DatabaseError + 'static)) -> bool {
        let number = error.try_downcast_ref().map(MySqlDatabaseError::number);
        number.is_some_and(|number| READ_ONLY.contains(&number))
    }

    #[cfg(feature = "pool")]
    fn shows_read_only(shown: &str) -> bool {
        shows(shown, &READ_ONLY)
    }

    #[cfg(feature = "pool")]
    async fn role(connection: &mut MySqlConnection) -> Result<Role, sqlx::Error> {
        match in_order(connection, "", IS_READ_ONLY).await?.as_deref() {
            Some("off") => Ok(Role::Primary),
            _ => Ok(Role::Replica),
        }
    }
}

impl Cancel for MySql {
    async fn cancel_statement(connection: &mut MySqlConnection) -> Result<SqlStr, sqlx::Error> {
        let session: u64 =
            connection.fetch_one("SELECT CAST(CONNECTION_ID() AS UNSIGNED)").await?.try_get(0)?;
        Ok(AssertSqlSafe(format!("KILL QUERY {session}")).into_sql_str())
    }
}

const CHANGED_SINCE_LAST_READ: u16 = 1020;
const TOO_MANY_CONNECTIONS: u16 = 1040;
const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const INTERRUPTED: u16 = 1317;
const SAVEPOINT_DOES_NOT_EXIST: u16 = 1305;

/// How long a rollback waits for the connection to come back into order. One that has lost its place may wait for an
/// answer that never comes, and holds locks meanwhile; closing it costs a new connection at most.
const ORDER_LIMIT: Duration = Duration::from_secs(2);

/// What a server says before it hangs up: it is shut down, the statement or the connection is killed, the client was
/// idle for too long, packets are lost.
const LAST_WORDS: [u16; 12] = [1053, 1077, 1158, 1159, 1160, 1161, 1184, INTERRUPTED, 1927, 3169, 4031, 1152];

/// What a session says that can do no more what others want of it: the server has become read-only (1290, 1792,
/// 1836), or does not know a statement that sqlx has prepared (1243).
const SPOILT: [u16; 4] = [1243, 1290, 1792, 1836];

/// A server that may only read, a transaction that may, and a server that became read-only in the middle of one.
#[cfg(feature = "pool")]
const READ_ONLY: [u16; 3] = [1290, 1792, 1836];

/// Query for the question whether the server may only read. `read_only` is a number, or a word, as from MariaDB 12 on.
#[cfg(feature = "pool")]
const IS_READ_ONLY: &str = ", IF(CONCAT(@@global.read_only) IN ('0', 'OFF') \
    AND CONCAT(@@global.innodb_read_only) IN ('0', 'OFF'), 'off', 'on')";

/// The number of the error, if it is MySQL that says it.
fn number(error: &sqlx::Error) -> Option<u16> {
    let error: &MySqlDatabaseError = error.as_database_error()?.try_downcast_ref()?;
    Some(error.number())
}

/// Returns `true` if one of these numbers is in what an error shows of itself.
#[cfg(feature = "pool")]
fn shows(shown: &str, numbers: &[u16]) -> bool {
    let mut numbers = numbers.iter();
    shown.contains("MySqlDatabaseError") && numbers.any(|number| shown.contains(&format!("number: {number},")))
}

/// Runs `first` (statements, each with its semicolon) and an echo behind it, which `besides` may add a column of text to
/// (with its comma): that is what comes back. If the echo comes back, all that was sent before has been answered, and
/// the connection is in its place in the protocol.
async fn in_order(
    connection: &mut MySqlConnection,
    first: &str,
    besides: &str,
) -> Result<Option<String>, sqlx::Error> {
    without_panic(async {
        skip_abandoned::<MySql>(connection).await?;
        let word = word();
        let statements = AssertSqlSafe(format!("{first}SELECT '{word}'{besides}")).into_sql_str();
        let rows = connection.fetch_all(statements).await?;
        let row = rows.last().ok_or_else(out_of_place)?;
        if row.try_get::<String, _>(0).ok().as_ref() != Some(&word) {
            return Err(out_of_place());
        }
        if besides.is_empty() { Ok(None) } else { row.try_get(1) }
    })
    .await
}
