//! PostgreSQL's advisory locks.

use sqlx::{PgConnection, Postgres};

use crate::Error;
use crate::pool::PoolExt;
use crate::pool::lock::{Lock, take};

/// An advisory lock of PostgreSQL's that is held.
pub type AdvisoryLock = crate::pool::AdvisoryLock<Postgres>;

impl Lock for Postgres {
    type Key = i64;

    async fn lock<'c>(connection: &'c mut PgConnection, key: &'c i64) -> Result<bool, sqlx::Error> {
        sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(connection).await?;
        Ok(true)
    }

    async fn unlock<'c>(connection: &'c mut PgConnection, key: &'c i64) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT pg_advisory_unlock($1)").bind(key).fetch_one(connection).await
    }
}

/// Takes an advisory lock of PostgreSQL's, held by a connection of a pool, as a context.
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
///     sqlx::query("UPDATE jobs SET state = 'taken'").execute(locked.conn()).await?;
///     Ok::<_, sqlx::Error>(())
/// })
/// .await?; // released
/// # Ok(()) }
/// ```
///
/// # Errors
/// Entering fails at [`Stage::Get`](crate::Stage::Get) or [`Stage::Lock`](crate::Stage::Lock). The exit fails at
/// [`Stage::Lock`](crate::Stage::Lock) if the lock was not the session's any more; then it has not protected the body.
///
/// # Cancel safety
/// Dropped while it waits, the connection is closed, which ends the wait for the lock with the statement.
pub fn advisory_lock(
    pool: &impl PoolExt<Postgres>,
    key: i64,
) -> impl Future<Output = Result<AdvisoryLock, Error>> + Send + 'static {
    take(pool, key)
}
