//! What differs between the databases.

use sqlx::{Executor as _, PgConnection, Postgres, Sqlite, SqliteConnection};
use tenure_sqlx::{Backend, Begin};

/// How a connection is opened.
pub(crate) type Options<K> = <<K as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// A database that is measured.
pub(crate) trait Kind: Backend {
    /// What begins a transaction that means to write.
    const BEGIN: &'static str;

    /// The same, for tenure-sqlx.
    fn writing(begin: Begin<'_, Self>) -> Begin<'_, Self>;

    /// Makes the table anew.
    fn prepare(connection: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;

    /// Inserts a row.
    fn insert(
        connection: &mut Self::Connection,
        number: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;
}

impl Kind for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn writing(begin: Begin<'_, Self>) -> Begin<'_, Self> {
        begin.immediate()
    }

    async fn prepare(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.execute("DROP TABLE IF EXISTS tenure_bench").await?;
        connection.execute("CREATE TABLE tenure_bench (number INTEGER NOT NULL)").await.map(drop)
    }

    async fn insert(connection: &mut SqliteConnection, number: i64) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO tenure_bench VALUES (?)").bind(number).execute(connection).await.map(drop)
    }
}

impl Kind for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn writing(begin: Begin<'_, Self>) -> Begin<'_, Self> {
        begin
    }

    async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.execute("DROP TABLE IF EXISTS tenure_bench").await?;
        connection.execute("CREATE TABLE tenure_bench (number BIGINT NOT NULL)").await.map(drop)
    }

    async fn insert(connection: &mut PgConnection, number: i64) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO tenure_bench VALUES ($1)").bind(number).execute(connection).await.map(drop)
    }
}
