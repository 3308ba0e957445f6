//! Dropped at every suspension of enter, body and exit: afterwards the connection is clean or closed.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use sqlx::Executor as _;
use tenure::{Options, Stopped, with};
use tenure_sqlx::Retry;
use tenure_sqlx::sqlite::{self, Connection};

use crate::common::{
    TempDb, assert_clean, at_every_suspension, drained, drop_at, note, on_both_flavours, slow_down,
};
use crate::failure::Failure;

/// A transaction with a savepoint in it; its notes are named after `n`.
async fn write(connection: &mut Connection, n: usize, refuse: bool) -> Result<(), Failure> {
    with(connection.transaction().immediate(), async |transaction| {
        note(transaction, &format!("{n} first")).await?;
        with(transaction.savepoint(), async |savepoint| {
            note(savepoint, &format!("{n} second")).await?;
            Ok::<_, Failure>(())
        })
        .await?;
        if refuse { Err(Failure::Refused) } else { Ok(()) }
    })
    .await
}

/// All or nothing, and at least `whole` of it whole.
#[track_caller]
fn assert_whole(notes: &[String], n: usize) -> bool {
    let of_n = |text: &&String| text.starts_with(&format!("{n} "));
    let count = notes.iter().filter(of_n).count();
    assert!(count == 0 || count == 2, "{n}: {notes:?}");
    count == 2
}

#[test]
fn laws_10_to_13_a_borrowed_connection_comes_back_clean_from_every_suspension() {
    on_both_flavours(async || {
        for refuse in [false, true] {
            let db = TempDb::new().await;
            let mut witness = db.witness().await;
            let mut connection = db.connect().await;
            slow_down(&mut connection).await;
            // BEGIN, two inserts, two statements about the savepoint, COMMIT or ROLLBACK.
            at_every_suspension(6, async |n| {
                let ended = drop_at(n, write(&mut connection, n, refuse)).await;
                // Not drained: the next user of the connection waits for it by itself.
                assert_clean(&mut connection).await;
                assert!(!witness.is_locked().await, "dropped at {n}");
                let kept = assert_whole(&witness.notes().await, n);
                match ended {
                    None => assert!(!(refuse && kept), "a refused transaction was kept at {n}"),
                    Some(Ok(())) => assert!(!refuse && kept, "at {n}"),
                    Some(Err(Failure::Refused)) => assert!(refuse && !kept, "at {n}"),
                    Some(Err(failure)) => panic!("at {n}: {failure:?}"),
                }
                ended.is_some()
            })
            .await;
            drained().await;
        }
    });
}

#[test]
fn laws_10_to_13_everything_nested_is_closed_from_every_suspension() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        at_every_suspension(7, async |n| {
            let all = with(sqlite::connect(db.options()), async |connection| {
                slow_down(connection).await;
                write(connection, n, false).await
            });
            let ended = drop_at(n, all).await;
            drained().await;
            assert!(tenure::open().is_empty());
            assert!(!db.has_log(), "dropped at {n}, and the connection is not closed");
            let kept = assert_whole(&db.notes().await, n);
            if let Some(result) = &ended {
                assert!(result.is_ok() && kept, "at {n}: {result:?}");
            }
            ended.is_some()
        })
        .await;
    });
}

#[test]
fn an_owned_connection_is_closed_from_every_suspension() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        // BEGIN, insert, COMMIT.
        at_every_suspension(3, async |n| {
            let mut connection = db.connect().await;
            slow_down(&mut connection).await;
            let all = with(connection.into_transaction(), async |transaction| {
                note(transaction, &format!("{n}")).await?;
                Ok::<_, Failure>(())
            });
            let ended = drop_at(n, all).await;
            drained().await;
            assert!(!db.has_log(), "dropped at {n}, and the connection is not closed");
            let kept = db.notes().await.contains(&n.to_string());
            if let Some(result) = &ended {
                assert!(result.is_ok() && kept, "at {n}: {result:?}");
            }
            ended.is_some()
        })
        .await;
    });
}

#[test]
fn a_savepoint_that_is_dropped_is_undone_and_its_transaction_goes_on() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let mut connection = db.connect().await;
        slow_down(&mut connection).await;
        // SAVEPOINT, insert, RELEASE.
        at_every_suspension(3, async |n| {
            let ended = with(connection.transaction(), async |transaction| {
                note(transaction, &format!("{n} before")).await?;
                let inner = with(transaction.savepoint(), async |savepoint| {
                    note(savepoint, &format!("{n} inside")).await?;
                    Ok::<_, Failure>(())
                });
                let ended = drop_at(n, inner).await;
                let again = transaction.ready().await?;
                note(again, &format!("{n} after")).await?;
                Ok::<_, Failure>(ended.is_some())
            })
            .await
            .unwrap();
            let notes = db.notes().await;
            assert!(notes.contains(&format!("{n} before")));
            assert!(notes.contains(&format!("{n} after")));
            assert!(!ended || notes.contains(&format!("{n} inside")));
            ended
        })
        .await;
        assert_clean(&mut connection).await;
        drained().await;
    });
}

#[test]
fn law_10_a_begin_that_is_dropped_while_it_waits_for_a_lock_leaves_nothing_behind() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let mut witness = db.witness().await;
        // SQLite itself waits as well, in the middle of the BEGIN.
        let options = db.options().busy_timeout(Duration::from_millis(20));
        let mut connection = sqlite::connect(options).await.unwrap();
        for n in 0..6 {
            witness.lock().await;
            let begun = drop_at(n, connection.transaction().immediate().into_future()).await;
            assert!(begun.is_none());
            witness.unlock().await;
            assert_clean(&mut connection).await;
            assert!(!witness.is_locked().await, "dropped at {n}");
            drained().await;
        }
    });
}

#[test]
fn a_begin_that_succeeds_after_its_caller_is_gone_is_rolled_back() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let mut witness = db.witness().await;
        let options = db.options().busy_timeout(Duration::from_secs(20));
        let mut connection = sqlite::connect(options).await.unwrap();
        witness.lock().await;
        let begun = drop_at(0, connection.transaction().immediate().into_future()).await;
        assert!(begun.is_none());
        // The BEGIN is in SQLite's hands now, which waits for this:
        witness.unlock().await;
        assert_clean(&mut connection).await;
        assert!(!witness.is_locked().await);
        drained().await;
    });
}

#[test]
fn law_04_a_panic_in_the_body_rolls_back_and_goes_on() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let path = db.options();
        let panicked = tokio::spawn(async move {
            let mut connection = sqlite::connect(path).await.unwrap();
            with(connection.transaction().immediate(), async |transaction| {
                note(transaction, "lost").await?;
                if true {
                    std::panic::panic_any("by intent");
                }
                Ok::<_, Failure>(())
            })
            .await
        })
        .await
        .unwrap_err();
        assert_eq!(*panicked.into_panic().downcast::<&str>().unwrap(), "by intent");
        drained().await;
        let mut witness = db.witness().await;
        assert!(witness.notes().await.is_empty());
        assert!(!witness.is_locked().await);
    });
}

#[test]
fn law_11_an_aborted_task_rolls_back_behind_its_statement() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let options = db.options();
        let (started, is_started) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(with(sqlite::connect(options), async |connection| {
            with(connection.transaction().immediate(), async |transaction| {
                note(transaction, "lost").await?;
                started.send(()).unwrap();
                loop {
                    transaction.execute("INSERT INTO numbers VALUES (1)").await?;
                }
            })
            .await
        }));
        is_started.await.unwrap();
        task.abort();
        let ended: Result<Result<(), Failure>, _> = task.await;
        assert!(ended.unwrap_err().is_cancelled());
        drained().await;
        let mut witness = db.witness().await;
        assert!(witness.notes().await.is_empty());
        assert!(!witness.is_locked().await);
    });
}

#[test]
fn law_14_a_body_that_times_out_is_rolled_back_in_place() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let mut connection = db.connect().await;
        let limit = Duration::from_millis(5);
        let stopped = Options::new()
            .body_timeout(limit)
            .with(connection.transaction().immediate(), async |transaction| {
                note(transaction, "lost").await?;
                std::future::pending::<Result<(), Slow>>().await
            })
            .await
            .unwrap_err();
        assert!(matches!(stopped, Slow::Stopped(Stopped::BodyTimeout(of)) if of == limit));
        // In place: the connection is back already.
        connection.execute("SELECT 1").await.unwrap();
        assert_clean(&mut connection).await;
        assert!(db.notes().await.is_empty());
    });
}

#[test]
fn law_15_a_rollback_that_takes_too_long_closes_the_connection() {
    on_both_flavours(async || {
        let db = TempDb::new().await;
        let mut connection = db.connect().await;
        let gate = hold_up(&mut connection).await;
        let ended = Options::new()
            .exit_limit(Duration::from_millis(5))
            .with(connection.transaction().retry(Retry::never()), async |transaction| {
                // The rollback waits in line behind a statement that nobody waits for.
                let statement = transaction.execute("INSERT INTO notes (text) VALUES ('lost')");
                assert!(drop_at(0, statement).await.is_none());
                Err::<(), _>(Slow::Refused)
            })
            .await;
        assert!(matches!(ended, Err(Slow::Refused)), "{ended:?}");
        let error = connection.ready().await.unwrap_err();
        assert!(error.is_closed(), "{error}");
        // The thread of the closed connection ends its statement, then SQLite rolls back.
        drop(gate);
        let mut other = db.connect().await;
        with(other.transaction().immediate(), async |transaction| {
            note(transaction, "kept").await?;
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
        assert_eq!(db.notes().await, ["kept"]);
    });
}

/// Holds up every statement that takes some steps, until what is returned is dropped.
async fn hold_up(connection: &mut Connection) -> Sender<()> {
    const STEPS: i32 = 5;
    let (gate, opened) = channel();
    let mut handle = connection.lock_handle().await.unwrap();
    handle.set_progress_handler(STEPS, move || {
        // It yields nothing, and ends when the gate is dropped.
        opened.recv().is_err()
    });
    gate
}

/// What the bodies fail with that are stopped, or whose exit is.
#[derive(Debug)]
enum Slow {
    Other(#[expect(dead_code, reason = "shown when a test fails")] Failure),
    Stopped(Stopped),
    Refused,
}

impl<E: Into<Failure>> From<E> for Slow {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl From<Stopped> for Slow {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}
