//! How a body ends decides how its transaction ends.

use std::error::Error as _;
use std::time::Duration;

use sqlx::Executor as _;
use tenure::{AsyncExit as _, Outcome, with};
use tenure_sqlx::{Fate, Stage};

use crate::common::{TempDb, assert_clean, note, slow_down};
use crate::failure::Failure;

#[tokio::test]
async fn law_01_a_completed_body_commits_and_its_value_comes_out() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let value = with(connection.transaction(), async |transaction| {
        note(transaction, "kept").await?;
        Ok::<_, Failure>(7)
    })
    .await
    .unwrap();
    assert_eq!(value, 7);
    assert_eq!(db.notes().await, ["kept"]);
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn an_answer_may_be_waited_for_as_long_as_can_be_said() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    // No answer is there at once, so that each is waited for.
    slow_down(&mut connection).await;
    let kept = with(connection.transaction().answer_limit(Duration::MAX), async |transaction| {
        note(transaction, "kept").await?;
        Ok::<_, Failure>(())
    });
    kept.await.unwrap();
    assert_eq!(db.notes().await, ["kept"]);
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn law_03_a_failed_body_rolls_back_and_its_error_comes_out() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let failure = with(connection.transaction(), async |transaction| {
        note(transaction, "lost").await?;
        Err::<(), _>(Failure::Refused)
    })
    .await
    .unwrap_err();
    assert!(matches!(failure, Failure::Refused));
    assert!(db.notes().await.is_empty());
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_panicked_and_a_cancelled_body_roll_back() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    for outcome in [Outcome::Panicked("message"), Outcome::Cancelled] {
        let mut transaction = connection.transaction().immediate().await.unwrap();
        note(&mut transaction, "lost").await.unwrap();
        transaction.exit(outcome).await.unwrap();
        let mut witness = db.witness().await;
        assert!(witness.notes().await.is_empty());
        assert!(!witness.is_locked().await);
        assert_clean(&mut connection).await;
    }
}

#[tokio::test]
async fn an_owned_connection_is_closed_after_the_end() {
    let db = TempDb::new().await;
    let connection = db.connect().await;
    with(connection.into_transaction(), async |transaction| {
        note(transaction, "kept").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    let mut witness = db.witness().await;
    assert_eq!(witness.notes().await, ["kept"]);
    // The last connection to a WAL database removes the log: only the witness is left.
    witness.close().await;
    assert!(!db.has_log());
}

#[tokio::test]
async fn law_05_a_commit_that_is_refused_is_the_result_and_is_rolled_back() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let error = with(connection.transaction(), async |transaction| {
        note(transaction, "lost").await?;
        transaction.execute("INSERT INTO children VALUES (404)").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    assert_eq!(error.stage(), Stage::Commit);
    assert_eq!(error.fate(), Some(Fate::Undone));
    assert!(!error.is_busy());
    assert!(error.cleanup_error().is_none(), "{error}");
    assert_eq!(error.to_string(), "committing the transaction failed");
    let source = error.source().unwrap().to_string();
    assert!(source.contains("FOREIGN KEY"), "{source}");
    assert!(db.notes().await.is_empty());
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_transaction_that_the_body_ended_in_plain_sql_is_no_success() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let error = with(connection.transaction(), async |transaction| {
        note(transaction, "kept").await?;
        transaction.execute("COMMIT").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    assert_eq!(error.stage(), Stage::Commit);
    assert_eq!(error.fate(), Some(Fate::Unknown));
    assert!(error.cleanup_error().is_none(), "{error}");
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn what_sqlite_has_rolled_back_by_itself_is_no_second_failure() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let failure = with(connection.transaction().immediate(), async |transaction| {
        note(transaction, "lost").await?;
        transaction.execute("INSERT OR ROLLBACK INTO notes (text) VALUES ('lost')").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err();
    assert!(matches!(failure, Failure::Statement(_)), "{failure:?}");
    assert_clean(&mut connection).await;
    assert!(db.notes().await.is_empty());
}

#[tokio::test]
async fn a_full_database_is_reported_and_leaves_the_connection_clean() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    connection.execute("PRAGMA max_page_count = 8; PRAGMA cache_size = 1;").await.unwrap();
    let failure = with(connection.transaction().immediate(), async |transaction| {
        for i in 0..100 {
            note(transaction, &format!("{i}{}", "x".repeat(1_000))).await?;
        }
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err();
    let Failure::Statement(error) = failure else {
        panic!("expected the statement's error, got {failure:?}");
    };
    assert!(error.to_string().contains("full"), "{error}");
    assert_clean(&mut connection).await;
    assert!(db.notes().await.is_empty());
}

#[tokio::test]
async fn law_02_a_begin_that_is_refused_is_the_result_and_leaves_the_connection_as_it_was() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    connection.execute("BEGIN").await.unwrap();
    let error = with(connection.transaction(), async |_transaction| Err::<(), _>(Failure::Refused))
        .await
        .unwrap_err()
        .into_tenure();
    assert_eq!(error.stage(), Stage::Begin);
    assert_eq!(error.fate(), Some(Fate::Undone));
    connection.execute("ROLLBACK").await.unwrap();
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_body_may_keep_the_error_type_of_sqlx() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let error = with(connection.transaction(), async |transaction| {
        transaction.execute("INSERT INTO children VALUES (404)").await?;
        Ok::<_, sqlx::Error>(())
    })
    .await
    .unwrap_err();
    // What the database said is found where code looks for it.
    assert!(error.as_database_error().is_some(), "{error:?}");
}
