//! A transaction on a pool, in one context: it ends as one on a connection does, and the connection goes back.

use std::error::Error as _;
use std::sync::Arc;

use sqlx::{Executor as _, Sqlite};
use tenure::{Ending, hold, with};
use tenure_pool::{GetError, GetErrorKind, Lease};
use tenure_sqlx::pool::{Connections, PoolExt as _};
use tenure_sqlx::{Error, Stage, Transaction};
use tenure_test::Recorder;

use crate::common::{TempDb, at_every_suspension, drained, note, on_both_flavours, slow_down};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::pooled::{SIZE, assert_not_torn, assert_whole, pool_of, prepared, proof};
use crate::trouble::Trouble;

type Pool = tenure_sqlx::pool::Pool<Sqlite>;

/// Two notes about an attempt, one of them under a savepoint.
async fn attempt(pool: &Pool, recorder: &Recorder) -> Result<(), Failure> {
    with(pool.transaction().immediate(), async |transaction| {
        slow_down(transaction).await;
        sqlx::query("DELETE FROM notes").execute(&mut **transaction).await?;
        note(transaction, "first").await?;
        recorder.step("written").await?;
        with(transaction.savepoint(), async |savepoint| {
            note(savepoint, "second").await?;
            recorder.step("written under a savepoint").await?;
            Ok::<_, Failure>(())
        })
        .await?;
        recorder.step("released").await?;
        Ok(())
    })
    .await
}

async fn story(db: Arc<TempDb>, recorder: Recorder) -> Result<(), Trouble> {
    let pool = pool_of(SIZE, Connections::new(db.options()));
    with(pool, async |pool| {
        attempt(pool, &recorder).await?;
        recorder.step("given back").await.map_err(Failure::from)?;
        Ok(attempt(pool, &recorder).await?)
    })
    .await
}

#[test]
fn cancelled_everywhere_it_leaves_the_pool_closed_in_order() {
    let db = prepared();
    let report = proof(&db).cancel_everywhere(|recorder| story(Arc::clone(&db), recorder));
    assert!(report.suspensions >= report.points, "{report}");
}

#[test]
fn failed_and_panicked_everywhere_it_leaves_the_pool_closed_in_order() {
    let db = prepared();
    let report = proof(&db).fail_everywhere(|recorder| story(Arc::clone(&db), recorder));
    assert_eq!(report.points, 7, "{report}");
}

#[test]
fn dropped_at_every_suspension_it_leaves_the_pool_whole() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        at_every_suspension(20, async |n| {
            let pool = pool_of(SIZE, Connections::new(db.options()));
            let ended = drop_at(n, attempt(&pool, &Recorder::new())).await;
            let ended = ended.transpose().unwrap().is_some();
            assert_whole(&db, &pool).await;
            assert_not_torn(&db).await;
            drained().await;
            ended
        })
        .await;
    });
}

#[test]
fn the_pool_is_told_how_it_ended() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let kept = with(pool.transaction(), async |transaction| note(transaction, "kept").await).await;
        kept.unwrap();
        assert_eq!(pool.counters().resets, 0);

        let refused: Result<(), Failure> = with(pool.transaction(), async |transaction| {
            note(transaction, "never").await?;
            Err(Failure::Refused)
        })
        .await;
        assert!(matches!(refused, Err(Failure::Refused)));
        pool.get().await.unwrap().complete();
        assert_eq!(pool.counters().resets, 1);

        let mut held = hold(pool.transaction()).await.unwrap();
        note(&mut held, "never").await.unwrap();
        held.exit(Ending::Cancelled).await.unwrap();
        pool.get().await.unwrap().complete();
        assert_eq!(pool.counters().resets, 2);

        // A commit that fails is a use that failed.
        let orphan: Result<(), Failure> = with(pool.transaction(), async |transaction| {
            transaction.execute("PRAGMA defer_foreign_keys = ON").await?;
            transaction.execute("INSERT INTO children VALUES (7)").await?;
            Ok(())
        })
        .await;
        assert_eq!(orphan.unwrap_err().into_tenure().stage(), Stage::Commit);
        pool.get().await.unwrap().complete();
        assert_eq!(pool.counters().resets, 3);

        assert_eq!((pool.counters().opened, db.notes().await), (1, vec!["kept".to_owned()]));
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn a_pool_that_lends_nothing_is_the_source_of_the_error() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        assert!(pool.close().await.is_clean());
        let error: Error = with(pool.transaction(), async |_| Ok::<_, Error>(())).await.unwrap_err();
        assert_eq!((error.stage(), error.fate()), (Stage::Get, None));
        let source = error.source().and_then(|source| source.downcast_ref::<GetError>()).unwrap();
        assert_eq!(source.kind(), GetErrorKind::Closed);
        assert_eq!(error.to_string(), "getting a connection from the pool failed");
        drained().await;
    });
}

#[test]
fn one_that_meets_another_is_done_again_on_the_same_connection() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(SIZE, Connections::new(db.options()));
        let mut attempts = 0;
        // It reads first: what another one writes in between makes its own write impossible.
        pool.transaction()
            .run(|| {
                attempts += 1;
                let (is_first, pool) = (attempts == 1, &pool);
                async move |transaction: &mut Transaction<Sqlite>| {
                    let count = "SELECT count(*) FROM notes";
                    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut **transaction).await?;
                    if is_first {
                        with(pool.transaction(), async |other| note(other, "in between").await).await?;
                    }
                    note(transaction, &format!("after {count}")).await?;
                    Ok::<_, Failure>(())
                }
            })
            .await
            .unwrap();
        assert_eq!(attempts, 2);
        assert_eq!(pool.counters().lent, 2);
        assert_eq!(db.notes().await, ["in between", "after 1"]);
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn a_place_in_the_queue_is_given_up_with_it() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let lease = pool.get().await.unwrap();
        assert!(drop_at(0, hold(pool.transaction())).await.is_none());
        assert_eq!(pool.status().waiting, 0);
        Lease::complete(lease);
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn what_is_held_names_the_place_of_the_caller() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let line = line!() + 1;
        let run = pool.transaction().run(|| {
            async |transaction: &mut Transaction<Sqlite>| {
                note(transaction, "kept").await?;
                let open = tenure::open();
                Ok::<_, Failure>(
                    open.iter().map(|tenure| (tenure.location.file(), tenure.location.line())).collect(),
                )
            }
        });
        let places: Vec<(&str, u32)> = run.await.unwrap();
        // The use of the connection, and the transaction.
        assert_eq!(places, [(file!(), line); 2]);
        assert_whole(&db, &pool).await;
        drained().await;
    });
}
