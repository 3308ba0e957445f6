//! What a pooled transaction costs: take a connection of a pool, begin, insert one row, commit, give it back.
//!
//! `cargo run --release -p tenure-sqlx-bench` measures on SQLite, and on PostgreSQL and MariaDB if
//! `TENURE_POSTGRES_URL` and `TENURE_MYSQL_URL` say where they are; `cargo xtask servers -- cargo run --release -p
//! tenure-sqlx-bench` starts them for the run. `-- --quick` measures a tenth of the time. What it prints is
//! `BENCHMARKS.md` of `crates/tenure-sqlx`.
//!
//! The peers are sqlx's own pool with `begin` and `commit`, and deadpool over the same connections with the same
//! `begin` and `commit`; the floor is sqlx's connections without a pool. All have the same options, the same size, and
//! take turns in short rounds, each first as often as the others. The figure of a round is its time divided by its
//! transactions; the ratio is the median of the ratios of neighbouring rounds; the percentiles are of single
//! transactions, the wait for a connection included.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures for people, on a 64-bit machine"
)]

mod kind;
mod peers;
mod race;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor, MySql, Postgres, Sqlite};
use tokio::runtime::{Builder, Runtime};

use crate::kind::Options;
use crate::peers::AnyError;
use crate::race::{Load, Race};
use crate::wire::{Wired, report};

/// How many rounds each peer has. Short ones and many: what disturbs the machine then meets neighbours alike.
const ROUNDS: u32 = 200;

/// What the figures are figures of.
const PREFACE: &str = "\
# A pooled transaction beside its peers

Take a connection of a pool, begin, insert one row, commit, give it back. The peers are sqlx's own pool with `begin` and
`commit`, and deadpool over the same connections with the same `begin` and `commit`. The floor is sqlx's connections
without a pool, each behind a mutex, used in turn. All have the same options and the same size, in one run, in turns, on a
runtime with two workers.

The figure of a round is its time divided by its transactions; the table has the medians, and the ratio is the median
of the ratios of neighbouring rounds. The percentiles are of single transactions, the wait for a connection included.
Before it lends a connection, sqlx's pool pings it by default, tenure's if it was idle for half a second; deadpool's
manager pings it where the table says so. sqlx's pool also pings what comes back, always, in the background.

The tables of single statements have pools of one connection, so that what is done in the background counts.
";

/// The variables with the addresses of the servers.
const POSTGRES: &str = "TENURE_POSTGRES_URL";
const MARIADB: &str = "TENURE_MYSQL_URL";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let rounds = match *arguments {
        [] => ROUNDS,
        ["--quick"] => ROUNDS / 10,
        _ => {
            eprintln!("unknown arguments {arguments:?}; known is --quick");
            return ExitCode::FAILURE;
        }
    };
    match run(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: u32) -> Result<(), AnyError> {
    println!("{PREFACE}");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    on_sqlite(&runtime, rounds)?;
    for (variable, measure) in [(POSTGRES, on_postgres as fn(&Runtime, u32, &str) -> _), (MARIADB, on_mariadb)]
    {
        match std::env::var(variable) {
            Ok(url) => measure(&runtime, rounds, &url)?,
            Err(_) => println!(
                "{variable} is not set. This starts the servers for the run:\n\n    \
                 cargo xtask servers -- cargo run --release -p tenure-sqlx-bench"
            ),
        }
    }
    Ok(())
}

fn on_sqlite(runtime: &Runtime, rounds: u32) -> Result<(), AnyError> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("bench.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging();
    runtime.block_on(prepare::<Sqlite>(&options))?;
    println!("## SQLite: a file, WAL, `synchronous = NORMAL`, `BEGIN IMMEDIATE`, {rounds} rounds\n");
    Race::<Sqlite>::new(&options, 4, Load { tasks: 1, each: 100 }).transactions(runtime, rounds)?;
    // There is one writer at a time. More connections would measure SQLite's own way of waiting for it, which sleeps.
    Race::<Sqlite>::new(&options, 1, Load { tasks: 64, each: 4 }).transactions(runtime, rounds)?;
    Race::<Sqlite>::new(&options, 1, Load { tasks: 1, each: 50 }).resets(runtime, rounds);
    Ok(())
}

fn on_postgres(runtime: &Runtime, rounds: u32, url: &str) -> Result<(), AnyError> {
    let options: PgConnectOptions = url.parse()?;
    let options = options.ssl_mode(PgSslMode::Disable).disable_statement_logging();
    runtime.block_on(prepare::<Postgres>(&options))?;
    let settings = runtime.block_on(settings(&options))?;
    println!("## PostgreSQL {settings}, {rounds} rounds\n");
    measure::<Postgres>(runtime, rounds, &options, Load { tasks: 1, each: 50 })
}

fn on_mariadb(runtime: &Runtime, rounds: u32, url: &str) -> Result<(), AnyError> {
    let options: MySqlConnectOptions = url.parse()?;
    let options = options.ssl_mode(MySqlSslMode::Disabled).disable_statement_logging();
    runtime.block_on(prepare::<MySql>(&options))?;
    let version = runtime.block_on(async {
        let mut connection = options.connect().await?;
        let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut connection).await?;
        connection.close().await.map(|()| version)
    })?;
    // A new session for each use takes its time.
    println!("## MariaDB {version}: loopback TCP, {rounds} rounds\n");
    measure::<MySql>(runtime, rounds, &options, Load { tasks: 1, each: 20 })
}

fn measure<K: Wired>(runtime: &Runtime, rounds: u32, options: &Options<K>, alone: Load) -> Result<(), AnyError>
where
    for<'c> &'c mut K::Connection: Executor<'c, Database = K>,
{
    Race::<K>::new(options, 4, alone).transactions(runtime, rounds)?;
    Race::<K>::new(options, 4, Load { tasks: 64, each: 4 }).transactions(runtime, rounds)?;
    Race::<K>::new(options, 1, Load { tasks: 1, each: 10 }).resets(runtime, rounds);
    report::<K>(runtime, options)?;
    runtime.block_on(async {
        let mut connection = options.connect().await?;
        connection.execute("DROP TABLE tenure_bench").await?;
        connection.close().await
    })?;
    Ok(())
}

async fn prepare<K: kind::Kind>(options: &Options<K>) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    K::prepare(&mut connection).await?;
    connection.close().await
}

async fn settings(options: &PgConnectOptions) -> Result<String, sqlx::Error> {
    let mut connection = options.connect().await?;
    let mut settings = Vec::new();
    for ask in ["SHOW server_version", "SHOW fsync", "SHOW synchronous_commit"] {
        settings.push(sqlx::query_scalar::<_, String>(ask).fetch_one(&mut connection).await?);
    }
    connection.close().await?;
    let [version, fsync, synchronous_commit] = settings.as_slice() else { unreachable!("three were asked") };
    let version = version.split(' ').next().unwrap_or(version);
    Ok(format!("{version}: loopback TCP, `fsync = {fsync}`, `synchronous_commit = {synchronous_commit}`"))
}
