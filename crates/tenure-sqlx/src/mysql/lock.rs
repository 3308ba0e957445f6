//! The named locks of MySQL and MariaDB, and the one that migrations take.

#[cfg(feature = "pool")]
use sqlx::MySql;
use sqlx::MySqlConnection;

#[cfg(feature = "pool")]
use crate::Error;
#[cfg(feature = "pool")]
use crate::pool::PoolExt;
#[cfg(feature = "pool")]
use crate::pool::lock::{Lock, take};

/// For how long a server waits for a lock, in seconds: a year. MariaDB refuses to wait without a limit, and says so by
/// `NULL`, as after an error.
const PATIENCE: u32 = 365 * 24 * 60 * 60;

/// A named lock of MySQL's or MariaDB's that is held.
#[cfg(feature = "pool")]
pub type NamedLock = crate::pool::AdvisoryLock<MySql>;

#[cfg(feature = "pool")]
impl Lock for MySql {
    type Key = String;

    async fn lock<'c>(connection: &'c mut MySqlConnection, name: &'c String) -> Result<bool, sqlx::Error> {
        get_lock(connection, name).await
    }

    async fn unlock<'c>(connection: &'c mut MySqlConnection, name: &'c String) -> Result<bool, sqlx::Error> {
        let released = sqlx::query_scalar("SELECT RELEASE_LOCK(?)").bind(name);
        let released: Option<i64> = released.fetch_one(connection).await?;
        Ok(released == Some(1))
    }
}

async fn get_lock(connection: &mut MySqlConnection, name: &str) -> Result<bool, sqlx::Error> {
    let got = sqlx::query_scalar("SELECT GET_LOCK(?, ?)").bind(name).bind(PATIENCE);
    let got: Option<i64> = got.fetch_one(connection).await?;
    Ok(got == Some(1))
}

/// Takes a named lock (`GET_LOCK`), held by a connection of a pool, as a context.
///
/// It waits for the lock without a limit of its own, but for the year that the server is asked to wait: set one at
/// `tenure::Options`. The name has at most 64 characters and is one for the whole server, whatever the database; case is
/// ignored. The connection is the body's: a [`NamedLock`] dereferences to it.
///
/// ```no_run
/// use tenure::with;
/// use tenure_sqlx::mysql::named_lock;
/// use tenure_sqlx::pool::Pool;
///
/// # async fn example(pool: &Pool<sqlx::MySql>) -> Result<(), sqlx::Error> {
/// with(named_lock(pool, "jobs"), async |locked| {
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
/// Dropped while it waits, the connection is closed. MySQL and MariaDB see that within seconds, and the wait ends then.
#[cfg(feature = "pool")]
pub fn named_lock(
    pool: &impl PoolExt<MySql>,
    name: impl Into<String>,
) -> impl Future<Output = Result<NamedLock, Error>> + Send + 'static {
    take(pool, name.into())
}

/// The name of the lock that migrations of the present database take.
#[cfg(feature = "migrate")]
const MIGRATION: &str = "SELECT CONCAT('tenure_migrate_', SHA1(COALESCE(DATABASE(), '')))";

/// Takes the lock of migrations; returns its name. That of sqlx's is none on MariaDB, which refuses its time limit.
#[cfg(feature = "migrate")]
pub(crate) async fn lock_migrations(connection: &mut MySqlConnection) -> Result<String, sqlx::Error> {
    let name: String = sqlx::query_scalar(MIGRATION).fetch_one(&mut *connection).await?;
    if get_lock(connection, &name).await? {
        Ok(name)
    } else {
        Err(sqlx::Error::Protocol("the server did not give the lock of the migrations".to_owned()))
    }
}

/// Releases the lock of migrations.
#[cfg(feature = "migrate")]
pub(crate) async fn unlock_migrations(connection: &mut MySqlConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT RELEASE_LOCK(?)").bind(name.to_owned()).execute(connection).await.map(drop)
}
