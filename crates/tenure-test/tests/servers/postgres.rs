//! sqlx 0.9.0 on PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLock, PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tenure_test::{PreparedProof, Proof};

use crate::load::{found_in_each_of_ten, idle_and_busy, place};

/// A pool with sessions of a name of its own, and a table.
struct Database {
    name: String,
    pool: PgPool,
}

impl Database {
    async fn new() -> Self {
        let url = std::env::var("TENURE_POSTGRES_URL").expect("TENURE_POSTGRES_URL: see CONTRIBUTING.md");
        let options: PgConnectOptions = url.parse().unwrap();
        // What one run leaks has to leave the next alone.
        let name = format!("museum_{}", tenure_test::Recorder::new().run_id());
        let options = options.application_name(&name);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        pool.execute(AssertSqlSafe(format!("CREATE UNLOGGED TABLE {name} (text TEXT)"))).await.unwrap();
        Self { name, pool }
    }

    async fn witness() -> PgConnection {
        let url = std::env::var("TENURE_POSTGRES_URL").unwrap();
        url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
    }

    async fn insert(&self, to: impl sqlx::PgExecutor<'_>, text: &str) -> sqlx::Result<()> {
        let statement = format!("INSERT INTO {} VALUES ('{text}')", self.name);
        to.execute(AssertSqlSafe(statement)).await.map(drop)
    }

    /// No session of the pool is idle in a transaction, or holds an advisory lock.
    async fn look(&self) -> Result<(), String> {
        let mut witness = Self::witness().await;
        let ask = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state LIKE 'idle in%'";
        let open: i64 = sqlx::query_scalar(ask).bind(&self.name).fetch_one(&mut witness).await.unwrap();
        let ask = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = $1 AND locktype = 'advisory'";
        let locks: i64 = sqlx::query_scalar(ask).bind(&self.name).fetch_one(&mut witness).await.unwrap();
        witness.close().await.map_err(|error| error.to_string())?;
        match (open, locks) {
            (0, 0) => Ok(()),
            (0, _) => Err("an advisory lock is held".to_owned()),
            _ => Err("a session is idle in a transaction".to_owned()),
        }
    }
}

fn proof() -> PreparedProof<Database> {
    Proof::new()
        .real_clock()
        .suspend_often()
        .min_suspensions(3)
        .check_within(Duration::from_millis(500))
        .check_for(Duration::from_millis(60))
        .set_up(Database::new)
        .check(|_run, database: Arc<Database>| async move { database.look().await })
}

/// As the documentation shows it.
async fn begin_and_commit(database: Arc<Database>) -> sqlx::Result<()> {
    let mut transaction = database.pool.begin().await?; // the begin
    database.insert(&mut *transaction, "first").await?;
    database.insert(&mut *transaction, "second").await?;
    transaction.commit().await
}

#[test]
fn begin_leaves_a_transaction_open() {
    let at = place("servers/postgres.rs", include_str!("postgres.rs"), "the begin");
    found_in_each_of_ten(&[&at], || proof().expect_leak(|_, database| begin_and_commit(database)));
}

/// The same without the dangerous await: what is dropped in it is closed with its connection.
#[test]
fn a_connection_that_is_closed_leaves_nothing() {
    idle_and_busy(|| {
        let report = proof().cancel_everywhere(|_, database| async move {
            let mut connection = database.pool.acquire().await?.detach();
            connection.execute("BEGIN").await?;
            database.insert(&mut connection, "first").await?;
            connection.execute("COMMIT").await?;
            connection.close().await
        });
        assert!(report.suspensions >= 3, "{report}");
    });
}

/// The guard gives its connection away before it asks for the unlock, so that nothing unlocks when it is dropped there.
async fn lock_and_release(database: Arc<Database>) -> sqlx::Result<()> {
    let lock = PgAdvisoryLock::new(&database.name);
    let guard = lock.acquire(database.pool.acquire().await?).await?;
    guard.release_now().await?; // the release
    Ok(())
}

#[test]
fn release_now_leaves_the_lock_held() {
    let at = place("servers/postgres.rs", include_str!("postgres.rs"), "the release");
    found_in_each_of_ten(&[&at], || proof().expect_leak(|_, database| lock_and_release(database)));
}
