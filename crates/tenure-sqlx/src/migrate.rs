//! Migrations in a body, which leave no lock behind.

use std::any::Any;

use sqlx::migrate::{Migrate, MigrateError, Migrator};

/// Runs the pending migrations: what [`Migrator::run`] does, for a connection in a body of [`with`](tenure::with), where
/// that does not compile.
///
/// ```no_run
/// # #[cfg(all(feature = "sqlite", feature = "pool", feature = "migrate"))]
/// # mod only {
/// use sqlx::migrate::Migrator;
/// use tenure::with;
/// use tenure_sqlx::pool::{Pool, PoolExt};
///
/// type Error = Box<dyn std::error::Error + Send + Sync>;
///
/// // With sqlx's macros: static MIGRATOR: Migrator = sqlx::migrate!();
/// async fn prepare(pool: &Pool<sqlx::Sqlite>, migrator: &Migrator) -> Result<(), Error> {
///     with(pool.connection(), async |connection| {
///         tenure_sqlx::migrate(connection.conn(), migrator).await?;
///         Ok::<_, Error>(())
///     })
///     .await
/// }
/// # }
/// # fn main() {}
/// ```
///
/// On MySQL and MariaDB it takes a lock of its own besides sqlx's: sqlx asks for its lock without a time limit, which
/// MariaDB refuses, so that two processes would migrate at the same time.
///
/// # Cancel safety
/// Dropped half-way, the lock is the session's: it ends with the connection, or with the reset of a pool's connection.
///
/// # Errors
/// As [`Migrator::run`]. The lock, which `run` keeps after a failure, so that the next one who migrates waits for it, is
/// released.
pub async fn migrate<C: Migrate + Any + Send>(
    connection: &mut C,
    migrator: &Migrator,
) -> Result<(), MigrateError> {
    let lock = if migrator.locking { Lock::take(connection).await? } else { Lock::default() };
    let migrated = migrator.run_direct(None, connection, false).await;
    if migrated.is_err() && migrator.locking {
        // What the migration failed with is what counts; where nothing was locked, nothing is released.
        let _ = connection.unlock().await;
    }
    let released = lock.release(connection).await;
    migrated?;
    Ok(released?)
}

/// The lock that migrations take besides sqlx's, where that is none.
#[derive(Default)]
struct Lock {
    #[cfg(feature = "mysql")]
    name: Option<String>,
}

impl Lock {
    #[cfg_attr(not(feature = "mysql"), expect(clippy::unused_async, reason = "there is no such lock"))]
    async fn take<C: Any + Send>(connection: &mut C) -> Result<Self, sqlx::Error> {
        #[cfg(feature = "mysql")]
        if let Some(connection) = (connection as &mut (dyn Any + Send)).downcast_mut::<sqlx::MySqlConnection>()
        {
            return Ok(Self { name: Some(crate::mysql::lock_migrations(connection).await?) });
        }
        let _ = connection;
        Ok(Self::default())
    }

    #[cfg_attr(not(feature = "mysql"), expect(clippy::unused_async, reason = "there is no such lock"))]
    async fn release<C: Any + Send>(self, connection: &mut C) -> Result<(), sqlx::Error> {
        #[cfg(feature = "mysql")]
        if let Some(name) = self.name
            && let Some(connection) =
                (connection as &mut (dyn Any + Send)).downcast_mut::<sqlx::MySqlConnection>()
        {
            return crate::mysql::unlock_migrations(connection, &name).await;
        }
        let _ = connection;
        Ok(())
    }
}
