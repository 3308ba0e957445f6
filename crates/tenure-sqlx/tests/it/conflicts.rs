//! A transaction that meets another one is done again, from its start.

use tenure_sqlx::{Retry, is_conflict};
use tokio::sync::Mutex;

use crate::common::{TempDb, assert_clean, note};
use crate::failure::Failure;

/// Reads, lets another connection write, and writes: SQLite refuses, since what was read is stale.
async fn read_then_write(retry: Retry) -> (u32, Result<(), sqlx::Error>, Vec<String>) {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let other = &Mutex::new(db.connect().await);
    let mut attempts = 0;
    let begin = connection.transaction().retry(retry);
    let result = begin
        .run(|| {
            attempts += 1;
            let is_first = attempts == 1;
            async move |transaction| {
                sqlx::query("SELECT text FROM notes").fetch_all(&mut **transaction).await?;
                if is_first {
                    note(&mut *other.lock().await, "in between").await?;
                }
                note(transaction, "kept").await
            }
        })
        .await;
    assert_clean(&mut connection).await;
    (attempts, result, db.notes().await)
}

#[tokio::test]
async fn a_stale_snapshot_is_run_again() {
    let (attempts, result, notes) = read_then_write(Retry::new()).await;
    result.unwrap();
    assert_eq!((attempts, notes), (2, vec!["in between".to_owned(), "kept".to_owned()]));
}

#[tokio::test]
async fn a_limit_of_nothing_runs_once() {
    let (attempts, result, notes) = read_then_write(Retry::never()).await;
    let error = result.unwrap_err();
    assert!(is_conflict(&error), "{error}");
    assert_eq!((attempts, notes), (1, vec!["in between".to_owned()]));
}

#[tokio::test]
async fn law_04_a_panic_is_not_run_again() {
    let db = TempDb::new().await;
    let options = db.options();
    let panicked = tokio::spawn(async move {
        let mut connection = tenure_sqlx::sqlite::connect(options).await.unwrap();
        let mut attempts = 0_u32;
        let run = connection.transaction().run_when(
            |_failure: &Failure| true,
            || {
                attempts += 1;
                async move |transaction| {
                    note(transaction, "never").await?;
                    if attempts > 0 {
                        std::panic::panic_any(attempts);
                    }
                    Ok(())
                }
            },
        );
        run.await
    })
    .await
    .unwrap_err();
    assert_eq!(panicked.into_panic().downcast_ref::<u32>(), Some(&1));
    assert!(db.notes().await.is_empty());
}

#[tokio::test]
async fn a_predicate_says_what_is_run_again() {
    let db = TempDb::new().await;
    let connection = db.connect().await;
    let mut attempts = 0;
    // An owned connection is closed after the last attempt.
    let run = connection.into_transaction().run_when(
        |failure| matches!(failure, Failure::Refused),
        || {
            attempts += 1;
            let is_third = attempts == 3;
            async move |transaction| {
                note(transaction, "kept once").await?;
                if is_third { Ok(()) } else { Err(Failure::Refused) }
            }
        },
    );
    run.await.unwrap();
    assert_eq!(attempts, 3);
    assert_eq!(db.notes().await, ["kept once"]);
    assert!(!db.has_log());
}
