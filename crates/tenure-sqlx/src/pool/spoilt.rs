//! Which errors of a body say that the connection is of no more use to others.
//!
//! # Invariants
//! 1. To close a connection that was good costs a new one; to keep one that is not costs every user after. So where it
//!    is not clear, it is closed.
//! 2. What is the user's own (rules, `Debug`) runs in `assess`, outside of all locks; the pool catches a panic there.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use sqlx::error::DatabaseError;
use tenure::Failure;

use crate::backend::Driver;
use crate::run::said;
use crate::{Backend, Error};

/// How much of what an error shows of itself is looked at, in bytes.
const SHOWN_MAX: usize = 16 * 1024;

/// Whether this error of a body says that the connection on which it happened will fail again at what others do on it:
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
    <sqlx::Sqlite as Driver>::is_spoilt,
    #[cfg(feature = "postgres")]
    <sqlx::Postgres as Driver>::is_spoilt,
    #[cfg(feature = "mysql")]
    <sqlx::MySql as Driver>::is_spoilt,
];

/// The default rule for whatever a body has failed with. An outcome does not tell the sources of an error of the user's
/// own type; so that one is judged by how it shows itself, where what the database said shows as it derives `Debug`.
pub(crate) fn is_spoilt_by<DB: Backend>(failure: Failure<'_>) -> bool {
    type Boxed = Box<dyn StdError + Send + Sync>;
    if let Some(error) = failure.downcast_ref::<sqlx::Error>() {
        return is_spoilt(error);
    }
    if let Some(error) = failure.downcast_ref::<Error>() {
        return is_spoilt(error);
    }
    if let Some(error) = failure.downcast_ref::<Boxed>() {
        return is_spoilt(&**error);
    }
    let mut shown = Shown(String::new());
    // It is cut off where it is too long.
    let _ = write!(shown, "{failure:?}");
    DB::shows_spoilt(&shown.0)
}

/// The beginning of what an error shows.
struct Shown(String);

impl fmt::Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > SHOWN_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}
