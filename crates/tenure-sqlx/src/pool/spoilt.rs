//! Which errors of a body say that the connection is of no more use to others.
//!
//! # Invariants
//! 1. To close a connection that was good costs a new one; to keep one that is not costs every user after. So where it
//!    is not clear, it is closed.
//! 2. What is the user's own (rules, `Debug`) runs in `assess`, outside of all locks; the pool catches a panic there.

use std::error::Error as StdError;

use sqlx::error::DatabaseError;

use crate::run::said;

/// Returns `true` if this error of a body says that the connection on which it happened will fail again at what others do on it:
/// looks for what a database says about it in the error and in its [sources](StdError::source).
///
/// | database | errors |
/// |---|---|
/// | PostgreSQL | a plan whose table has changed (`0A000`), a prepared statement that is not there (`26000`), a session that may only read (`25006`), a server that stops (`57P01`, `57P02`, `57P05`), and whatever is fatal |
/// | MySQL, MariaDB | a server that has become read-only (1290, 1792, 1836), a prepared statement that is not there (1243), and what a server says before it hangs up |
/// | SQLite | `SQLITE_IOERR`, `SQLITE_CORRUPT`, `SQLITE_NOTADB` |
#[must_use]
pub fn is_spoilt(error: &(dyn StdError + 'static)) -> bool {
    said(error, |said| SPOILT.iter().any(|says| says(said)))
}

/// What each database calls spoilt; of another's errors it says no.
const SPOILT: &[fn(&(dyn DatabaseError + 'static)) -> bool] = &[
    #[cfg(feature = "sqlite")]
    <sqlx::Sqlite as crate::backend::Driver>::is_spoilt,
    #[cfg(feature = "postgres")]
    <sqlx::Postgres as crate::backend::Driver>::is_spoilt,
    #[cfg(feature = "mysql")]
    <sqlx::MySql as crate::backend::Driver>::is_spoilt,
];
