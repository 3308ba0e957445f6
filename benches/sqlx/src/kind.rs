//! What differs between the databases.

use sqlx::{Executor as _, MySql, MySqlConnection, PgConnection, Postgres, Sqlite, SqliteConnection};
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

    /// Selects a number that is told.
    fn select(
        connection: &mut Self::Connection,
        number: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + '_;
}

macro_rules! statements {
    ($connection:ty, $number:literal, $create:literal, $hole:literal) => {
        async fn prepare(connection: &mut $connection) -> Result<(), sqlx::Error> {
            connection.execute("DROP TABLE IF EXISTS tenure_bench").await?;
            connection.execute($create).await.map(drop)
        }

        async fn insert(connection: &mut $connection, number: i64) -> Result<(), sqlx::Error> {
            let insert = concat!("INSERT INTO tenure_bench VALUES (", $hole, ")");
            sqlx::query(insert).bind(number).execute(connection).await.map(drop)
        }

        async fn select(connection: &mut $connection, number: i64) -> Result<(), sqlx::Error> {
            let select = concat!("SELECT CAST(", $hole, " AS ", $number, ")");
            sqlx::query(select).bind(number).fetch_one(connection).await.map(drop)
        }
    };
}

impl Kind for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn writing(begin: Begin<'_, Self>) -> Begin<'_, Self> {
        begin.immediate()
    }

    statements!(SqliteConnection, "INTEGER", "CREATE TABLE tenure_bench (number INTEGER NOT NULL)", "?");
}

impl Kind for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn writing(begin: Begin<'_, Self>) -> Begin<'_, Self> {
        begin
    }

    statements!(PgConnection, "BIGINT", "CREATE TABLE tenure_bench (number BIGINT NOT NULL)", "$1");
}

impl Kind for MySql {
    const BEGIN: &'static str = "BEGIN";

    fn writing(begin: Begin<'_, Self>) -> Begin<'_, Self> {
        begin
    }

    statements!(MySqlConnection, "SIGNED", "CREATE TABLE tenure_bench (number BIGINT NOT NULL)", "?");
}
