//! Migrations in a body, which leave no lock behind.

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
/// # Cancel safety
/// Dropped half-way, the lock is the session's: it ends with the connection, or with the reset of a pool's connection.
///
/// # Errors
/// As [`Migrator::run`]. The lock, which `run` keeps after a failure, so that the next one who migrates waits for it, is
/// released.
pub async fn migrate<C: Migrate + Send>(connection: &mut C, migrator: &Migrator) -> Result<(), MigrateError> {
    let migrated = migrator.run_direct(None, connection, false).await;
    if migrated.is_err() && migrator.locking {
        // What the migration failed with is what counts; where nothing was locked, nothing is released.
        let _ = connection.unlock().await;
    }
    migrated
}
