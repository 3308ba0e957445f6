//! A whole transaction done again when it has met another one.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Write as _};
use std::future::ready;
use std::panic::Location;
use std::pin::Pin;

use sqlx::Connection as _;
use sqlx::error::DatabaseError;
use tenure::{BodyFn, Failure, with_at};

use crate::lease::Holder;
use crate::patience::within;
use crate::transaction::{On, Terms};
use crate::{Backend, Begin, Connection, Error, Transaction};

/// Returns `true` if doing the whole transaction again may cure this error: looks for what a database says about it in the error
/// and in its [sources](StdError::source).
///
/// | database | conflict |
/// |---|---|
/// | PostgreSQL | serialization failure (`40001`), deadlock (`40P01`) |
/// | MySQL, MariaDB | deadlock (1213), lock wait timeout (1205), changed since last read (1020) |
/// | SQLite | `SQLITE_BUSY`, `SQLITE_LOCKED` |
///
/// All of these are refusals: nothing of the transaction is kept. A commit whose answer is lost is none of them.
#[must_use]
pub fn is_conflict(error: &(dyn StdError + 'static)) -> bool {
    said(error, |said| CONFLICTS.iter().any(|says| says(said)))
}

/// Whether something that a database said, in this error or its sources, is of a kind.
pub(crate) fn said(
    error: &(dyn StdError + 'static),
    is_of_kind: impl Fn(&(dyn DatabaseError + 'static)) -> bool,
) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error that is transparent to sqlx's passes over it in its sources, to what sqlx has in it.
        let said = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        let said = said.or_else(|| Some(&**error.downcast_ref::<Box<dyn DatabaseError>>()?));
        if said.is_some_and(&is_of_kind) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What each database calls a conflict; of another's errors it says no.
const CONFLICTS: &[fn(&(dyn DatabaseError + 'static)) -> bool] = &[
    #[cfg(feature = "sqlite")]
    <sqlx::Sqlite as crate::backend::Driver>::is_conflict,
    #[cfg(feature = "postgres")]
    <sqlx::Postgres as crate::backend::Driver>::is_conflict,
    #[cfg(feature = "mysql")]
    <sqlx::MySql as crate::backend::Driver>::is_conflict,
];

impl<DB: Backend> Begin<'_, DB> {
    /// Does the transaction, and does it again from its start when it meets a conflict with another one, at one of
    /// the body's statements or at its commit: with a new body in a new transaction.
    ///
    /// What is a conflict is for [`is_conflict`] to say; [`run_when`](Self::run_when) lets you say it. How often
    /// and how long is for [`retry`](Self::retry): up to 10 s by default, with pauses between. To do it once, hand
    /// the transaction to [`tenure::with`].
    ///
    /// `make` is called for each attempt and makes its body. What an attempt begins with belongs into it; what a body
    /// does besides the database has happened once for each attempt.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod only {
    /// # use sqlx::sqlite::SqliteConnectOptions;
    /// # use tenure::with;
    /// # use tenure_sqlx::sqlite;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), sqlx::Error> {
    /// # let options = SqliteConnectOptions::new().in_memory(true);
    /// # with(sqlite::connect(options), async |connection| {
    /// # sqlx::query("CREATE TABLE account (balance INTEGER)").execute(&mut **connection).await?;
    /// # sqlx::query("INSERT INTO account VALUES (100)").execute(&mut **connection).await?;
    /// let mut attempts = 0;
    /// let sum = 1;
    /// let left = connection
    ///     .transaction()
    ///     .run(|| {
    ///         attempts += 1;
    ///         async move |transaction| {
    ///             let take = "UPDATE account SET balance = balance - ? RETURNING balance";
    ///             sqlx::query_scalar::<_, i64>(take).bind(sum).fetch_one(&mut **transaction).await
    ///         }
    ///     })
    ///     .await?;
    /// assert_eq!((left, attempts), (99, 1));
    /// # Ok(()) }).await }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # only::main().unwrap();
    /// ```
    ///
    /// # Cancel safety
    /// As with [`tenure::with`]: the transaction that is going on is rolled back in the background.
    ///
    /// # Errors
    /// The error of the last attempt, unchanged. After an error that says that a prepared statement is stale, since a
    /// table has changed (PostgreSQL: `0A000`, `26000`), the session's prepared statements are given up and the
    /// transaction is done once more. After a [`Fate::Unknown`](crate::Fate::Unknown) there is
    /// no further attempt.
    ///
    /// # Panics
    /// If the body panics, after the rollback. A panic is not tried again.
    #[track_caller]
    pub fn run<T, E, F, B>(self, make: F) -> impl Future<Output = Result<T, E>>
    where
        F: FnMut() -> B + Send,
        T: Send,
        B: for<'r> BodyFn<&'r mut Transaction<DB>, Result<T, E>, Fut: Send> + Send,
        E: StdError + From<Error> + Send + Sync + 'static,
    {
        self.run_when(|error: &E| is_conflict(error), make)
    }

    /// Like [`run`](Self::run) for any error type, with a function that says after which errors to try again.
    ///
    /// For `anyhow::Error`: `run_when(|error| is_conflict(error.as_ref()), …)`.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn run_when<T, E, F, B>(
        self,
        is_conflict: impl FnMut(&E) -> bool + Send,
        make: F,
    ) -> impl Future<Output = Result<T, E>>
    where
        F: FnMut() -> B + Send,
        T: Send,
        B: for<'r> BodyFn<&'r mut Transaction<DB>, Result<T, E>, Fut: Send> + Send,
        E: From<Error> + Debug + Send + Sync + 'static,
    {
        let caller = Location::caller();
        let Self { on, terms } = self;
        async move {
            match on {
                On::Borrowed(holder) => attempt(caller, holder, terms, is_conflict, make).await,
                On::Owned(holder) => {
                    let connection = ready(Ok::<_, Error>(Connection::of(holder)));
                    with_at(caller, connection, async |connection| {
                        attempt(caller, connection.holder_mut(), terms, is_conflict, make).await
                    })
                    .await
                }
                On::Pooled(get) => {
                    with_at(caller, get, async |keeper| {
                        attempt(caller, keeper.0.holder_mut(), terms, is_conflict, make).await
                    })
                    .await
                }
            }
        }
    }
}

async fn attempt<DB: Backend, T, E, F, B>(
    caller: &'static Location<'static>,
    holder: &mut Holder<DB>,
    terms: Terms<DB>,
    mut is_conflict: impl FnMut(&E) -> bool + Send,
    mut make: F,
) -> Result<T, E>
where
    F: FnMut() -> B + Send,
    T: Send,
    B: for<'r> BodyFn<&'r mut Transaction<DB>, Result<T, E>, Fut: Send> + Send,
    E: From<Error> + Debug + Send + Sync + 'static,
{
    let mut attempts = terms.retry.start();
    let mut has_forgotten = false;
    loop {
        let begin = Begin { on: On::Borrowed(&mut *holder), terms };
        let error = match with_at(caller, begin.into_future(), make()).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let is_stale =
            !has_forgotten && failure_says(Failure::new(&error), DB::is_stale_plan, DB::shows_stale_plan);
        has_forgotten |= is_stale;
        let is_curable =
            if is_stale { forget(holder).await } else { is_conflict(&error) && is_there(holder).await };
        if !is_curable || attempts.pause().await.is_err() {
            return Err(error);
        }
    }
}

/// Gives up what the session has prepared, so that it is prepared anew. Boxed as [`is_there`] is.
fn forget<DB: Backend>(holder: &mut Holder<DB>) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
    Box::pin(async {
        let Ok(connection) = holder.ready().await else {
            return false;
        };
        within(DB::ANSWER_LIMIT, connection.clear_cached_statements()).await.is_ok()
    })
}

/// How much of what an error shows of itself is looked at, in bytes.
const SHOWN_MAX: usize = 16 * 1024;

/// Whether what a body has failed with is of a kind, for any error type. A failure does not tell the sources of an error
/// of the user's own type; so that one is judged by how it shows itself, where what the database said shows as it
/// derives `Debug`.
pub(crate) fn failure_says(
    failure: Failure<'_>,
    is_of_kind: fn(&(dyn DatabaseError + 'static)) -> bool,
    shows: fn(&str) -> bool,
) -> bool {
    type Boxed = Box<dyn StdError + Send + Sync>;
    if let Some(error) = failure.downcast_ref::<sqlx::Error>() {
        return said(error, is_of_kind);
    }
    if let Some(error) = failure.downcast_ref::<Error>() {
        return said(error, is_of_kind);
    }
    if let Some(error) = failure.downcast_ref::<Boxed>() {
        return said(&**error, is_of_kind);
    }
    let mut shown = Shown(String::new());
    // It is cut off where it is too long.
    let _ = write!(shown, "{failure:?}");
    shows(&shown.0)
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

/// Whether the connection has come back. Boxed, since the compiler could not see that the future of a reference to a
/// generic holder may cross threads.
fn is_there<DB: Backend>(holder: &mut Holder<DB>) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
    Box::pin(async { holder.ready().await.is_ok() })
}
