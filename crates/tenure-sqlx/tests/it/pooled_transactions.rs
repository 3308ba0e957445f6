//! A transaction on a pool, in one context: it ends as one on a connection does, and the connection goes back.

use std::sync::Arc;

use sqlx::{Executor as _, Sqlite};
use tenure::{Ending, hold, with};
use tenure_pool::Lease;
use tenure_sqlx::pool::{Connections, GetError, GetErrorKind, PoolExt as _};
use tenure_sqlx::{Error, Stage, Transaction};
use tenure_test::Recorder;

use crate::common::{TempDb, drained, note, on_both_flavours, prepared, slow_down, write_both};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::pooled::{SIZE, assert_whole, dropped_everywhere, pool_of, proof};
use crate::trouble::Trouble;

type Pool = tenure_sqlx::pool::Pool<Sqlite>;

/// Two notes about an attempt, one of them under a savepoint.
async fn attempt(pool: &Pool, recorder: &Recorder) -> Result<(), Failure> {
    with(pool.transaction().immediate(), async |transaction| {
        slow_down(transaction).await;
        write_both(transaction, recorder).await
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
    dropped_everywhere(&attempt);
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
fn a_pool_that_lends_nothing_says_why() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        assert!(pool.close().await.is_clean());
        let error: Error = with(pool.transaction(), async |_| Ok::<_, Error>(())).await.unwrap_err();
        assert_eq!((error.stage(), error.fate()), (Stage::Get, None));
        assert_eq!(error.get_error().map(GetError::kind), Some(GetErrorKind::Closed));
        assert!(error.to_string().starts_with("getting a connection from the pool failed: "), "{error}");
        assert!(matches!(sqlx::Error::from(error), sqlx::Error::PoolClosed));
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

#[test]
fn a_pool_whose_connections_are_all_out_is_what_sqlx_calls_timed_out() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = Pool::builder(Connections::new(db.options())).max_size(1);
        let pool: Pool = pool.get_timeout(std::time::Duration::from_millis(1)).build().unwrap();
        // To open it may take longer.
        let lease = pool.get().timeout(std::time::Duration::from_secs(20)).await.unwrap();
        let kept: Result<(), sqlx::Error> = with(pool.transaction(), async |_| Ok(())).await;
        assert!(matches!(kept, Err(sqlx::Error::PoolTimedOut)), "{kept:?}");
        let read: Result<(), sqlx::Error> = with(pool.connection(), async |_| Ok(())).await;
        assert!(matches!(read, Err(sqlx::Error::PoolTimedOut)), "{read:?}");
        lease.complete();
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn a_file_that_is_none_is_refused_at_once() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool: Pool = pool_of(1, Connections::new(db.options().filename("/no/such/folder/test.db")));
        let error: Error = with(pool.connection(), async |_| Ok::<_, Error>(())).await.unwrap_err();
        // Far less than the 20 s for which the pool would try again.
        assert!(error.get_error().unwrap().waited() < std::time::Duration::from_secs(10), "{error}");
        assert_eq!(error.get_error().map(GetError::kind), Some(GetErrorKind::CreateFailing));
        drained().await;
    });
}

/// Reads as code that has the pool as sqlx's executor does.
async fn read(pool: &Pool) -> Result<Vec<String>, sqlx::Error> {
    let notes = "SELECT text FROM notes";
    with(pool.connection(), async |connection| sqlx::query_scalar(notes).fetch_all(&mut **connection).await)
        .await
}

#[test]
fn a_connection_in_one_context_is_lent_again_and_has_transactions() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let both = with(pool.connection(), async |connection| {
            note(connection, "at once").await?;
            with(connection.transaction(), async |transaction| note(transaction, "kept").await).await?;
            note(connection, "after").await
        });
        both.await.unwrap();
        assert_eq!(read(&pool).await.unwrap(), ["at once", "kept", "after"]);
        assert_eq!((pool.counters().opened, pool.counters().resets), (1, 0));
        let refused: Result<(), Failure> = with(pool.connection(), async |_| Err(Failure::Refused)).await;
        assert!(matches!(refused, Err(Failure::Refused)));
        pool.get().await.unwrap().complete();
        assert_eq!(pool.counters().resets, 1);
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn one_that_is_moved_by_hand_commits_rolls_back_or_loses_its_connection() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let mut transaction = pool.transaction().await.unwrap();
        note(&mut transaction, "kept").await.unwrap();
        transaction.commit().await.unwrap();
        let mut transaction = pool.transaction().await.unwrap();
        note(&mut transaction, "undone").await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!((pool.counters().opened, pool.counters().closed), (1, 0));
        let mut transaction = pool.transaction().await.unwrap();
        note(&mut transaction, "never").await.unwrap();
        drop(transaction);
        assert_eq!(read(&pool).await.unwrap(), ["kept"]);
        assert_eq!((pool.counters().opened, pool.counters().closed), (2, 1));
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn a_commit_by_hand_that_is_dropped_goes_on() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let mut transaction = pool.transaction().await.unwrap();
        slow_down(&mut transaction).await;
        note(&mut transaction, "kept").await.unwrap();
        assert!(drop_at(0, transaction.commit()).await.is_none());
        drained().await;
        assert_eq!(db.notes().await, ["kept"]);
        assert_whole(&db, &pool).await;
    });
}
