//! A kind of server, as the suite sees it: what to say to it, in its words.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Executor as _};
use tenure_sqlx::pool::{Connections, Pool, PoolExt, PooledStream};
use tenure_sqlx::{Backend, Begin, Connect, Isolation, mysql, postgres};

pub(crate) type Raw<S> = <<S as Server>::Db as sqlx::Database>::Connection;

pub(crate) type Options<S> = <Raw<S> as sqlx::Connection>::Options;

/// A kind of server.
pub(crate) trait Server: Sized + Send + Sync + 'static {
    type Db: Backend;

    /// The variable with the address of the server.
    const VARIABLE: &'static str;
    /// The beginning of what a transaction begins with.
    const BEGIN: &'static str;
    /// The state of a session that does nothing and has nothing open.
    const IDLE: &'static str;
    /// The beginning of what stops a statement.
    const STOP: &'static str;
    /// The type of a number that counts itself.
    const COUNTER: &'static str;
    /// Says so if a statement waits long for a lock.
    const HURRY: &'static str;

    /// Lets the session only read.
    const MAY_ONLY_READ: &'static str;
    /// Sets something, and asks for it.
    const SET_BY_HOOK: &'static str;
    const SEEN_OF_HOOK: &'static str;

    /// Statements that leave something in the session, and questions that find it.
    fn litter() -> &'static [&'static str];
    fn littered() -> &'static [&'static str];
    fn migrate(
        connection: &mut Raw<Self>,
        migrator: &Migrator,
    ) -> impl Future<Output = Result<(), MigrateError>> + Send;

    fn rows(pool: &Pool<Self::Db>, sql: &'static str) -> PooledStream<<Self::Db as sqlx::Database>::Row>;

    /// Sets one of `label`'s own apart, and says how to connect to it.
    fn set_apart(options: Options<Self>, label: &str) -> Options<Self>;
    /// The statement that makes the place for `label`, and the one that removes it.
    fn place(label: &str) -> (String, String);
    fn through(options: Options<Self>, port: u16) -> Options<Self>;
    /// With a wrong password.
    fn intruder(options: Options<Self>) -> Options<Self>;
    fn port(options: &Options<Self>) -> u16;
    fn connect(options: Options<Self>) -> Connect<Self::Db>;
    /// Connections of a pool on which statements are stopped.
    fn cancelling(options: Options<Self>) -> Connections<Self::Db>;
    /// The statement that lists the states of the sessions of `label`.
    fn states(label: &str) -> String;
    /// The statements that wait until no transaction has touched a table of `label`.
    fn lock(label: &str) -> String;
    /// The statement that yields the number of transactions that are open in its session.
    fn transactions() -> &'static str;
    /// The statement that yields the number of the session.
    fn session() -> &'static str;
    fn kill(session: &str) -> String;
    /// The statement that lists the sessions of `label` in which one runs that takes its time.
    fn sleeping(label: &str) -> String;
    /// The statement that takes this many milliseconds.
    fn sleep(milliseconds: u32) -> String;
    /// The statement that stops what runs in this session.
    fn stop(session: &str) -> String;
    fn isolated(begin: Begin<'_, Self::Db>, isolation: Isolation) -> Begin<'_, Self::Db>;
    fn read_only(begin: Begin<'_, Self::Db>) -> Begin<'_, Self::Db>;

    /// In the protocol for plain text.
    fn execute<'c>(
        connection: &'c mut Raw<Self>,
        sql: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'c;

    /// Prepared, as most statements of users are.
    fn prepared<'c>(
        connection: &'c mut Raw<Self>,
        sql: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'c;

    fn texts<'c>(
        connection: &'c mut Raw<Self>,
        sql: &str,
    ) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send + 'c;
}

macro_rules! statements {
    () => {
        fn execute<'c>(
            connection: &'c mut Raw<Self>,
            sql: &str,
        ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'c {
            let sql = AssertSqlSafe(sql.to_owned());
            async move { connection.execute(sql).await.map(drop) }
        }

        fn rows(pool: &Pool<Self::Db>, sql: &'static str) -> PooledStream<<Self::Db as sqlx::Database>::Row> {
            pool.rows(sqlx::query(sql))
        }

        fn prepared<'c>(
            connection: &'c mut Raw<Self>,
            sql: &str,
        ) -> impl Future<Output = Result<(), sqlx::Error>> + Send + 'c {
            let sql = AssertSqlSafe(sql.to_owned());
            async move { sqlx::query(sql).execute(connection).await.map(drop) }
        }

        fn texts<'c>(
            connection: &'c mut Raw<Self>,
            sql: &str,
        ) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send + 'c {
            let sql = AssertSqlSafe(sql.to_owned());
            async move { sqlx::query_scalar(sql).fetch_all(connection).await }
        }
    };
}

pub(crate) struct Postgres;

impl Server for Postgres {
    type Db = sqlx::Postgres;

    const VARIABLE: &'static str = "TENURE_POSTGRES_URL";
    const BEGIN: &'static str = "BEGIN";
    const IDLE: &'static str = "idle";
    const STOP: &'static str = "SELECT pg_cancel_backend";
    const COUNTER: &'static str = "SERIAL";
    const HURRY: &'static str = "SET deadlock_timeout = '10ms'";
    const MAY_ONLY_READ: &'static str = "SET default_transaction_read_only = on";
    const SET_BY_HOOK: &'static str = "SET app.hook = 'by the hook'";
    const SEEN_OF_HOOK: &'static str = "SELECT current_setting('app.hook', true)";

    fn litter() -> &'static [&'static str] {
        &[
            "CREATE TEMP TABLE scratch AS SELECT 1 AS secret",
            "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
            "PREPARE by_hand AS SELECT 1",
            "LISTEN channel",
            "SELECT pg_advisory_lock(99)",
            "SET statement_timeout = '77s'",
            "SET app.tenant = 'a'",
            "SET search_path = pg_catalog",
            "SET ROLE pg_monitor",
        ]
    }

    fn littered() -> &'static [&'static str] {
        &[
            "SELECT current_user::text",
            "SELECT current_setting('search_path')",
            "SELECT current_setting('statement_timeout')",
            "SELECT coalesce(current_setting('app.tenant', true), '')",
            "SELECT coalesce(to_regclass('pg_temp.scratch')::text, '')",
            "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "SELECT count(*)::text FROM pg_listening_channels()",
            "SELECT count(*)::text FROM pg_cursors WHERE is_holdable",
            "SELECT count(*)::text FROM pg_prepared_statements WHERE from_sql",
        ]
    }

    fn migrate(
        connection: &mut Raw<Self>,
        migrator: &Migrator,
    ) -> impl Future<Output = Result<(), MigrateError>> + Send {
        tenure_sqlx::migrate(connection, migrator)
    }

    fn set_apart(options: PgConnectOptions, label: &str) -> PgConnectOptions {
        let options = options.ssl_mode(PgSslMode::Disable).application_name(label);
        options.options([("search_path", label)])
    }

    fn place(label: &str) -> (String, String) {
        (format!("CREATE SCHEMA {label}"), format!("DROP SCHEMA {label} CASCADE"))
    }

    fn through(options: PgConnectOptions, port: u16) -> PgConnectOptions {
        options.host("127.0.0.1").port(port)
    }

    fn intruder(options: PgConnectOptions) -> PgConnectOptions {
        options.password("wrong")
    }

    fn port(options: &PgConnectOptions) -> u16 {
        options.get_port()
    }

    fn connect(options: PgConnectOptions) -> postgres::Connect {
        postgres::connect(options)
    }

    fn cancelling(options: PgConnectOptions) -> Connections<Self::Db> {
        Connections::new(options).cancel_statements(true)
    }

    fn states(label: &str) -> String {
        format!("SELECT coalesce(state, 'starting') FROM pg_stat_activity WHERE application_name = '{label}'")
    }

    fn lock(label: &str) -> String {
        format!("SET lock_timeout = '20s'; BEGIN; LOCK TABLE {label}.notes, {label}.account; COMMIT")
    }

    /// The state of the session, seen by others, tells.
    fn transactions() -> &'static str {
        "SELECT '0'"
    }

    fn session() -> &'static str {
        "SELECT pg_backend_pid()::text"
    }

    fn kill(session: &str) -> String {
        format!("SELECT pg_terminate_backend({session})")
    }

    fn sleeping(label: &str) -> String {
        // Its text alone is there as soon as it is prepared.
        let sessions = "SELECT state FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'";
        format!("{sessions} AND application_name = '{label}'")
    }

    fn sleep(milliseconds: u32) -> String {
        format!("SELECT pg_sleep({milliseconds} / 1000.0)")
    }

    fn stop(session: &str) -> String {
        format!("SELECT pg_cancel_backend({session})")
    }

    fn isolated(begin: Begin<'_, Self::Db>, isolation: Isolation) -> Begin<'_, Self::Db> {
        begin.isolation(isolation)
    }

    fn read_only(begin: Begin<'_, Self::Db>) -> Begin<'_, Self::Db> {
        begin.read_only()
    }

    statements!();
}

pub(crate) struct MySql;

impl Server for MySql {
    type Db = sqlx::MySql;

    const VARIABLE: &'static str = "TENURE_MYSQL_URL";
    const BEGIN: &'static str = "START TRANSACTION";
    const IDLE: &'static str = "Sleep";
    const STOP: &'static str = "KILL QUERY";
    const COUNTER: &'static str = "INTEGER AUTO_INCREMENT";
    const HURRY: &'static str = "SET innodb_lock_wait_timeout = 20";
    const MAY_ONLY_READ: &'static str = "SET SESSION TRANSACTION READ ONLY";
    const SET_BY_HOOK: &'static str = "SET @hook = 'by the hook'";
    const SEEN_OF_HOOK: &'static str = "SELECT CAST(@hook AS CHAR)";

    fn litter() -> &'static [&'static str] {
        &[
            "CREATE TEMPORARY TABLE scratch (secret INTEGER)",
            "PREPARE by_hand FROM 'SELECT 1'",
            "SELECT GET_LOCK('mine', 0)",
            "SET @secret = 'a'",
            "SET SESSION innodb_lock_wait_timeout = 77",
        ]
    }

    fn littered() -> &'static [&'static str] {
        &[
            "SELECT COALESCE(CAST(@secret AS CHAR), '')",
            "SELECT CAST(@@innodb_lock_wait_timeout AS CHAR)",
            "SELECT CAST(IS_USED_LOCK('mine') <=> CONNECTION_ID() AS CHAR)",
        ]
    }

    fn migrate(
        connection: &mut Raw<Self>,
        migrator: &Migrator,
    ) -> impl Future<Output = Result<(), MigrateError>> + Send {
        tenure_sqlx::migrate(connection, migrator)
    }

    fn set_apart(options: MySqlConnectOptions, label: &str) -> MySqlConnectOptions {
        options.ssl_mode(MySqlSslMode::Disabled).database(label)
    }

    fn place(label: &str) -> (String, String) {
        (format!("CREATE DATABASE {label}"), format!("DROP DATABASE {label}"))
    }

    fn through(options: MySqlConnectOptions, port: u16) -> MySqlConnectOptions {
        options.host("127.0.0.1").port(port)
    }

    fn intruder(options: MySqlConnectOptions) -> MySqlConnectOptions {
        options.password("wrong")
    }

    fn port(options: &MySqlConnectOptions) -> u16 {
        options.get_port()
    }

    fn connect(options: MySqlConnectOptions) -> mysql::Connect {
        mysql::connect(options)
    }

    fn cancelling(options: MySqlConnectOptions) -> Connections<Self::Db> {
        Connections::new(options).cancel_statements(true)
    }

    fn states(label: &str) -> String {
        format!("SELECT COMMAND FROM information_schema.PROCESSLIST WHERE DB = '{label}'")
    }

    fn lock(label: &str) -> String {
        let tables = format!("{label}.notes WRITE, {label}.account WRITE");
        format!("SET lock_wait_timeout = 20; LOCK TABLES {tables}; UNLOCK TABLES")
    }

    /// MariaDB knows; MySQL takes it for a comment.
    fn transactions() -> &'static str {
        "SELECT CAST(0 /*M! + @@in_transaction */ AS CHAR)"
    }

    fn session() -> &'static str {
        "SELECT CAST(CONNECTION_ID() AS CHAR)"
    }

    fn kill(session: &str) -> String {
        format!("KILL {session}")
    }

    fn sleeping(label: &str) -> String {
        let sessions = "SELECT COMMAND FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'";
        format!("{sessions} AND DB = '{label}'")
    }

    fn sleep(milliseconds: u32) -> String {
        format!("SELECT SLEEP({milliseconds} / 1000.0)")
    }

    fn stop(session: &str) -> String {
        format!("KILL QUERY {session}")
    }

    fn isolated(begin: Begin<'_, Self::Db>, isolation: Isolation) -> Begin<'_, Self::Db> {
        begin.isolation(isolation)
    }

    fn read_only(begin: Begin<'_, Self::Db>) -> Begin<'_, Self::Db> {
        begin.read_only()
    }

    statements!();
}
