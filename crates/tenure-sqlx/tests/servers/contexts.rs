//! What is made of connections: transactions in tests, rows and copies and locks that have their connection, listeners.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::AssertSqlSafe;
use tenure::with;
use tenure_sqlx::Stage;
use tenure_sqlx::mysql::named_lock;
use tenure_sqlx::pool::{Connections, Pool, PoolExt, test_pool};
use tenure_sqlx::postgres::{Heard, advisory_lock, copy_in, copy_out, listen};
use tokio::time::timeout;

use crate::common::{Place, Witness, note, on_both_flavours, on_both_servers};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::server::{MySql, Postgres, Server};
use crate::trouble::Trouble;

on_both_servers!(
    a_test_pool_keeps_what_is_committed_until_it_is_left,
    rows_have_their_connection_and_give_it_back
);

type OnPostgres = Place<Postgres>;

/// The code under test, which knows nothing of tests.
async fn add<S: Server>(pool: &Pool<S::Db>, text: &str, fails: bool) -> Result<(), Failure> {
    with(pool.transaction(), async |transaction| {
        note::<S>(transaction.conn(), text).await?;
        let inner = with(transaction.savepoint(), async |savepoint| {
            note::<S>(savepoint.conn(), "under a savepoint").await?;
            Err::<(), _>(Failure::Refused)
        });
        inner.await.unwrap_err();
        if fails { Err(Failure::Refused) } else { Ok(()) }
    })
    .await
}

async fn seen<S: Server>(pool: &Pool<S::Db>) -> Vec<String> {
    with(pool.connection(), async |connection| {
        Ok::<_, Failure>(S::texts(connection.conn(), "SELECT text FROM notes ORDER BY id").await?)
    })
    .await
    .unwrap()
}

async fn a_test_pool_keeps_what_is_committed_until_it_is_left<S: Server>(place: &Place<S>) {
    for _ in 0..2 {
        with(test_pool(Connections::<S::Db>::new(place.options())).unwrap(), async |pool| {
            add::<S>(pool, "kept", false).await.unwrap();
            add::<S>(pool, "undone", true).await.unwrap_err();
            assert_eq!(seen::<S>(pool).await, ["kept"]);
            // A statement that fails outside of a transaction costs nothing of what was done before, nor what follows.
            with(pool.connection(), async |connection| {
                note::<S>(connection.conn(), "kept").await.unwrap_err();
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
            add::<S>(pool, "kept as well", false).await.unwrap();
            // One that is dropped at its end.
            let dropped = with(pool.transaction(), async |transaction| {
                note::<S>(transaction.conn(), "never").await?;
                std::future::pending::<Result<(), Failure>>().await
            });
            let _ = timeout(Duration::from_millis(200), dropped).await;
            assert_eq!(seen::<S>(pool).await, ["kept", "kept as well"]);
            assert_eq!(place.notes().await, [""; 0]);
            assert_eq!(pool.counters().opened, 1);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
        assert_eq!(place.notes().await, [""; 0]);
    }
}

async fn rows_have_their_connection_and_give_it_back<S: Server>(place: &Place<S>) {
    let many =
        "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT n FROM s";
    let pool = Pool::builder(Connections::<S::Db>::new(place.options())).max_size(1).build().unwrap();
    with(pool, async |pool| {
        let rows: Vec<_> = S::rows(pool, many).try_collect().await.unwrap();
        assert_eq!(rows.len(), 900);
        for taken in [0, 1, 5] {
            let mut rows = Box::pin(S::rows(pool, many));
            for _ in 0..taken {
                rows.next().await.unwrap().unwrap();
            }
            drop(rows);
            assert_eq!(seen::<S>(pool).await, [""; 0]);
        }
        for n in 0..6 {
            let rows = S::rows(pool, many).try_collect::<Vec<_>>();
            let _ = drop_at(n, rows).await;
            assert_eq!(seen::<S>(pool).await, [""; 0]);
        }
        let refused = S::rows(pool, "SELCT 1").try_collect::<Vec<_>>().await;
        assert!(refused.is_err());
        assert_eq!(seen::<S>(pool).await, [""; 0]);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
}

fn pool_of_one(place: &OnPostgres) -> Pool<sqlx::Postgres> {
    Pool::builder(Connections::new(place.options())).max_size(1).build().unwrap()
}

const COPY: &str = "COPY notes (text) FROM STDIN";

#[test]
fn on_postgres_a_copy_is_finished_when_its_body_completed_and_aborted_otherwise() {
    on_both_flavours(&async |place: &OnPostgres| {
        with(pool_of_one(place), async |pool| {
            with(copy_in(pool, COPY), async |copy| {
                for n in 0..100 {
                    copy.send(format!("{n}\n")).await?;
                }
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
            assert_eq!(place.notes().await.len(), 100);
            let failed = with(copy_in(pool, COPY), async |copy| {
                copy.send("never\n").await?;
                Err::<(), _>(Failure::Refused)
            });
            failed.await.unwrap_err();
            let number = with(copy_in(pool, COPY), async |copy| {
                copy.send("counted\n").await?;
                Ok::<_, Failure>(copy.finish().await?)
            });
            assert_eq!(number.await.unwrap(), 1);
            // It is twice the same, which the table refuses at the end.
            let refused = with(copy_in(pool, COPY), async |copy| {
                copy.send("counted\n").await?;
                Ok::<_, Failure>(())
            });
            assert_eq!(refused.await.unwrap_err().into_tenure().stage(), Stage::Copy);
            let nowhere = with(copy_in(pool, "COPY nowhere FROM STDIN"), async |_| Ok::<_, Failure>(()));
            assert_eq!(nowhere.await.unwrap_err().into_tenure().stage(), Stage::Copy);
            assert_eq!(seen::<Postgres>(pool).await.len(), 101);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
        assert_eq!(place.notes().await.len(), 101);
    });
}

#[test]
fn on_postgres_a_copy_that_is_dropped_anywhere_keeps_all_or_nothing() {
    on_both_flavours(&async |place: &OnPostgres| {
        with(pool_of_one(place), async |pool| {
            for n in 0..10 {
                let before = seen::<Postgres>(pool).await.len();
                let copied = with(copy_in(pool, COPY), async |copy| {
                    copy.send(format!("first {n}\n")).await?;
                    copy.send(format!("second {n}\n")).await?;
                    Ok::<_, Failure>(())
                });
                let _ = drop_at(n, copied).await;
                let kept = seen::<Postgres>(pool).await.len() - before;
                assert!(kept == 0 || kept == 2, "{kept} rows at suspension {n}");
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn on_postgres_what_is_copied_out_is_a_stream_with_its_connection() {
    on_both_flavours(&async |place: &OnPostgres| {
        with(pool_of_one(place), async |pool| {
            let all = "COPY (SELECT generate_series(1, 5000)) TO STDOUT";
            let chunks: Vec<Vec<u8>> = copy_out(pool, all).try_collect().await?;
            assert_eq!(chunks.concat().iter().filter(|&&byte| byte == b'\n').count(), 5000);
            assert_eq!(pool.counters().opened, 1);
            let mut half = Box::pin(copy_out(pool, all));
            half.next().await.unwrap()?;
            drop(half);
            assert_eq!(seen::<Postgres>(pool).await, [""; 0]);
            copy_out(pool, "COPY nowhere TO STDOUT").try_collect::<Vec<_>>().await.unwrap_err();
            assert_eq!(seen::<Postgres>(pool).await, [""; 0]);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn on_postgres_an_advisory_lock_is_released_on_every_path() {
    on_both_flavours(&async |place: &OnPostgres| {
        let key = i64::from(std::process::id()) * 1000 + i64::from(fastrand::u16(..));
        let free = async |when: &str| {
            let mut witness = Witness::<Postgres>::look().await;
            let mut is_free = false;
            // What is released in the background takes a moment.
            for _ in 0..2_000 {
                let locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND (classid::int8 << 32 | objid::int8) = $1";
                let count: i64 = sqlx::query_scalar(locked).bind(key).fetch_one(&mut witness.0).await.unwrap();
                is_free = count == 0;
                if is_free {
                    break;
                }
            }
            assert!(is_free, "{when}");
        };
        let connections =
            Connections::new(place.options()).session_reset(tenure_sqlx::pool::SessionReset::Never);
        let pool: Pool<sqlx::Postgres> = Pool::builder(connections).max_size(2).build().unwrap();
        with(pool, async |pool| {
            with(advisory_lock(pool, key), async |locked| {
                sqlx::query("SELECT 1").execute(&mut **locked).await?;
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
            free("completed").await;
            let failed = with(advisory_lock(pool, key), async |_| Err::<(), _>(Failure::Refused));
            failed.await.unwrap_err();
            free("failed").await;
            for n in 0..8 {
                let held = with(advisory_lock(pool, key), async |locked| {
                    sqlx::query("SELECT 1").execute(&mut **locked).await?;
                    Ok::<_, Failure>(())
                });
                let _ = drop_at(n, held).await;
                free(&format!("dropped at {n}")).await;
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn on_mysql_a_named_lock_is_released_on_every_path() {
    on_both_flavours(&async |place: &Place<MySql>| {
        let name = format!("lock of {}", place.label());
        let free = async |when: &str| {
            let mut witness = Witness::<MySql>::look().await;
            let free = format!("SELECT CAST(IS_FREE_LOCK('{name}') AS CHAR)");
            let began = std::time::Instant::now();
            // What is released in the background takes a moment.
            while MySql::texts(&mut witness.0, &free).await.unwrap() != ["1"] {
                assert!(began.elapsed() < Duration::from_secs(20), "{when}");
            }
        };
        let connections =
            Connections::new(place.options()).session_reset(tenure_sqlx::pool::SessionReset::Never);
        let pool: Pool<sqlx::MySql> = Pool::builder(connections).max_size(2).build().unwrap();
        with(pool, async |pool| {
            with(named_lock(pool, &name), async |locked| {
                let used = format!("SELECT CAST(IS_USED_LOCK('{name}') = CONNECTION_ID() AS CHAR)");
                assert_eq!(MySql::texts(locked.conn(), &used).await?, ["1"]);
                // Another one waits for it, until it is dropped.
                let waits = with(named_lock(pool, &name), async |_| Ok::<_, Failure>(()));
                assert!(timeout(Duration::from_millis(200), waits).await.is_err());
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
            free("completed").await;
            let failed = with(named_lock(pool, &name), async |_| Err::<(), _>(Failure::Refused));
            failed.await.unwrap_err();
            free("failed").await;
            for n in 0..8 {
                let held = with(named_lock(pool, &name), async |locked| {
                    sqlx::query("SELECT 1").execute(locked.conn()).await?;
                    Ok::<_, Failure>(())
                });
                let _ = drop_at(n, held).await;
                free(&format!("dropped at {n}")).await;
            }
            // A body that has released it itself has not been protected to its end.
            let lost = with(named_lock(pool, &name), async |locked| {
                sqlx::query("SELECT RELEASE_ALL_LOCKS()").execute(locked.conn()).await?;
                Ok::<_, Failure>(())
            });
            assert_eq!(lost.await.unwrap_err().into_tenure().stage(), Stage::Lock);
            // And a name that the server does not take is an error of the enter.
            let refused = with(named_lock(pool, "x".repeat(200)), async |_| Ok::<_, Failure>(()));
            assert_eq!(refused.await.unwrap_err().into_tenure().stage(), Stage::Lock);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn on_postgres_a_listener_connects_again_and_tells_of_the_gap() {
    on_both_flavours(&async |place: &OnPostgres| {
        let channel = place.label().to_owned();
        with(listen(place.options(), [channel.clone()]), async |listener| {
            let mut witness = Witness::<Postgres>::look().await;
            for n in 0..2 {
                let notify = format!("SELECT pg_notify('{channel}', '{n}')");
                Postgres::execute(&mut witness.0, &notify).await?;
                match listener.hear().await {
                    Heard::Notification(notification) => assert_eq!(notification.payload(), n.to_string()),
                    other => panic!("{other:?}"),
                }
                let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
                sqlx::query(kill).bind(&channel).execute(&mut witness.0).await?;
                assert!(matches!(listener.hear().await, Heard::Gap));
            }
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
    });
}

/// Twenty reports whose clients go away at once, and room for few more sessions, or at first for none.
#[test]
fn on_postgres_statements_are_stopped_also_where_there_is_little_room() {
    crate::common::on_multi_thread(async |place: &OnPostgres| {
        let role = format!("{}_role", place.label());
        let mut witness = Witness::<Postgres>::look().await;
        let limit = async |witness: &mut Witness<Postgres>, limit: u32| {
            let statement = format!("ALTER ROLE {role} CONNECTION LIMIT {limit}");
            Postgres::execute(&mut witness.0, &statement).await.unwrap();
        };
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'role' CONNECTION LIMIT 10");
        Postgres::execute(&mut witness.0, &create).await.unwrap();
        let options = place.options().username(&role).password("role");
        let connections = Connections::new(options).cancel_statements(true);
        let pool: Pool<sqlx::Postgres> = Pool::builder(connections).max_size(8).build().unwrap();
        with(pool, async |pool| {
            for room in [2, 0] {
                limit(&mut witness, 8 + 2).await;
                let reports: Vec<_> = (0..8)
                    .map(|_| {
                        let pool = pool.clone();
                        tokio::spawn(async move {
                            with(pool.transaction(), async |transaction| {
                                sqlx::query("SELECT pg_sleep(600)").execute(transaction.conn()).await?;
                                Ok::<_, Failure>(())
                            })
                            .await
                        })
                    })
                    .collect();
                let sleeping = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND wait_event = 'PgSleep'"
                );
                while sqlx::query_scalar::<_, i64>(AssertSqlSafe(sleeping.as_str()))
                    .fetch_one(&mut witness.0)
                    .await?
                    < 8
                {}
                limit(&mut witness, 8 + room).await;
                for report in reports {
                    report.abort();
                    let _ = report.await;
                }
                if room == 0 {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    limit(&mut witness, 8 + 1).await;
                }
                let began = std::time::Instant::now();
                while sqlx::query_scalar::<_, i64>(AssertSqlSafe(sleeping.as_str()))
                    .fetch_one(&mut witness.0)
                    .await?
                    > 0
                {
                    assert!(began.elapsed() < Duration::from_secs(15), "with room for {room}");
                }
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
        place.no_session_left().await;
        Postgres::execute(&mut witness.0, &format!("DROP ROLE {role}")).await.unwrap();
    });
}
