//! The matrix on the servers: see `common/matrix.rs`.

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{Executor as _, MySql, PgConnection, Postgres};
use tenure::with;
use tenure_sqlx::pool::{Connections, Pool};

use crate::common::{Place, Witness, on_multi_thread};
use crate::server::{self, Server};
use crate::subject::{Raw, Subject, matrix};
use crate::trouble::Trouble;
use crate::turns::turns;

/// The kinds of statement that both servers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Common {
    Simple,
    Prepared,
    PrepareOnly,
    Large,
    Stream,
    PreparedStream,
    Several,
    Refused,
    Misspelt,
    Slow,
}

const COMMON: [Common; 10] = [
    Common::Simple,
    Common::Prepared,
    Common::PrepareOnly,
    Common::Large,
    Common::Stream,
    Common::PreparedStream,
    Common::Several,
    Common::Refused,
    Common::Misspelt,
    Common::Slow,
];

macro_rules! common_statements {
    ($connection:ident, $kind:ident, $hole:literal, $many:literal, $slow:literal) => {
        match $kind {
            Common::Simple => $connection.execute("SELECT 'secret'").await.map(drop),
            Common::Prepared => {
                let query = sqlx::query(concat!("SELECT 'secret', ", $hole)).bind(7_i32);
                query.fetch_all($connection).await.map(drop)
            }
            Common::PrepareOnly => {
                // Another text each time, which is not prepared yet.
                let text = sqlx::AssertSqlSafe(format!("SELECT {} + 1", fastrand::u32(..1_000_000)));
                $connection.prepare(sqlx::SqlSafeStr::into_sql_str(text)).await.map(drop)
            }
            Common::Large => sqlx::query($many).fetch_all($connection).await.map(drop),
            Common::Stream => {
                let mut rows = $connection.fetch($many);
                rows.try_next().await.map(drop)
            }
            Common::PreparedStream => {
                let mut rows = sqlx::query($many).fetch($connection);
                rows.try_next().await.map(drop)
            }
            Common::Several => {
                let text = "SELECT 'secret 1'; SELECT 'secret 2'; SELECT 'secret 3'";
                sqlx::raw_sql(text).fetch_all($connection).await.map(drop)
            }
            Common::Refused => {
                let text = "INSERT INTO account VALUES (1, 1)";
                sqlx::query(text).execute($connection).await.map(drop)
            }
            Common::Misspelt => sqlx::query("SELCT 1").execute($connection).await.map(drop),
            Common::Slow => {
                sqlx::query(concat!("SELECT 'secret', ", $slow)).fetch_all($connection).await.map(drop)
            }
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnPostgres {
    Common(Common),
    CopyIn,
    CopyInLeft,
    CopyInAborted,
    CopyInRefused,
    CopyInWrong,
    CopyOut,
    CopyOutLeft,
    CopyOutRefused,
    Listen,
}

struct PostgresSubject {
    witness: Witness<server::Postgres>,
}

async fn copy(kind: OnPostgres, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match kind {
        OnPostgres::CopyIn => {
            let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await?;
            copy.send(&b"1\n2\n"[..]).await?;
            copy.finish().await.map(drop)
        }
        OnPostgres::CopyInLeft => {
            let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await?;
            copy.send(&b"1\n2\n"[..]).await.map(drop)
        }
        OnPostgres::CopyInAborted => {
            let copy = connection.copy_in_raw("COPY copied FROM STDIN").await?;
            copy.abort("by intent").await
        }
        OnPostgres::CopyInRefused => connection.copy_in_raw("COPY nowhere FROM STDIN").await.map(drop),
        OnPostgres::CopyInWrong => {
            let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await?;
            copy.send(&b"no number\n"[..]).await?;
            copy.finish().await.map(drop)
        }
        OnPostgres::CopyOut => {
            let text = "COPY (SELECT generate_series(1, 20000)) TO STDOUT";
            let mut chunks = connection.copy_out_raw(text).await?;
            while chunks.try_next().await?.is_some() {}
            Ok(())
        }
        OnPostgres::CopyOutLeft => {
            let text = "COPY (SELECT generate_series(1, 20000)) TO STDOUT";
            let mut chunks = connection.copy_out_raw(text).await?;
            chunks.next().await.transpose().map(drop)
        }
        OnPostgres::CopyOutRefused => connection.copy_out_raw("COPY nowhere TO STDOUT").await.map(drop),
        OnPostgres::Listen => connection.execute("LISTEN disturbance").await.map(drop),
        OnPostgres::Common(_) => unreachable!("it is no statement of PostgreSQL's own"),
    }
}

impl Subject for PostgresSubject {
    type Db = Postgres;
    type Kind = OnPostgres;

    fn kinds() -> Vec<OnPostgres> {
        use OnPostgres::{
            CopyIn, CopyInAborted, CopyInLeft, CopyInRefused, CopyInWrong, CopyOut, CopyOutLeft,
            CopyOutRefused, Listen,
        };
        let own = [
            CopyIn,
            CopyInLeft,
            CopyInAborted,
            CopyInRefused,
            CopyInWrong,
            CopyOut,
            CopyOutLeft,
            CopyOutRefused,
            Listen,
        ];
        COMMON.into_iter().map(OnPostgres::Common).chain(own).collect()
    }

    async fn statement(kind: OnPostgres, connection: &mut Raw<Postgres>) -> Result<(), sqlx::Error> {
        match kind {
            OnPostgres::Common(kind) => common_statements!(
                connection,
                kind,
                "$1",
                "SELECT repeat('secret', 40), generate_series(1, 3000)",
                "pg_sleep(0.004)::text"
            ),
            kind => copy(kind, connection).await,
        }
    }

    async fn disturb(&mut self) {
        server::Postgres::execute(&mut self.witness.0, "NOTIFY disturbance").await.unwrap();
    }

    async fn mark(connection: &mut Raw<Postgres>, text: String) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind(text).execute(connection).await.map(drop)
    }

    async fn marks(connection: &mut Raw<Postgres>, text: String) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM notes WHERE text = $1").bind(text).fetch_one(connection).await
    }

    async fn echo(connection: &mut Raw<Postgres>, text: String) -> Result<String, sqlx::Error> {
        sqlx::query_scalar("SELECT $1").bind(text).fetch_one(connection).await
    }
}

struct MySqlSubject;

impl Subject for MySqlSubject {
    type Db = MySql;
    type Kind = Common;

    fn kinds() -> Vec<Common> {
        COMMON.to_vec()
    }

    async fn statement(kind: Common, connection: &mut Raw<MySql>) -> Result<(), sqlx::Error> {
        common_statements!(
            connection,
            kind,
            "?",
            "SELECT REPEAT('secret', 40), seq FROM (WITH RECURSIVE s AS (SELECT 1 AS seq UNION ALL SELECT seq + 1 FROM s WHERE seq < 900) SELECT seq FROM s) AS many",
            "SLEEP(0.004)"
        )
    }

    async fn disturb(&mut self) {}

    async fn mark(connection: &mut Raw<MySql>, text: String) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO notes (text) VALUES (?)").bind(text).execute(connection).await.map(drop)
    }

    async fn marks(connection: &mut Raw<MySql>, text: String) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM notes WHERE text = ?").bind(text).fetch_one(connection).await
    }

    async fn echo(connection: &mut Raw<MySql>, text: String) -> Result<String, sqlx::Error> {
        sqlx::query_scalar("SELECT ?").bind(text).fetch_one(connection).await
    }
}

async fn on_a_pool_of_one<S: Server>(place: &Place<S>, mut subject: impl Subject<Db = S::Db>) {
    let pool = Pool::builder(Connections::new(place.options())).max_size(1).build().unwrap();
    let runs = with(pool, async |pool| Ok::<_, Trouble>(matrix(&mut subject, pool).await)).await.unwrap();
    println!("{runs} runs");
    assert!(runs >= 400, "{runs} runs");
}

#[test]
fn whatever_was_left_on_postgres_the_next_ones_read_their_own_answers() {
    on_multi_thread(async |place: &Place<server::Postgres>| {
        let mut witness = Witness::look().await;
        server::Postgres::execute(&mut witness.0, &format!("CREATE TABLE {}.copied (id INT)", place.label()))
            .await
            .unwrap();
        on_a_pool_of_one(place, PostgresSubject { witness }).await;
    });
}

#[test]
fn whatever_was_left_on_mysql_the_next_ones_read_their_own_answers() {
    on_multi_thread(async |place: &Place<server::MySql>| on_a_pool_of_one(place, MySqlSubject).await);
}

#[test]
fn whoever_comes_after_whom_on_postgres_begins_and_ends_as_on_a_new_connection() {
    on_multi_thread(async |place: &Place<server::Postgres>| {
        let pool = Pool::builder(Connections::new(place.options())).max_size(1).build().unwrap();
        let all = with(pool, async |pool| {
            turns::<PostgresSubject>(pool).await;
            Ok::<_, Trouble>(())
        });
        all.await.unwrap();
    });
}
