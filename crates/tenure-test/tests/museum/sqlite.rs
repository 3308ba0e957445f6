//! Transactions of sqlx on SQLite: its own, and one that is begun by hand.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;
use tenure_test::{PreparedProof, Proof};

use crate::load::{found_in_each_of_ten, idle_and_busy, place};

struct Database {
    _folder: TempDir,
    options: SqliteConnectOptions,
    pool: SqlitePool,
}

impl Database {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("db"))
            .create_if_missing(true)
            .busy_timeout(Duration::ZERO);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.unwrap();
        pool.execute("CREATE TABLE notes (text TEXT)").await.unwrap();
        Self { _folder: folder, options, pool }
    }

    /// Another connection can write, and sees both rows or none.
    async fn look(&self) -> Result<(), String> {
        let mut witness = self.options.clone().connect().await.map_err(|error| error.to_string())?;
        let locked = witness.execute("BEGIN IMMEDIATE").await.is_err();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut witness).await.unwrap();
        witness.close().await.map_err(|error| error.to_string())?;
        match (locked, rows) {
            (true, _) => Err("a transaction is open".to_owned()),
            (false, 0 | 2) => Ok(()),
            (false, rows) => Err(format!("{rows} of two rows are there")),
        }
    }
}

fn proof() -> PreparedProof<Database> {
    Proof::new()
        .real_clock()
        .min_suspensions(3)
        .check_within(Duration::from_secs(1))
        .set_up(Database::new)
        .check(|_run, database: Arc<Database>| async move { database.look().await })
}

async fn by_hand(database: Arc<Database>) -> sqlx::Result<()> {
    let mut connection = database.pool.acquire().await?;
    connection.execute("BEGIN IMMEDIATE").await?; // the begin
    connection.execute("INSERT INTO notes VALUES ('first')").await?; // the first insert
    connection.execute("INSERT INTO notes VALUES ('second')").await?; // the second insert
    connection.execute("COMMIT").await?;
    Ok(())
}

#[test]
fn a_transaction_begun_by_hand_stays_open() {
    let at = |mark| place("museum/sqlite.rs", include_str!("sqlite.rs"), mark);
    found_in_each_of_ten(&[&at("the begin"), &at("the first insert"), &at("the second insert")], || {
        proof().expect_leak(|_, database| by_hand(database))
    });
}

#[test]
fn a_transaction_of_sqlx_does_not() {
    idle_and_busy(|| {
        let report = proof().cancel_everywhere(|_, database| async move {
            let mut transaction = database.pool.begin().await?;
            transaction.execute("INSERT INTO notes VALUES ('first')").await?;
            transaction.execute("INSERT INTO notes VALUES ('second')").await?;
            transaction.commit().await
        });
        assert!(report.suspensions >= 3, "{report}");
    });
}
