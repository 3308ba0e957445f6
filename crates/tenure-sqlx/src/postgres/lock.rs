//! An advisory lock as a context: released, and awaited, on every path.
//!
//! # Invariants
//! 1. The lock is the session's. A connection of which it is not known whether it has the lock is closed.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, Postgres};
use tenure::{AsyncExit, Outcome};

use crate::patience::within;
use crate::pool::{PoolExt, Pooled};
use crate::{Backend, Error, Stage};

/// An advisory lock of PostgreSQL's, held by a connection of a pool, as a context.
///
/// It waits for the lock without a limit of its own: set one at `tenure::Options`, or `lock_timeout` in the session. The
/// connection is the body's: an [`AdvisoryLock`] dereferences to it.
///
/// ```no_run
/// use tenure::with;
/// use tenure_sqlx::pool::Pool;
/// use tenure_sqlx::postgres::advisory_lock;
///
/// # async fn example(pool: &Pool<sqlx::Postgres>) -> Result<(), sqlx::Error> {
/// with(advisory_lock(pool, 42), async |locked| {
///     sqlx::query("UPDATE jobs SET state = 'taken'").execute(&mut **locked).await?;
///     Ok::<_, sqlx::Error>(())
/// })
/// .await?; // released
/// # Ok(()) }
/// ```
///
/// # Errors
/// Entering fails at [`Stage::Get`] or [`Stage::Lock`]. The exit fails at [`Stage::Lock`] if the lock was not the
/// session's any more; then it has not protected the body.
///
/// # Cancel safety
/// Dropped while it waits, the connection is closed, which ends the wait for the lock with the statement.
pub fn advisory_lock(
    pool: &impl PoolExt<Postgres>,
    key: i64,
) -> impl Future<Output = Result<AdvisoryLock, Error>> + Send + 'static {
    let connection = pool.connection();
    async move {
        let mut locked = AdvisoryLock { connection: Some(connection.await?), key };
        let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut *locked);
        lock.await.map_err(|error| Error::new::<Postgres>(Stage::Lock, error))?;
        Ok(locked)
    }
}

/// An advisory lock that is held: the resource that a body gets. It dereferences to the connection that has it.
#[must_use = "a lock that is dropped, not exited, is released by closing its connection"]
pub struct AdvisoryLock {
    /// Taken by the exit. Until then the session may have the lock, or get it yet.
    connection: Option<Pooled<Postgres>>,
    key: i64,
}

impl Drop for AdvisoryLock {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.give_up();
        }
    }
}

impl AsyncExit for AdvisoryLock {
    type Error = Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Error> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        if let Err(error) = connection.ready().await {
            connection.give_up();
            return Err(error);
        }
        let unlock = sqlx::query_scalar("SELECT pg_advisory_unlock($1)").bind(self.key);
        let unlocked = within(Postgres::ANSWER_LIMIT, unlock.fetch_one(connection.conn())).await;
        let failed = match unlocked {
            Ok(true) => None,
            Ok(false) => Some(sqlx::Error::Protocol("the lock was not the session's any more".to_owned())),
            // Where the transaction is aborted, or an answer is lost.
            Err(error) => {
                connection.give_up();
                Some(error)
            }
        };
        let failed = failed.map(|error| Error::new::<Postgres>(Stage::Lock, error));
        let outcome = failed.as_ref().map_or(outcome, Outcome::failed);
        connection.exit(outcome).await?;
        failed.map_or(Ok(()), Err)
    }
}

/// What is so until the exit takes the connection.
const HELD: &str = "a lock that has not exited has its connection";

impl Deref for AdvisoryLock {
    type Target = PgConnection;

    #[track_caller]
    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(HELD)
    }
}

impl DerefMut for AdvisoryLock {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(HELD)
    }
}

impl fmt::Debug for AdvisoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdvisoryLock").field("key", &self.key).finish_non_exhaustive()
    }
}
