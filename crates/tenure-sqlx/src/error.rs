//! The error: which stage failed, why, and what became of the transaction.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "pool")]
use sqlx::error::DatabaseError;
#[cfg(feature = "pool")]
use tenure_pool::GetErrorKind;

use crate::Backend;
use crate::lease::is_out_of_place;
use crate::retry::GaveUp;

/// What failed on the way into or out of a connection, a transaction or a savepoint.
///
/// Statements in a body fail with [`sqlx::Error`], as ever. A body whose error type is `sqlx::Error` can keep it:
/// this error converts into it, and a database's own error stays the database's own error.
///
/// The cause is in [`source`](std::error::Error::source), not in the text.
///
/// ```
/// use tenure_sqlx::{Error, Fate};
///
/// /// Whether the work may be done again without doing it twice.
/// fn may_be_repeated(error: &Error) -> bool {
///     error.fate() != Some(Fate::Unknown)
/// }
/// ```
#[derive(Debug)]
pub struct Error {
    stage: Stage,
    reason: Reason,
    /// What failed besides, while the first failure was cleaned up after.
    cleanup: Option<Box<Error>>,
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Opening a connection.
    Connect,
    /// Getting a connection from a pool.
    Get,
    /// Waiting for a connection that was lent to come back.
    HandBack,
    /// Beginning a transaction. None is open.
    Begin,
    /// Committing. See [`Error::fate`] for what became of the changes.
    Commit,
    /// Rolling back. The connection has been closed, which ends the transaction as well.
    Rollback,
    /// Setting a savepoint. None is set.
    Savepoint,
    /// Keeping the changes since a savepoint.
    Release,
    /// Undoing the changes since a savepoint. The transaction around it will not commit.
    RollbackToSavepoint,
    /// Closing a connection. It is closed nevertheless.
    Close,
    /// The hook of a pool for connections that are new. The connection has been closed.
    AfterConnect,
    /// Finding out whether a connection of a pool is still good.
    Check,
    /// Cleaning a connection of a pool after a use that did not complete, its hook included.
    Reset,
    /// Copying into a table. Nothing of it is kept, unless the answer was lost.
    Copy,
    /// Taking or releasing an advisory lock.
    Lock,
}

/// What became of the changes of a transaction that could not be ended as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// They are not in the database.
    Undone,
    /// They are in the database, or they are not: the answer to the `COMMIT` was lost, or something else than
    /// the exit had ended the transaction before.
    Unknown,
}

#[derive(Debug)]
enum Reason {
    Sqlx {
        source: sqlx::Error,
        /// Whether the database itself reported it.
        is_answer: bool,
    },
    /// The same, before the statement itself was sent.
    Unsent {
        source: sqlx::Error,
        /// Whether the connection is lost.
        is_broken: bool,
    },
    Busy {
        source: sqlx::Error,
        gave_up: GaveUp,
    },
    /// The connection did not come back in this time.
    StillLent(Duration),
    /// The connection was closed, since it could not be made clean.
    Closed,
    /// The transaction was ended by something else than its exit; what the database said to the `COMMIT`, if
    /// it was sent.
    EndedElsewhere(Option<sqlx::Error>),
    /// A savepoint inside could not be undone.
    Doomed,
    /// The pool lent none.
    #[cfg(feature = "pool")]
    NotLent(tenure_pool::GetError),
    /// No member of a replicated pool fits.
    #[cfg(feature = "pool")]
    NoMember {
        is_write: bool,
        waited: Duration,
        last: Option<tenure_pool::GetError>,
    },
    /// A member of a replicated pool could not be closed.
    #[cfg(feature = "pool")]
    NotClosed(tenure_pool::PoolError),
}

impl Error {
    /// Returns `true` if the connection has lost its place in the protocol.
    pub(crate) fn is_out_of_place(&self) -> bool {
        matches!(&self.reason, Reason::Sqlx { source, .. } if is_out_of_place(source))
    }

    pub(crate) fn new<DB: Backend>(stage: Stage, source: sqlx::Error) -> Self {
        let is_answer = DB::is_answer(&source);
        Self::of(stage, Reason::Sqlx { source, is_answer })
    }

    /// The same error of a commit, if it is not known to be the answer to it.
    pub(crate) fn in_doubt(mut self) -> Self {
        self.reason = match self.reason {
            Reason::Sqlx { source, .. } | Reason::Unsent { source, .. } | Reason::Busy { source, .. } => {
                Reason::Sqlx { source, is_answer: false }
            }
            other => other,
        };
        self
    }

    /// A connection that was lost before the `COMMIT` was sent.
    pub(crate) fn uncommitted<DB: Backend>(source: sqlx::Error) -> Self {
        let is_broken = !DB::is_answer(&source);
        Self::of(Stage::Commit, Reason::Unsent { source, is_broken })
    }

    pub(crate) fn busy(stage: Stage, source: sqlx::Error, gave_up: GaveUp) -> Self {
        Self::of(stage, Reason::Busy { source, gave_up })
    }

    pub(crate) fn still_lent(waited: Duration) -> Self {
        Self::of(Stage::HandBack, Reason::StillLent(waited))
    }

    pub(crate) fn closed() -> Self {
        Self::of(Stage::HandBack, Reason::Closed)
    }

    pub(crate) fn ended_elsewhere(answer: Option<sqlx::Error>) -> Self {
        Self::of(Stage::Commit, Reason::EndedElsewhere(answer))
    }

    pub(crate) fn doomed(stage: Stage) -> Self {
        Self::of(stage, Reason::Doomed)
    }

    #[cfg(feature = "pool")]
    pub(crate) fn not_lent(error: tenure_pool::GetError) -> Self {
        Self::of(Stage::Get, Reason::NotLent(error))
    }

    #[cfg(feature = "pool")]
    pub(crate) fn no_member(is_write: bool, waited: Duration, last: Option<tenure_pool::GetError>) -> Self {
        Self::of(Stage::Get, Reason::NoMember { is_write, waited, last })
    }

    #[cfg(feature = "pool")]
    pub(crate) fn not_closed(error: tenure_pool::PoolError) -> Self {
        Self::of(Stage::Close, Reason::NotClosed(error))
    }

    fn of(stage: Stage, reason: Reason) -> Self {
        Self { stage, reason, cleanup: None }
    }

    pub(crate) fn with_cleanup(mut self, cleanup: Option<Error>) -> Self {
        self.cleanup = cleanup.map(Box::new);
        self
    }

    /// Returns the step that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns `true` if the connection had been closed before, because a transaction on it could not be ended cleanly.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.reason, Reason::Closed)
    }

    /// Returns `true` if the database stayed busy until the limit of the [`Retry`](crate::Retry).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.reason, Reason::Busy { .. })
    }

    /// Returns what became of the changes of the transaction or, for an error of a savepoint, of those since it.
    ///
    /// `None` for stages that have nothing to do with changes.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        match self.stage {
            Stage::Commit | Stage::Copy if self.is_unknown() => Some(Fate::Unknown),
            Stage::Connect | Stage::Get | Stage::Close | Stage::HandBack => None,
            Stage::AfterConnect | Stage::Check | Stage::Reset | Stage::Lock => None,
            // Also a rollback whose answer is lost: the connection is closed then, and the database
            // rolls back what a closed connection leaves behind.
            _ => Some(Fate::Undone),
        }
    }

    /// Why the pool lent no connection, at [`Stage::Get`]. Its text is part of this error's, its source is this error's.
    #[cfg(feature = "pool")]
    #[must_use]
    pub fn get_error(&self) -> Option<&tenure_pool::GetError> {
        match &self.reason {
            Reason::NotLent(error) | Reason::NoMember { last: Some(error), .. } => Some(error),
            _ => None,
        }
    }

    /// Returns the second failure, when cleaning up after the first one failed as well.
    #[must_use]
    pub fn cleanup_error(&self) -> Option<&Error> {
        self.cleanup.as_deref()
    }

    /// Whether trying again is of no use as long as nobody changes something.
    #[cfg(feature = "pool")]
    pub(crate) fn is_permanent(&self) -> bool {
        match &self.reason {
            Reason::Sqlx { source: sqlx::Error::Configuration(_), .. } => true,
            Reason::Sqlx { source, .. } => {
                let code = source.as_database_error().and_then(DatabaseError::code);
                code.is_some_and(|code| is_for_good(&code))
            }
            _ => false,
        }
    }

    /// Whether the connection is lost: what failed is not what the database answered.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.reason, Reason::Sqlx { is_answer: false, .. } | Reason::Unsent { is_broken: true, .. })
    }

    /// Whether nobody said how the transaction ended.
    fn is_unknown(&self) -> bool {
        match &self.reason {
            Reason::Sqlx { is_answer, .. } => !is_answer,
            Reason::EndedElsewhere(_) => true,
            Reason::Unsent { .. }
            | Reason::Busy { .. }
            | Reason::StillLent(_)
            | Reason::Closed
            | Reason::Doomed => false,
            #[cfg(feature = "pool")]
            Reason::NotLent(_) | Reason::NoMember { .. } | Reason::NotClosed(_) => false,
        }
    }
}

/// Whether this answer to a connect will be the same the next time: a wrong password, a user without rights, a database
/// that is not there, a file that is none.
#[cfg(feature = "pool")]
fn is_for_good(code: &str) -> bool {
    /// `SQLSTATE`s of servers.
    const OF_SERVERS: [&str; 4] = ["28000", "28P01", "3D000", "42000"];
    /// `SQLITE_PERM`, `SQLITE_CANTOPEN`, `SQLITE_AUTH`, `SQLITE_NOTADB`.
    const OF_SQLITE: [u32; 4] = [3, 14, 23, 26];
    // SQLite's have the primary code in their lowest byte; a `SQLSTATE` has five characters.
    let of_sqlite =
        || code.len() < 5 && code.parse::<u32>().is_ok_and(|code| OF_SQLITE.contains(&(code & 0xff)));
    OF_SERVERS.contains(&code) || of_sqlite()
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "opening the connection",
            Self::Get => "getting a connection from the pool",
            Self::HandBack => "waiting for the connection",
            Self::Begin => "beginning the transaction",
            Self::Commit => "committing the transaction",
            Self::Rollback => "rolling the transaction back",
            Self::Savepoint => "setting the savepoint",
            Self::Release => "releasing the savepoint",
            Self::RollbackToSavepoint => "rolling back to the savepoint",
            Self::Close => "closing the connection",
            Self::AfterConnect => "preparing the new connection",
            Self::Check => "checking the connection",
            Self::Reset => "cleaning the connection",
            Self::Copy => "copying",
            Self::Lock => "locking",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.stage;
        match &self.reason {
            Reason::Sqlx { .. } | Reason::Unsent { .. } => write!(f, "{stage} failed")?,
            #[cfg(feature = "pool")]
            Reason::NotLent(error) => write!(f, "{stage} failed: {error}")?,
            #[cfg(feature = "pool")]
            Reason::NoMember { is_write, waited, .. } => {
                let what = if *is_write { "takes writes" } else { "can be read" };
                write!(f, "{stage} failed: no member {what} (after {waited:.1?})")?;
            }
            #[cfg(feature = "pool")]
            Reason::NotClosed(_) => f.write_str("closing the pool of a member failed")?,
            Reason::Busy { gave_up, .. } => {
                let GaveUp { attempts, waited } = gave_up;
                let times = if *attempts == 1 { "attempt" } else { "attempts" };
                write!(f, "{stage} failed: the database stayed busy for {waited:.1?} and {attempts} {times}")?;
            }
            Reason::StillLent(waited) => write!(
                f,
                "{stage} failed: after {waited:.1?} it is still lent to a transaction or savepoint that has not ended"
            )?,
            Reason::Closed => write!(
                f,
                "{stage} failed: it was closed, because a transaction on it could not be ended cleanly"
            )?,
            Reason::EndedElsewhere(_) => {
                write!(f, "{stage} failed: something else had ended it before")?;
            }
            Reason::Doomed => {
                write!(f, "{stage} failed: a savepoint inside it could not be rolled back")?;
            }
        }
        if self.fate() == Some(Fate::Unknown) {
            f.write_str("; whether the changes were kept is unknown")?;
        }
        match &self.cleanup {
            Some(second) => write!(f, "; then {second}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Sqlx { source, .. }
            | Reason::Unsent { source, .. }
            | Reason::Busy { source, .. }
            | Reason::EndedElsewhere(Some(source)) => Some(source),
            #[cfg(feature = "pool")]
            Reason::NotLent(error) => error.source(),
            #[cfg(feature = "pool")]
            Reason::NoMember { last, .. } => last.as_ref().map(|error| error as _),
            #[cfg(feature = "pool")]
            Reason::NotClosed(error) => Some(error),
            Reason::StillLent(_) | Reason::Closed | Reason::EndedElsewhere(None) | Reason::Doomed => None,
        }
    }
}

/// Lets a body keep `sqlx::Error` as its error type.
///
/// What the database said comes out as [`sqlx::Error::Database`], so that code which looks for a violated
/// constraint goes on working; that a pool lent nothing in time as [`sqlx::Error::PoolTimedOut`], that it is closed as
/// [`sqlx::Error::PoolClosed`]. The rest is wrapped and can be downcast.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        match error {
            Error {
                reason: Reason::Sqlx { source: source @ sqlx::Error::Database(_), is_answer: true },
                cleanup: None,
                ..
            } => source,
            #[cfg(feature = "pool")]
            Error { reason: Reason::NotLent(error), .. }
                if error.kind().is_overload() || error.kind().is_timeout() =>
            {
                Self::PoolTimedOut
            }
            #[cfg(feature = "pool")]
            Error { reason: Reason::NoMember { .. }, .. } => Self::PoolTimedOut,
            #[cfg(feature = "pool")]
            Error { reason: Reason::NotLent(error), .. } if error.kind() == GetErrorKind::Closed => {
                Self::PoolClosed
            }
            other => Self::AnyDriverError(Box::new(other)),
        }
    }
}
