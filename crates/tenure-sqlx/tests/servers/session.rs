//! What a use leaves in the session, and which connections are lent no more.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::select;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
use tenure::with;
use tenure_sqlx::pool::{Connections, Pool, PoolExt, SessionReset};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::common::{Place, Witness, note, on_both_servers};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::server::{self, Raw, Server};
use crate::trouble::Trouble;

on_both_servers!(
    a_use_that_did_not_complete_leaves_nothing_in_the_session,
    what_the_connect_hook_set_is_set_again,
    a_use_that_completed_leaves_its_settings_unless_told_otherwise,
    a_plain_begin_that_a_completed_use_left_open_is_rolled_back,
    a_statement_that_was_given_up_is_not_the_next_users,
    a_session_that_may_only_read_is_replaced,
    a_failed_migration_keeps_no_lock,
    migrations_side_by_side_wait_for_each_other,
);

fn pool_of_one<S: Server>(connections: Connections<S::Db>) -> Pool<S::Db> {
    Pool::builder(connections).max_size(1).build().unwrap()
}

/// Sets all that a session can keep.
async fn litter<S: Server>(connection: &mut Raw<S>) -> Result<(), Failure> {
    for statement in S::litter() {
        S::execute(connection, statement).await?;
    }
    Ok(())
}

async fn found<S: Server>(pool: &Pool<S::Db>) -> Vec<String> {
    with(pool.connection(), async |connection| {
        let mut found = Vec::new();
        for question in S::littered() {
            found.extend(S::texts(connection.conn(), question).await?);
        }
        Ok::<_, Failure>(found)
    })
    .await
    .unwrap()
}

#[derive(Clone, Copy, Debug)]
enum How {
    Fails,
    IsDropped,
    FailsInATransaction,
    IsDroppedInATransaction,
    Completes,
}

async fn use_and_litter<S: Server>(pool: &Pool<S::Db>, how: How) {
    let reached = Notify::new();
    let ended = async |done: Result<(), Failure>| {
        done?;
        match how {
            How::Fails | How::FailsInATransaction => Err(Failure::Refused),
            How::IsDropped | How::IsDroppedInATransaction => {
                reached.notify_one();
                std::future::pending().await
            }
            How::Completes => Ok(()),
        }
    };
    // What is dropped is dropped at its end, where it waits for ever.
    let used = async {
        match how {
            How::Fails | How::IsDropped | How::Completes => {
                with(pool.connection(), async |connection| ended(litter::<S>(connection.conn()).await).await)
                    .await
            }
            How::FailsInATransaction | How::IsDroppedInATransaction => {
                with(pool.transaction(), async |transaction| ended(litter::<S>(transaction.conn()).await).await)
                    .await
            }
        }
    };
    drop(select(pin!(used), pin!(reached.notified())).await);
}

async fn a_use_that_did_not_complete_leaves_nothing_in_the_session<S: Server>(place: &Place<S>) {
    for how in [How::Fails, How::IsDropped, How::FailsInATransaction, How::IsDroppedInATransaction] {
        with(pool_of_one::<S>(Connections::new(place.options())), async |pool| {
            let before = found::<S>(pool).await;
            use_and_litter::<S>(pool, how).await;
            assert_eq!(found::<S>(pool).await, before, "{how:?}");
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    }
}

async fn what_the_connect_hook_set_is_set_again<S: Server>(place: &Place<S>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let connections = Connections::<S::Db>::new(place.options()).after_connect(move |connection| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(S::execute(connection, S::SET_BY_HOOK))
    });
    with(pool_of_one::<S>(connections), async |pool| {
        use_and_litter::<S>(pool, How::Fails).await;
        let set = with(pool.connection(), async |connection| {
            Ok::<_, Failure>(S::texts(connection.conn(), S::SEEN_OF_HOOK).await?)
        });
        assert_eq!(set.await.unwrap(), ["by the hook"]);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

async fn a_use_that_completed_leaves_its_settings_unless_told_otherwise<S: Server>(place: &Place<S>) {
    for (when, is_left) in
        [(SessionReset::Never, true), (SessionReset::OnFailure, true), (SessionReset::Always, false)]
    {
        let connections = Connections::new(place.options()).session_reset(when);
        with(pool_of_one::<S>(connections), async |pool| {
            let before = found::<S>(pool).await;
            use_and_litter::<S>(pool, How::Completes).await;
            assert_eq!(found::<S>(pool).await != before, is_left, "{when:?}");
            if when == SessionReset::Never {
                use_and_litter::<S>(pool, How::Fails).await;
                assert_ne!(found::<S>(pool).await, before, "{when:?}");
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    }
}

async fn a_plain_begin_that_a_completed_use_left_open_is_rolled_back<S: Server>(place: &Place<S>) {
    with(pool_of_one::<S>(Connections::new(place.options())), async |pool| {
        let begin = async |connection: &mut Raw<S>, is_aborted: bool| {
            S::execute(connection, S::BEGIN).await?;
            note::<S>(connection, "never").await?;
            if is_aborted {
                note::<S>(connection, "never").await.unwrap_err();
            }
            Ok::<_, Failure>(())
        };
        for (is_bare, is_aborted) in [(false, false), (false, true), (true, false), (true, true)] {
            if is_bare {
                let mut lease = pool.get().await?;
                begin(lease.conn(), is_aborted).await?;
                lease.complete();
            } else {
                let used =
                    with(pool.connection(), async |connection| begin(connection.conn(), is_aborted).await);
                used.await.unwrap();
            }
            // Though nobody uses it next.
            place.all_idle().await;
            with(pool.transaction(), async |transaction| {
                note::<S>(transaction.conn(), &format!("{is_bare} {is_aborted}")).await?;
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
        }
        assert_eq!(pool.counters().opened, 1);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await.len(), 4);
}

/// The error of a statement that was given up, and the rest of a stream, are no one else's; and that costs a new
/// connection only where the place on the wire is lost.
async fn a_statement_that_was_given_up_is_not_the_next_users<S: Server>(place: &Place<S>) {
    with(pool_of_one::<S>(Connections::new(place.options())), async |pool| {
        with(pool.connection(), async |connection| {
            note::<S>(connection.conn(), "once").await?;
            // Sent, and not waited for.
            let twice = S::execute(connection.conn(), "INSERT INTO notes (text) VALUES ('once')");
            let _ = drop_at(0, twice).await;
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
        for name in ["bob", "carol"] {
            let said = with(pool.connection(), async |connection| {
                Ok::<_, Failure>(S::texts(connection.conn(), &format!("SELECT '{name}'")).await?)
            });
            assert_eq!(said.await.unwrap(), [name]);
        }
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
}

/// As after a failover.
async fn a_session_that_may_only_read_is_replaced<S: Server>(place: &Place<S>) {
    // Without the reset, so that it is the error alone that tells.
    let connections = Connections::new(place.options()).session_reset(SessionReset::Never);
    with(pool_of_one::<S>(connections), async |pool| {
        for n in 0..3 {
            with(pool.connection(), async |connection| {
                Ok::<_, Failure>(S::execute(connection.conn(), S::MAY_ONLY_READ).await?)
            })
            .await
            .unwrap();
            let written = with(pool.transaction(), async |transaction| {
                Ok::<_, Failure>(note::<S>(transaction.conn(), "never").await?)
            });
            written.await.unwrap_err();
            let text = format!("kept {n}");
            let written = with(pool.transaction(), async |transaction| {
                Ok::<_, Failure>(note::<S>(transaction.conn(), &text).await?)
            });
            written.await.unwrap();
        }
        assert_eq!(pool.counters().opened, 4);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await.len(), 3);
}

async fn a_failed_migration_keeps_no_lock<S: Server>(place: &Place<S>) {
    let broken =
        Migration::new(1, Cow::Borrowed("broken"), MigrationType::Simple, "SELCT 1".into_sql_str(), false);
    let broken = Migrator::with_migrations(vec![broken]);
    // One whose failure is passed over: a use that completed.
    with(pool_of_one::<S>(Connections::new(place.options())), async |pool| {
        with(pool.connection(), async |connection| {
            S::migrate(connection.conn(), &broken).await.unwrap_err();
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
        // Another process.
        let mut other = place.connect().await;
        let again = S::migrate(other.conn(), &broken);
        timeout(Duration::from_secs(10), again).await.expect("it waits for no lock").unwrap_err();
        with(std::future::ready(Ok::<_, tenure_sqlx::Error>(other)), async |_| Ok::<_, Failure>(()))
            .await
            .unwrap();
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
}

/// Without a lock the second one finds the table of the first, or its row.
async fn migrations_side_by_side_wait_for_each_other<S: Server>(place: &Place<S>) {
    let slow = format!("{}; CREATE TABLE made (i INTEGER)", S::sleep(200));
    let slow = AssertSqlSafe(slow).into_sql_str();
    let slow = Migration::new(1, Cow::Borrowed("slow"), MigrationType::Simple, slow, false);
    let slow = Migrator::with_migrations(vec![slow]);
    with(
        Pool::builder(Connections::<S::Db>::new(place.options())).max_size(3).build().unwrap(),
        async |pool| {
            let migrated = (0..3).map(|_| {
                with(pool.connection(), async |connection| {
                    S::migrate(connection.conn(), &slow).await.unwrap();
                    Ok::<_, Failure>(())
                })
            });
            let migrated = futures_util::future::join_all(migrated.map(Box::pin));
            for migrated in timeout(Duration::from_secs(60), migrated).await.expect("none waits for ever") {
                migrated.unwrap();
            }
            Ok::<_, Trouble>(())
        },
    )
    .await
    .unwrap();
}

/// A table changes under a prepared statement.
#[test]
fn on_postgres_a_stale_plan_costs_one_failure_and_run_none() {
    crate::common::on_both_flavours(&async |place: &Place<server::Postgres>| {
        with(pool_of_one::<server::Postgres>(Connections::new(place.options())), async |pool| {
            let width = async |transaction: &mut tenure_sqlx::postgres::Transaction| {
                let row =
                    sqlx::query("SELECT * FROM account WHERE id = $1").bind(1).fetch_one(transaction.conn());
                Ok::<_, Failure>(sqlx::Row::len(&row.await?))
            };
            let widen = async |column: &str| {
                let mut witness = Witness::<server::Postgres>::look().await;
                let alter = format!("ALTER TABLE {}.account ADD COLUMN {column} TEXT", place.label());
                server::Postgres::execute(&mut witness.0, &alter).await.unwrap();
            };
            assert_eq!(with(pool.transaction(), width).await.unwrap(), 2);
            widen("a").await;
            with(pool.transaction(), width).await.unwrap_err();
            assert_eq!(with(pool.transaction(), width).await.unwrap(), 3);
            widen("b").await;
            assert_eq!(pool.transaction().run(|| width).await.unwrap(), 4);
            assert_eq!(pool.counters().opened, 2);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

/// Also where the pool itself lent it, to whoever comes next, by whatever way.
#[test]
fn on_postgres_an_unfinished_copy_of_a_bare_lease_is_not_the_next_users() {
    crate::common::on_both_flavours(&async |place: &Place<server::Postgres>| {
        with(pool_of_one::<server::Postgres>(Connections::new(place.options())), async |pool| {
            for n in 0..3 {
                let mut lease = pool.get().await?;
                let copy = "COPY (SELECT generate_series(1, 20000)) TO STDOUT";
                lease.conn().copy_out_raw(copy).await?.next().await.unwrap()?;
                lease.complete();
                assert!(pool.try_get().is_none(), "it is checked first");
                let mut said = Vec::new();
                for name in ["bob", "carol"] {
                    let ask = format!("SELECT '{name} {n}'");
                    if n == 1 {
                        let asked = with(pool.connection(), async |connection| {
                            Ok::<_, Failure>(server::Postgres::texts(connection.conn(), &ask).await?)
                        });
                        said.extend(asked.await.unwrap());
                    } else {
                        let mut lease = pool.get().await?;
                        said.extend(server::Postgres::texts(lease.conn(), &ask).await?);
                        lease.complete();
                    }
                }
                assert_eq!(said, [format!("bob {n}"), format!("carol {n}")]);
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

/// What its server waits for would never come.
#[test]
fn on_postgres_a_copy_that_was_begun_as_a_statement_is_closed() {
    let place = async |place: &Place<server::Postgres>| {
        with(pool_of_one::<server::Postgres>(Connections::new(place.options())), async |pool| {
            with(pool.connection(), async |connection| {
                connection.conn().execute("COPY account FROM STDIN").await.unwrap_err();
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
            let said = with(pool.connection(), async |connection| {
                Ok::<_, Failure>(server::Postgres::texts(connection.conn(), "SELECT 'bob'").await?)
            });
            assert_eq!(said.await.unwrap(), ["bob"]);
            assert_eq!(pool.counters().opened, 2);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    };
    crate::common::on_multi_thread(place);
}

/// Without the checks after completed uses, each use is lent again at once.
#[test]
fn on_postgres_the_check_of_completed_uses_can_be_switched_off() {
    crate::common::on_both_flavours(&async |place: &Place<server::Postgres>| {
        let connections = Connections::new(place.options()).check_completed(false);
        with(pool_of_one::<server::Postgres>(connections), async |pool| {
            for _ in 0..3 {
                with(pool.connection(), async |connection| {
                    Ok::<_, Failure>(note::<server::Postgres>(connection.conn(), "note").await.is_ok())
                })
                .await
                .unwrap();
                assert_eq!(pool.status().idle, 1);
            }
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_rule_of_the_users_says_which_failures_close() {
    crate::common::on_both_flavours(&async |place: &Place<server::Postgres>| {
        let connections = Connections::new(place.options())
            .close_when(|failure| matches!(failure.downcast_ref(), Some(Failure::Refused)));
        with(pool_of_one::<server::Postgres>(connections), async |pool| {
            let failed = with(pool.connection(), async |_| Err::<(), _>(Failure::Refused));
            failed.await.unwrap_err();
            with(pool.connection(), async |_| Ok::<_, Failure>(())).await.unwrap();
            assert_eq!(pool.counters().opened, 2);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
    });
}
