//! The rules of a replicated pool, on members that are files.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{Executor as _, Row as _};
use tenure::with;
use tenure_sqlx::pool::{PoolExt, ReadsFrom, Role};
use tenure_sqlx::{Error, Stage};
use tokio::time::{Instant, timeout};

use crate::cluster::{LIMIT, builder, members, served_by, until_read_from, write};
use crate::common::{drained, note, on_both_flavours};
use crate::dropped::drop_at;
use crate::failure::Failure;

#[test]
fn reads_go_to_replicas_in_turn_and_writes_to_the_primary_wherever_it_is_named() {
    on_both_flavours(async || {
        for primary in 0..3 {
            let members = members::<3>(&[primary]).await;
            let used = with(builder(&members).build().unwrap(), async |pool| {
                assert_eq!(pool.primary(), Some(&*primary.to_string()));
                let mut reads = [0; 3];
                for n in 0..8 {
                    reads[served_by(&members, &pool.read()).await?] += 1;
                    assert_eq!(served_by(&members, &pool.write()).await?, primary);
                    write(pool, &n.to_string()).await.unwrap();
                }
                for (number, count) in reads.into_iter().enumerate() {
                    assert_eq!(count, if number == primary { 0 } else { 4 }, "{reads:?}");
                }
                let roles: Vec<_> = pool.members().into_iter().map(|member| member.role.unwrap()).collect();
                assert_eq!(roles.iter().filter(|&&role| role == Role::Replica).count(), 2);
                assert_eq!(pool.failovers(), 0);
                Ok::<_, Error>(())
            });
            used.await.unwrap();
            assert_eq!(members[primary].db.notes().await.len(), 8);
        }
        drained().await;
    });
}

#[test]
fn a_write_that_is_refused_as_read_only_has_the_members_asked_and_the_next_goes_to_the_new_primary() {
    on_both_flavours(async || {
        let members = members::<3>(&[0]).await;
        // Nobody asks by and by: it is the refusal that tells.
        let pool = builder(&members).role_interval(Duration::from_secs(600)).build().unwrap();
        let used = with(pool, async |pool| {
            for round in 0..3 {
                let (old, new) = (round % 3, (round + 1) % 3);
                write(pool, &format!("before {round}")).await.unwrap();
                members[old].set(false);
                members[new].set(true);
                let closed = pool.member(&old.to_string()).unwrap().counters().closed;
                let refused = write(pool, "never").await.unwrap_err();
                assert!(format!("{refused:?}").contains("readonly"), "{refused:?}");
                write(pool, &format!("after {round}")).await.unwrap();
                assert_eq!(served_by(&members, &pool.write()).await?, new);
                assert_eq!(pool.failovers(), round as u64 + 1);
                assert!(pool.member(&old.to_string()).unwrap().counters().closed > closed);
                // The old one serves reads now, the new one none.
                until_read_from(&members, pool, old).await;
                for _ in 0..6 {
                    assert_ne!(served_by(&members, &pool.read()).await?, new);
                }
            }
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        assert_eq!(members[1].db.notes().await, ["after 0", "before 1"]);
        drained().await;
    });
}

#[test]
fn a_refusal_of_a_server_that_is_the_primary_yet_costs_a_question_and_a_connection() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        let pool = builder(&members).role_interval(Duration::from_secs(600)).build().unwrap();
        let used = with(pool, async |pool| {
            // The body's own doing.
            let refused = with(pool.write().connection(), async |connection| {
                connection.conn().execute("PRAGMA query_only = 1").await?;
                Ok::<_, Failure>(note(connection.conn(), "never").await?)
            });
            refused.await.unwrap_err();
            write(pool, "kept").await.unwrap();
            assert_eq!((pool.primary(), pool.failovers()), (Some("0"), 0));
            assert_eq!(pool.member("0").unwrap().counters().opened, 2);
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        assert_eq!(members[0].db.notes().await, ["kept"]);
        drained().await;
    });
}

#[test]
fn a_member_that_cannot_be_reached_is_evicted_and_comes_back() {
    on_both_flavours(async || {
        let members = members::<3>(&[2]).await;
        let used = with(builder(&members).build().unwrap(), async |pool| {
            until_read_from(&members, pool, 0).await;
            until_read_from(&members, pool, 1).await;
            members[0].set_reachable(pool, "0", false);
            for _ in 0..10 {
                // No read fails: what fails at one member is served by another.
                assert_eq!(served_by(&members, &pool.read()).await?, 1);
            }
            let evicted: Vec<_> = pool.members().into_iter().map(|member| member.is_evicted).collect();
            assert_eq!(evicted, [true, false, false]);
            members[0].set_reachable(pool, "0", true);
            until_read_from(&members, pool, 0).await;
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        drained().await;
    });
}

#[test]
fn a_primary_that_is_gone_is_replaced_by_the_one_that_is_promoted() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        let used = with(builder(&members).build().unwrap(), async |pool| {
            write(pool, "before").await.unwrap();
            members[0].set_reachable(pool, "0", false);
            let promoted = async {
                // While a write waits.
                tokio::task::yield_now().await;
                members[1].set(true);
                Ok::<_, Failure>(())
            };
            let waited = async {
                let written = write(pool, "after").await;
                written.map(|()| pool.failovers())
            };
            let (waited, promoted) = futures_util::future::join(waited, promoted).await;
            promoted.unwrap();
            assert_eq!(waited.unwrap(), 1);
            // The old one comes back and takes itself for the primary: it is not believed.
            members[0].set_reachable(pool, "0", true);
            for n in 0..10 {
                write(pool, &n.to_string()).await.unwrap();
            }
            assert_eq!((pool.primary(), pool.failovers()), (Some("1"), 1));
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        assert_eq!(members[0].db.notes().await, ["before"]);
        assert_eq!(members[1].db.notes().await.len(), 11);
        drained().await;
    });
}

#[test]
fn reads_fall_back_on_the_primary_by_choice() {
    on_both_flavours(async || {
        for (reads_from, with_replica, without) in [
            (ReadsFrom::Replicas, vec![1], None),
            (ReadsFrom::ReplicasFirst, vec![1], Some(0)),
            (ReadsFrom::All, vec![0, 1], Some(0)),
        ] {
            let members = members::<2>(&[0]).await;
            let pool = builder(&members).reads_from(reads_from).failover_timeout(Duration::from_secs(2));
            let used = with(pool.build().unwrap(), async |pool| {
                for &wanted in &with_replica {
                    until_read_from(&members, pool, wanted).await;
                }
                for _ in 0..6 {
                    assert!(with_replica.contains(&served_by(&members, &pool.read()).await?));
                }
                members[1].set_reachable(pool, "1", false);
                match (served_by(&members, &pool.read()).await, without) {
                    (Ok(number), Some(wanted)) => assert_eq!(number, wanted),
                    (Err(error), None) => {
                        assert_eq!(error.stage(), Stage::Get);
                        assert!(error.to_string().contains("can be read"), "{error}");
                        assert!(error.source().is_some(), "it says why the last one was evicted");
                    }
                    (other, _) => panic!("{reads_from:?}: {other:?}"),
                }
                members[1].set_reachable(pool, "1", true);
                until_read_from(&members, pool, 1).await;
                Ok::<_, Error>(())
            });
            used.await.unwrap();
        }
        // The only member serves both ends.
        let members = members::<1>(&[0]).await;
        let used =
            with(builder(&members).build().unwrap(), async |pool| served_by(&members, &pool.read()).await);
        assert_eq!(used.await.unwrap(), 0);
        drained().await;
    });
}

#[test]
fn without_a_primary_writes_fail_after_the_limit_and_entering_does_too() {
    on_both_flavours(async || {
        let members = members::<2>(&[]).await;
        let build = || builder(&members).failover_timeout(Duration::from_millis(300)).build().unwrap();
        let began = Instant::now();
        let entered = with(build(), async |_| Ok::<_, Error>(())).await.unwrap_err();
        assert_eq!(entered.stage(), Stage::Get);
        assert!(began.elapsed() >= Duration::from_millis(300));
        let pool = build();
        let refused = write(&pool, "never").await.unwrap_err();
        assert!(refused.to_string().contains("takes writes"), "{refused}");
        assert!(matches!(sqlx::Error::from(refused.into_tenure()), sqlx::Error::PoolTimedOut));
        // Reads go on.
        until_read_from(&members, &pool, 0).await;
        pool.close().await.unwrap();
        drop(pool);
        drained().await;
    });
}

#[test]
fn a_member_on_which_connecting_hangs_holds_nobody_up() {
    on_both_flavours(async || {
        let members = members::<3>(&[0]).await;
        let used = with(builder(&members).build().unwrap(), async |pool| {
            members[1].hangs.store(true, Ordering::SeqCst);
            pool.member("1").unwrap().invalidate_all();
            let began = Instant::now();
            for _ in 0..6 {
                assert_eq!(served_by(&members, &pool.read()).await?, 2);
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
            members[1].hangs.store(false, Ordering::SeqCst);
            until_read_from(&members, pool, 1).await;
            // The primary hangs, and another one is promoted.
            members[0].hangs.store(true, Ordering::SeqCst);
            pool.member("0").unwrap().invalidate_all();
            members[2].set(true);
            timeout(LIMIT, write(pool, "kept")).await.expect("it goes on to the new one").unwrap();
            assert_eq!(pool.primary(), Some("2"));
            members[0].hangs.store(false, Ordering::SeqCst);
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        drained().await;
    });
}

#[test]
fn a_rule_of_the_users_says_what_a_member_is_and_may_fail_or_panic() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        // What the rule says of the replica: a replica, unfit, an error, a panic.
        let said = Arc::new(AtomicU32::new(0));
        let rule = Arc::clone(&said);
        let pool = builder(&members).role_by(move |connection| {
            let said = rule.load(Ordering::SeqCst);
            Box::pin(async move {
                let is_read_only: bool = connection.fetch_one("PRAGMA query_only").await?.get(0);
                match said {
                    _ if !is_read_only => Ok(Role::Primary),
                    0 => Ok(Role::Replica),
                    1 => Ok(Role::Unfit),
                    2 => Err(sqlx::Error::RowNotFound),
                    _ => panic!("scripted"),
                }
            })
        });
        let pool = pool.failover_timeout(Duration::from_millis(500));
        let used = with(pool.build().unwrap(), async |pool| {
            for wrong in 1..4 {
                said.store(0, Ordering::SeqCst);
                until_read_from(&members, pool, 1).await;
                said.store(wrong, Ordering::SeqCst);
                let evicted = async { while served_by(&members, &pool.read()).await.is_ok() {} };
                timeout(LIMIT, evicted).await.expect("it is evicted");
                write(pool, &wrong.to_string()).await.unwrap();
            }
            said.store(0, Ordering::SeqCst);
            until_read_from(&members, pool, 1).await;
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        drained().await;
    });
}

#[test]
fn a_round_that_dies_with_its_runtime_is_begun_again_on_another() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (members, pool) = first.block_on(async {
        let members = members::<2>(&[0]).await;
        let pool = builder(&members).role_timeout(Duration::from_secs(600)).build().unwrap();
        members[0].hangs.store(true, Ordering::SeqCst);
        members[1].hangs.store(true, Ordering::SeqCst);
        assert!(timeout(Duration::from_millis(20), write(&pool, "never")).await.is_err());
        (members, pool)
    });
    drop(first);
    for member in &members {
        member.hangs.store(false, Ordering::SeqCst);
    }
    runtime().block_on(async {
        timeout(LIMIT, write(&pool, "kept")).await.expect("it is asked again").unwrap();
        assert_eq!(served_by(&members, &pool.read()).await.unwrap(), 1);
        pool.close().await.unwrap();
    });
}

#[test]
fn a_get_that_is_dropped_anywhere_loses_no_connection_and_the_pool_closes_what_it_opened() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        let used = with(builder(&members).build().unwrap(), async |pool| {
            for n in 0..12 {
                let _ = drop_at(n, write(pool, &format!("dropped {n}"))).await;
                let _ = drop_at(n, served_by(&members, &pool.read())).await;
            }
            // All that may be lent can be taken.
            let (read, write) = (pool.read(), pool.write());
            let taken = with(read.connection(), async |_| {
                with(read.connection(), async |_| {
                    with(write.connection(), async |_| {
                        with(write.connection(), async |_| Ok::<_, Error>(())).await
                    })
                    .await
                })
                .await
            });
            timeout(LIMIT, taken).await.expect("no connection is lost")?;
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        assert!(members.iter().all(|member| !member.db.has_log()), "all are closed");
        drained().await;
    });
}

#[test]
fn limits_may_be_as_long_or_as_short_as_can_be_said() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        let long = builder(&members).role_timeout(Duration::MAX).failover_timeout(Duration::MAX);
        let used = with(long.role_interval(Duration::MAX).build().unwrap(), async |pool| {
            write(pool, "kept").await.unwrap();
            served_by(&members, &pool.read()).await
        });
        assert_eq!(used.await.unwrap(), 1);
        let short = builder(&members).role_timeout(Duration::ZERO).failover_timeout(Duration::ZERO);
        let pool = short.build().unwrap();
        write(&pool, "never").await.unwrap_err();
        pool.close().await.unwrap();
        drop(pool);
        drained().await;
    });
}

/// The error is the reader's, and the members are asked.
#[test]
fn rows_of_a_write_that_is_refused_have_the_members_asked() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        let pool = builder(&members).role_interval(Duration::from_secs(600)).build().unwrap();
        let used = with(pool, async |pool| {
            members[0].set(false);
            members[1].set(true);
            let insert = "INSERT INTO notes (text) VALUES ('kept') RETURNING id";
            let insert = async || pool.write().rows(sqlx::query(insert)).try_collect::<Vec<_>>().await;
            // At most once a second it is asked after a failure of another kind.
            let written = async { while insert().await.is_err() {} };
            timeout(LIMIT, written).await.expect("the new primary is found");
            assert_eq!(pool.primary(), Some("1"));
            Ok::<_, Error>(())
        });
        used.await.unwrap();
        assert_eq!(members[1].db.notes().await, ["kept"]);
        drained().await;
    });
}

#[test]
fn the_error_of_a_body_is_its_own_and_holders_are_named_by_their_place() {
    on_both_flavours(async || {
        let members = members::<2>(&[0]).await;
        let used = with(builder(&members).build().unwrap(), async |pool| {
            let failed = with(pool.write().transaction(), async |_| Err::<(), _>(Failure::Refused)).await;
            assert!(matches!(failed, Err(Failure::Refused)));
            with(pool.write().connection(), async |_| {
                let holders = pool.member("0").unwrap().holders();
                assert!(holders.iter().all(|holder| holder.location.file() == file!()), "{holders:?}");
                Ok::<_, Error>(())
            })
            .await
        });
        used.await.unwrap();
        drained().await;
    });
}
