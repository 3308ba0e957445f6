//! Connections of a pool: never dirty, never lost, closed in order, whatever becomes of those who use them.

use std::fmt::Debug;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{Connection as _, Executor as _, Sqlite, SqliteConnection};
use tenure::{Ending, hold, with};
use tenure_pool::Lease;
use tenure_sqlx::pool::{Connections, HookFuture, Pool};
use tenure_test::{Fault, Proof, Recorder};

use crate::common::{
    TempDb, assert_clean, at_every_suspension, drained, note, on_both_flavours, prepared, slow_down, write_both,
};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::trouble::Trouble;

pub(crate) const SIZE: usize = 2;

pub(crate) fn pool_of(size: usize, connections: Connections<Sqlite>) -> Pool<Sqlite> {
    let pool = Pool::builder(connections).max_size(size).get_timeout(Duration::from_secs(20));
    pool.create_backoff(Duration::from_millis(1), Duration::from_millis(1)).build().unwrap()
}

/// Writes a note in a transaction on a connection of the pool.
async fn write(pool: &Pool<Sqlite>, text: &str) -> Result<(), Trouble> {
    with(pool.get(), async |connection| {
        with(connection.transaction().immediate(), async |transaction| {
            note(transaction, text).await?;
            Ok::<_, Trouble>(())
        })
        .await
    })
    .await
}

/// Checks that all connections can be had at once, that each is clean, and that closing them leaves nothing.
pub(crate) async fn assert_whole(db: &TempDb, pool: &Pool<Sqlite>) {
    let mut leases = Vec::new();
    for _ in 0..pool.status().max_size {
        let mut lease = pool.get().await.unwrap();
        assert_clean(&mut lease).await;
        leases.push(lease);
    }
    leases.into_iter().for_each(Lease::complete);
    let report = pool.close().await;
    assert!(report.is_clean(), "{report:?}");
    assert!(!db.has_log(), "a connection is not closed");
}

/// Two notes about an attempt, one of them under a savepoint, on a connection of the pool.
async fn attempt(pool: &Pool<Sqlite>, recorder: &Recorder) -> Result<(), Trouble> {
    with(pool.get(), async |connection| {
        slow_down(connection.ready().await?).await;
        recorder.step("lent").await.map_err(Failure::from)?;
        with(connection.transaction().immediate(), async |transaction| write_both(transaction, recorder).await)
            .await?;
        recorder.step("committed").await.map_err(Failure::from)?;
        Ok(())
    })
    .await
}

/// That both notes of an attempt are there, or none.
pub(crate) async fn assert_not_torn(db: &TempDb) {
    let notes = db.notes().await;
    assert!(notes.is_empty() || notes == ["first", "second"], "a transaction was torn apart: {notes:?}");
}

/// From opening a pool to closing it.
async fn story(db: Arc<TempDb>, recorder: Recorder) -> Result<(), Trouble> {
    let pool = pool_of(SIZE, Connections::new(db.options()));
    with(pool, async |pool| {
        attempt(pool, &recorder).await?;
        recorder.step("given back").await.map_err(Failure::from)?;
        attempt(pool, &recorder).await
    })
    .await
}

/// A proof that looks at the database after each run: all connections closed, no transaction torn apart.
pub(crate) fn proof(db: &Arc<TempDb>) -> Proof {
    let db = Arc::clone(db);
    Proof::new().real_clock().check(move |_run| {
        let db = Arc::clone(&db);
        async move {
            assert!(!db.has_log(), "a connection is not closed");
            assert_not_torn(&db).await;
            Ok(())
        }
    })
}

#[test]
fn cancelled_everywhere_a_pool_is_closed_in_order() {
    let db = prepared();
    let report = proof(&db).cancel_everywhere(|recorder| story(Arc::clone(&db), recorder));
    assert!(report.suspensions >= report.points, "{report}");
}

#[test]
fn failed_and_panicked_everywhere_a_pool_is_closed_in_order() {
    let db = prepared();
    let report = proof(&db).fail_everywhere(|recorder| story(Arc::clone(&db), recorder));
    assert_eq!(report.points, 11, "{report}");
}

/// Drops an attempt at every suspension, and looks at the pool after each.
pub(crate) fn dropped_everywhere<E: Debug>(attempt: &impl AsyncFn(&Pool<Sqlite>, &Recorder) -> Result<(), E>) {
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
fn a_use_that_is_dropped_at_every_suspension_leaves_the_pool_whole() {
    dropped_everywhere(&attempt);
}

/// How a hook may go wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Fails,
    Panics,
    Hangs,
}

impl Wrong {
    const ALL: [Self; 3] = [Self::Fails, Self::Panics, Self::Hangs];

    /// A hook that goes wrong at its n-th call, counted from one, and counts its calls.
    fn at(
        self,
        n: u32,
        calls: &Arc<AtomicU32>,
    ) -> impl for<'c> Fn(&'c mut SqliteConnection) -> HookFuture<'c> + Send + Sync + 'static {
        let calls = Arc::clone(calls);
        move |connection| {
            let is_wrong = calls.fetch_add(1, Ordering::Relaxed) + 1 == n;
            Box::pin(async move {
                connection.execute("SELECT 1").await?;
                match self {
                    _ if !is_wrong => Ok(()),
                    Self::Fails => Err(sqlx::Error::Protocol("by intent".to_owned())),
                    Self::Panics => tenure_test::panic_quietly("by intent"),
                    Self::Hangs => std::future::pending().await,
                }
            })
        }
    }
}

/// A pool of one whose hooks may not take long.
fn hasty(connections: Connections<Sqlite>) -> Pool<Sqlite> {
    let soon = Duration::from_millis(200);
    let pool = Pool::builder(connections).max_size(1).get_timeout(Duration::from_secs(20));
    let pool = pool.create_timeout(soon).reset_timeout(soon);
    pool.create_backoff(Duration::from_millis(1), Duration::from_millis(1)).build().unwrap()
}

#[test]
fn a_hook_after_connect_that_goes_wrong_costs_that_connection_alone() {
    on_both_flavours(async || {
        for wrong in Wrong::ALL {
            let db = TempDb::new().await;
            let calls = Arc::default();
            let pool = hasty(Connections::new(db.options()).after_connect(wrong.at(1, &calls)));
            write(&pool, "kept").await.unwrap();
            let counters = pool.counters();
            assert_eq!((counters.create_failures, counters.opened), (1, 1), "{wrong:?}");
            assert_eq!(calls.load(Ordering::Relaxed), 2, "{wrong:?}");
            assert_whole(&db, &pool).await;
            assert_eq!(db.notes().await, ["kept"]);
            drained().await;
        }
    });
}

#[test]
fn a_reset_hook_that_goes_wrong_closes_the_connection() {
    on_both_flavours(async || {
        for wrong in Wrong::ALL {
            let db = TempDb::new().await;
            let calls = Arc::default();
            let pool = hasty(Connections::new(db.options()).on_reset(wrong.at(2, &calls)));
            for n in 0..3 {
                let refused = with(pool.get(), async |connection| {
                    connection.ready().await?.execute("BEGIN IMMEDIATE").await?;
                    note(connection.ready().await?, "never").await?;
                    Err::<(), Trouble>(Failure::Refused.into())
                });
                assert!(matches!(refused.await, Err(Trouble::Other(Failure::Refused))));
                // It waits for the reset, and may write: nothing is left open.
                write(&pool, &format!("kept {n}")).await.unwrap();
            }
            let counters = pool.counters();
            assert_eq!((counters.resets, counters.reset_failures, counters.opened), (3, 1, 2), "{wrong:?}");
            assert_whole(&db, &pool).await;
            assert_eq!(db.notes().await.len(), 3);
            drained().await;
        }
    });
}

/// A way in which the use of a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Completed,
    Failed,
    Panicked,
    Cancelled,
    Dropped,
}

impl End {
    const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::Panicked, Self::Cancelled, Self::Dropped];

    /// Uses a connection of the pool with `work`, and ends the use like this.
    async fn come(self, pool: &Pool<Sqlite>, work: impl AsyncFnOnce(&mut SqliteConnection)) {
        let mut lease = hold(pool.get_owned()).await.unwrap();
        work(lease.ready().await.unwrap()).await;
        match self {
            Self::Completed => lease.close().await.unwrap(),
            Self::Failed => lease.exit(Ending::failed(Fault::new("by intent"))).await.unwrap(),
            Self::Panicked => lease.exit(Ending::Panicked("by intent".to_owned())).await.unwrap(),
            Self::Cancelled => drop(lease),
            Self::Dropped => drop(lease.disarm()),
        }
    }
}

#[test]
fn what_the_session_was_left_with_is_cleaned_by_the_reset_hook() {
    on_both_flavours(async || {
        for end in End::ALL {
            let db = TempDb::new().await;
            let connections = Connections::<Sqlite>::new(db.options()).on_reset(|connection| {
                Box::pin(async { connection.execute("DROP TABLE IF EXISTS temp.scratch").await.map(drop) })
            });
            let pool = pool_of(1, connections);
            end.come(&pool, async |connection| {
                connection.execute("CREATE TEMP TABLE scratch (n INTEGER)").await.unwrap();
            })
            .await;
            let left = with(pool.get(), async |connection| {
                let count = "SELECT count(*) FROM temp.sqlite_schema";
                let count: i64 = sqlx::query_scalar(count).fetch_one(connection.ready().await?).await?;
                Ok::<_, Trouble>(count)
            });
            let is_completed = matches!(end, End::Completed);
            assert_eq!(left.await.unwrap(), i64::from(is_completed), "{end:?}");
            assert_eq!(pool.counters().resets, u64::from(!is_completed), "{end:?}");
            assert_eq!(pool.counters().opened, 1, "{end:?}");
            assert_whole(&db, &pool).await;
            drained().await;
        }
    });
}

/// A way to leave a transaction open on a connection.
#[derive(Clone, Copy, Debug)]
enum Leave {
    InPlainSql,
    OfSqlxLeaked,
    OfSqlxNestedAndLeaked,
    OfSqlxDropped,
}

impl Leave {
    const ALL: [Self; 4] =
        [Self::InPlainSql, Self::OfSqlxLeaked, Self::OfSqlxNestedAndLeaked, Self::OfSqlxDropped];

    async fn open(self, connection: &mut SqliteConnection) {
        match self {
            Self::InPlainSql => {
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                note(connection, "never").await.unwrap();
            }
            Self::OfSqlxLeaked | Self::OfSqlxDropped => {
                let transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
                let mut transaction = ManuallyDrop::new(transaction);
                note(&mut transaction, "never").await.unwrap();
                if matches!(self, Self::OfSqlxDropped) {
                    drop(ManuallyDrop::into_inner(transaction));
                }
            }
            Self::OfSqlxNestedAndLeaked => {
                let outer = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
                let mut outer = ManuallyDrop::new(outer);
                let mut inner = ManuallyDrop::new(outer.begin().await.unwrap());
                note(&mut inner, "never").await.unwrap();
            }
        }
    }
}

#[test]
fn a_connection_with_an_open_transaction_is_not_lent_on() {
    on_both_flavours(async || {
        for leave in Leave::ALL {
            for end in End::ALL {
                if matches!((leave, end), (Leave::InPlainSql, End::Completed)) {
                    // Nobody but the database knows of it, and a use that completed is taken at its word.
                    continue;
                }
                let db = TempDb::new().await;
                let pool = pool_of(1, Connections::new(db.options()));
                end.come(&pool, async |connection| leave.open(connection).await).await;
                write(&pool, "kept").await.unwrap();
                // Without a transaction: it is kept at once, unless one was left open.
                with(pool.get(), async |connection| Ok::<_, Trouble>(note(connection, "at once").await?))
                    .await
                    .unwrap();
                assert_eq!(db.notes().await, ["kept", "at once"], "{leave:?}, {end:?}");
                assert_whole(&db, &pool).await;
                drained().await;
            }
        }
    });
}

#[test]
fn a_connection_that_comes_back_before_its_transaction_has_ended_is_waited_for() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(1, Connections::new(db.options()));
        let mut lease = pool.get().await.unwrap();
        slow_down(&mut lease).await;
        let mut transaction = hold(lease.transaction().immediate()).await.unwrap();
        note(&mut transaction, "never").await.unwrap();
        // The rollback goes on in the background, and the lease goes before it has ended.
        drop(transaction);
        drop(lease);
        write(&pool, "kept").await.unwrap();
        assert_eq!(pool.counters().opened, 1, "it was cleaned, not replaced");
        assert_eq!(db.notes().await, ["kept"]);
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn gets_that_are_dropped_at_every_suspension_cost_no_connection() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let pool = pool_of(SIZE, Connections::new(db.options()));
        for n in 0..4 {
            let mut leases = Vec::new();
            for _ in 0..SIZE {
                leases.push(pool.get().await.unwrap());
            }
            // All are out: it waits.
            let waited = drop_at(0, pool.get()).await;
            assert!(waited.is_none());
            leases.into_iter().for_each(drop);
            // All are being reset: it waits at most as often as there is something to wait for.
            drop(drop_at(n, pool.get()).await);
        }
        assert_whole(&db, &pool).await;
        drained().await;
    });
}

#[test]
fn options_change_while_the_pool_runs() {
    on_both_flavours(async || {
        let (first, second) = (TempDb::new().await, TempDb::new().await);
        let pool = pool_of(SIZE, Connections::new(first.options()));
        write(&pool, "before").await.unwrap();
        let held = pool.get().await.unwrap();
        pool.manager().set_options(second.options());
        assert_eq!(pool.manager().options().get_filename(), second.options().get_filename());
        // The one that is lent stays as it was until it is given back.
        pool.invalidate_all();
        write(&pool, "after").await.unwrap();
        held.complete();
        write(&pool, "after as well").await.unwrap();
        assert_whole(&second, &pool).await;
        assert!(!first.has_log(), "the old ones are closed");
        assert_eq!(first.notes().await, ["before"]);
        assert_eq!(second.notes().await, ["after", "after as well"]);
        drained().await;
    });
}

#[test]
fn connections_are_closed_one_after_the_other_so_that_the_last_one_knows_it() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        for _ in 0..20 {
            let pool = pool_of(8, Connections::new(db.options()));
            with(pool, async |pool| {
                write(pool, "kept").await?;
                let mut leases = Vec::new();
                for _ in 0..8 {
                    let mut lease = pool.get().await?;
                    // It has the file open and has read it.
                    sqlx::query("SELECT count(*) FROM notes").execute(&mut **lease).await?;
                    leases.push(lease);
                }
                leases.into_iter().for_each(Lease::complete);
                with(pool.get(), async |connection| {
                    connection.ready().await?.execute("DELETE FROM notes").await?;
                    Ok::<_, Trouble>(())
                })
                .await
            })
            .await
            .unwrap();
            assert!(!db.has_log(), "the last connection removes the log, if it knows that it is the last");
        }
    });
}
