//! What a pool does with connections between two users, and with those in which a statement goes on and on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{Connection as _, Executor as _, Sqlite, SqliteConnection};
use sqlx_core::transaction::TransactionManager as _;
use tenure::with;
use tenure_pool::{Context, CreateContext, Manager};
use tenure_sqlx::pool::{Connections, Pool, PoolExt, test_pool};
use tenure_sqlx::sqlite::Connection;
use tenure_sqlx::{Fate, Stage};
use tokio::time::timeout;

use crate::common::{TempDb, drained, note, on_both_flavours};
use crate::failure::Failure;
use crate::subject::{Raw, Subject, matrix};
use crate::trouble::Trouble;
use crate::turns::turns;

/// Never ends.
const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Simple,
    Prepared,
    Large,
    Stream,
    Several,
    Refused,
    Misspelt,
    Slow,
    Begin,
}

struct OnSqlite;

impl Subject for OnSqlite {
    type Db = Sqlite;
    type Kind = Kind;

    fn kinds() -> Vec<Kind> {
        use Kind::{Begin, Large, Misspelt, Prepared, Refused, Several, Simple, Slow, Stream};
        vec![Simple, Prepared, Large, Stream, Several, Refused, Misspelt, Slow, Begin]
    }

    async fn statement(kind: Kind, connection: &mut Raw<Sqlite>) -> Result<(), sqlx::Error> {
        let many =
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000) SELECT n FROM c";
        let slow = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT count(*) FROM c";
        match kind {
            Kind::Simple => connection.execute("SELECT 'secret'").await.map(drop),
            Kind::Prepared => sqlx::query("SELECT 'secret', ?").bind(7).fetch_all(connection).await.map(drop),
            Kind::Large => sqlx::query(many).fetch_all(connection).await.map(drop),
            Kind::Stream => sqlx::query(many).fetch(connection).try_next().await.map(drop),
            Kind::Several => {
                sqlx::raw_sql("SELECT 1; SELECT 2; SELECT 3").fetch_all(connection).await.map(drop)
            }
            Kind::Refused => {
                sqlx::query("INSERT INTO notes (id, text) VALUES (1, NULL)").execute(connection).await.map(drop)
            }
            Kind::Misspelt => sqlx::query("SELCT 1").execute(connection).await.map(drop),
            Kind::Slow => sqlx::query(slow).fetch_all(connection).await.map(drop),
            // In a transaction it is refused.
            Kind::Begin => connection.execute("BEGIN IMMEDIATE").await.map(drop),
        }
    }

    async fn disturb(&mut self) {}

    async fn mark(connection: &mut SqliteConnection, text: String) -> Result<(), sqlx::Error> {
        note(connection, &text).await
    }

    async fn marks(connection: &mut SqliteConnection, text: String) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM notes WHERE text = ?").bind(text).fetch_one(connection).await
    }

    async fn echo(connection: &mut SqliteConnection, text: String) -> Result<String, sqlx::Error> {
        sqlx::query_scalar("SELECT ?").bind(text).fetch_one(connection).await
    }
}

fn pool_of(size: usize, db: &TempDb) -> Pool<Sqlite> {
    Pool::builder(Connections::new(db.options())).max_size(size).build().unwrap()
}

#[test]
fn whatever_was_left_on_sqlite_the_next_ones_read_their_own_answers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = TempDb::new().await;
        let runs = with(pool_of(1, &db), async |pool| Ok::<_, Trouble>(matrix(&mut OnSqlite, pool).await));
        assert!(runs.await.unwrap() >= 300);
    });
}

#[test]
fn whoever_comes_after_whom_on_sqlite_begins_and_ends_as_on_a_new_connection() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let tried = with(pool_of(1, &db), async |pool| {
            turns::<OnSqlite>(pool).await;
            Ok::<_, Trouble>(())
        });
        tried.await.unwrap();
    });
}

/// A rollback that sqlx has queued is refused nothing, and a commit that follows it has nothing to keep.
#[test]
fn a_commit_is_refused_where_the_body_has_ended_the_transaction() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let used = with(pool_of(1, &db), async |pool| {
            for end in ["ROLLBACK", "COMMIT"] {
                let ended = with(pool.transaction(), async |transaction| {
                    note(transaction.conn(), end).await?;
                    sqlx::query(end).execute(transaction.conn()).await?;
                    Ok::<_, Failure>(())
                });
                let error = ended.await.unwrap_err().into_tenure();
                assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Unknown)), "{end}");
            }
            let queued = with(pool.transaction(), async |transaction| {
                note(transaction.conn(), "undone").await?;
                <Sqlite as sqlx::Database>::TransactionManager::start_rollback(transaction.conn());
                Ok::<_, Failure>(())
            });
            let error = queued.await.unwrap_err().into_tenure();
            assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Unknown)));
            with(pool.transaction(), async |transaction| {
                note(transaction.conn(), "kept").await?;
                Ok::<_, Failure>(())
            })
            .await?;
            Ok::<_, Trouble>(())
        });
        used.await.unwrap();
        assert_eq!(db.notes().await, ["COMMIT", "kept"]);
    });
}

#[test]
fn a_statement_that_was_dropped_is_stopped() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let used = with(pool_of(1, &db), async |pool| {
            for in_transaction in [true, false] {
                let used = async {
                    if in_transaction {
                        with(pool.transaction(), async |transaction| {
                            note(transaction.conn(), "never").await?;
                            sqlx::query(ENDLESS).execute(transaction.conn()).await?;
                            Ok::<_, Failure>(())
                        })
                        .await
                    } else {
                        with(pool.connection(), async |connection| {
                            sqlx::query(ENDLESS).execute(connection.conn()).await?;
                            Ok::<_, Failure>(())
                        })
                        .await
                    }
                };
                assert!(timeout(Duration::from_millis(50), used).await.is_err());
                with(pool.transaction(), async |transaction| {
                    note(transaction.conn(), if in_transaction { "first" } else { "second" }).await?;
                    Ok::<_, Failure>(())
                })
                .await
                .unwrap();
            }
            assert_eq!(pool.counters().opened, 1);
            Ok::<_, Trouble>(())
        });
        timeout(Duration::from_secs(20), used).await.expect("nothing waits for it").unwrap();
        assert_eq!(db.notes().await, ["first", "second"]);
        drained().await;
    });
}

#[test]
fn a_connection_that_is_stuck_keeps_no_other_from_closing() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(3, &db);
        let is_over = Arc::new(AtomicBool::new(false));
        {
            let (mut stuck, other, another) =
                (pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap());
            let seen = Arc::clone(&is_over);
            // A handler of the user's own, by which the pool cannot stop anything.
            let mut handle = stuck.conn().lock_handle().await.unwrap();
            handle.set_progress_handler(1_000, move || !seen.load(Ordering::Relaxed));
            drop(handle);
            let endless = sqlx::query(ENDLESS).execute(stuck.conn());
            assert!(timeout(Duration::from_millis(20), endless).await.is_err());
            other.complete();
            another.complete();
            stuck.invalidate();
        }
        let closing = tokio::spawn({
            let pool = pool.clone();
            async move { pool.close().await }
        });
        let others_closed = async {
            while pool.counters().closed < 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(8), others_closed).await.expect("the others are closed");
        is_over.store(true, Ordering::Relaxed);
        let report = closing.await.unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(pool.counters().closed, 3);
        assert!(!db.has_log(), "the last one has cleared the log away");
        drained().await;
    });
}

#[test]
fn a_database_in_memory_lives_as_long_as_its_pool() {
    on_both_flavours(async || {
        let pool = Pool::builder(Connections::in_memory()).max_size(3).build().unwrap();
        with(pool, async |pool| {
            with(pool.connection(), async |connection| {
                connection.conn().execute("CREATE TABLE notes (text TEXT)").await?;
                connection.conn().execute("INSERT INTO notes VALUES ('kept')").await?;
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
            // All connections of the pool are closed meanwhile.
            pool.invalidate_all();
            for _ in 0..2 {
                let notes = with(pool.transaction(), async |transaction| {
                    let notes = sqlx::query_scalar("SELECT text FROM notes");
                    Ok::<Vec<String>, Failure>(notes.fetch_all(transaction.conn()).await?)
                });
                assert_eq!(notes.await.unwrap(), ["kept"]);
            }
            // Several at once see the same.
            let (one, two) = (pool.get().await?, pool.get().await?);
            for mut lease in [one, two] {
                let count = sqlx::query_scalar("SELECT count(*) FROM notes");
                let count: i64 = count.fetch_one(lease.conn()).await?;
                assert_eq!(count, 1);
                lease.complete();
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
        // And no other pool's.
        let other = Pool::builder(Connections::in_memory()).max_size(1).build().unwrap();
        with(other, async |pool| {
            let missing = with(pool.connection(), async |connection| {
                Ok::<_, Failure>(connection.conn().execute("SELECT * FROM notes").await.is_err())
            });
            assert!(missing.await.unwrap());
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
        drained().await;
    });
}

#[test]
fn a_test_pool_keeps_what_is_committed_until_it_is_left() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        for _ in 0..2 {
            with(test_pool(Connections::<Sqlite>::new(db.options())).unwrap(), async |pool| {
                for (text, is_kept) in [("first", true), ("never", false), ("second", true)] {
                    let done = with(pool.transaction().immediate(), async |transaction| {
                        note(transaction.conn(), text).await?;
                        // A nested transaction of sqlx's, once ended and once left.
                        let mut nested = transaction.conn().begin().await?;
                        if is_kept {
                            nested.commit().await?;
                        } else {
                            note(&mut nested, "never as well").await?;
                            drop(nested);
                        }
                        if is_kept { Ok(()) } else { Err(Failure::Refused) }
                    });
                    assert_eq!(done.await.is_ok(), is_kept);
                }
                with(pool.connection(), async |connection| {
                    note(connection.conn(), "third").await?;
                    note(connection.conn(), "third").await.unwrap_err();
                    Ok::<_, Failure>(())
                })
                .await
                .unwrap();
                let seen = with(pool.connection(), async |connection| {
                    let seen = sqlx::query_scalar("SELECT text FROM notes ORDER BY id");
                    Ok::<Vec<String>, Failure>(seen.fetch_all(connection.conn()).await?)
                });
                assert_eq!(seen.await.unwrap(), ["first", "second", "third"]);
                assert_eq!(pool.counters().opened, 1);
                Ok::<_, Trouble>(())
            })
            .await
            .unwrap();
            assert_eq!(db.notes().await, [""; 0]);
        }
        drained().await;
    });
}

#[test]
fn hooks_run_at_every_get_and_every_return() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        Box::pin(crate::hooks::hooks(|| Connections::<Sqlite>::new(db.options()))).await;
        drained().await;
    });
}

#[test]
fn a_plain_begin_that_a_completed_use_left_open_is_rolled_back() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let used = with(pool_of(1, &db), async |pool| {
            for is_bare in [false, true] {
                if is_bare {
                    let mut lease = pool.get().await?;
                    lease.conn().execute("BEGIN IMMEDIATE").await?;
                    note(lease.conn(), "never").await?;
                    lease.complete();
                } else {
                    with(pool.connection(), async |connection| {
                        connection.conn().execute("BEGIN IMMEDIATE").await?;
                        Ok::<_, Failure>(note(connection.conn(), "never").await?)
                    })
                    .await?;
                }
                let mut lease = pool.get().await?;
                note(lease.conn(), &format!("kept {is_bare}")).await?;
                lease.complete();
            }
            assert_eq!(pool.counters().opened, 1);
            Ok::<_, Trouble>(())
        });
        used.await.unwrap();
        assert_eq!(db.notes().await, ["kept false", "kept true"]);
        drained().await;
    });
}

/// The session is kept on SQLite, but what a use has changed of what the hook set is set again.
#[test]
fn what_the_connect_hook_set_is_set_again_after_a_failed_use() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let connections = Connections::<Sqlite>::new(db.options()).after_connect(|connection| {
            Box::pin(async { connection.execute("PRAGMA cache_size = 77").await.map(drop) })
        });
        let used = with(Pool::builder(connections).max_size(1).build().unwrap(), async |pool| {
            let failed = with(pool.connection(), async |connection| {
                connection.conn().execute("PRAGMA cache_size = 5").await?;
                Err::<(), _>(Failure::Refused)
            });
            failed.await.unwrap_err();
            let mut lease = pool.get().await?;
            let size: i64 = sqlx::query_scalar("PRAGMA cache_size").fetch_one(lease.conn()).await?;
            assert_eq!((size, pool.counters().opened), (77, 1));
            lease.complete();
            Ok::<_, Trouble>(())
        });
        used.await.unwrap();
        drained().await;
    });
}

/// A manager that wraps that of this crate, and passes on no more than it has to.
struct Forgetful(Connections<Sqlite>);

impl Manager for Forgetful {
    type Resource = Connection;
    type Error = tenure_sqlx::Error;

    async fn create(&self, context: CreateContext) -> Result<Connection, Self::Error> {
        self.0.create(context).await
    }

    async fn reset(&self, connection: &mut Connection, context: Context) -> Result<(), Self::Error> {
        self.0.reset(connection, context).await
    }
}

#[test]
fn under_a_manager_that_asks_nothing_the_next_context_finds_what_was_left() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = tenure_pool::Pool::builder(Forgetful(Connections::new(db.options()))).max_size(1);
        let used = with(pool.build().unwrap(), async |pool| {
            for _ in 0..2 {
                let mut lease = pool.get().await?;
                lease.conn().execute("BEGIN IMMEDIATE").await?;
                note(lease.conn(), "never").await?;
                lease.complete();
                with(pool.connection(), async |connection| {
                    Ok::<_, Failure>(connection.conn().execute("DELETE FROM notes").await?)
                })
                .await?;
            }
            Ok::<_, Trouble>(())
        });
        used.await.unwrap();
        assert_eq!(db.notes().await, [""; 0]);
        drained().await;
    });
}
