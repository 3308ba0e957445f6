//! A busy database is waited for, with a limit.

use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::sqlite::SqliteJournalMode;
use tenure::{AsyncExit as _, Outcome, with};
use tenure_sqlx::{Fate, Retry, Stage, sqlite};

use crate::common::{TempDb, assert_clean, note, suspended_at};
use crate::failure::Failure;

const SHORT: Retry =
    Retry::new().limit(Duration::from_millis(50)).pauses(Duration::from_millis(1), Duration::from_millis(5));

#[tokio::test]
async fn a_begin_waits_until_the_database_is_free() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut witness = db.witness().await;
    witness.lock().await;
    let mut written = pin!(with(connection.transaction().immediate(), async |transaction| {
        note(transaction, "kept").await?;
        Ok::<_, Failure>(())
    }));
    // Suspended in an attempt or a pause: by the fifth time, one attempt at least has met the lock.
    suspended_at(4, written.as_mut()).await;
    witness.unlock().await;
    written.await.unwrap();
    assert_eq!(witness.notes().await, ["kept"]);
}

#[tokio::test]
async fn a_begin_gives_up_at_its_limit_and_says_how_long_and_how_often() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut witness = db.witness().await;
    witness.lock().await;
    let begin = connection.transaction().immediate().retry(SHORT);
    let error = begin.await.unwrap_err();
    assert_eq!(error.stage(), Stage::Begin);
    assert_eq!(error.fate(), Some(Fate::Undone));
    assert!(error.is_busy());
    let text = error.to_string();
    assert!(
        text.starts_with("beginning the transaction failed: the database stayed busy for ")
            && text.ends_with(" attempts"),
        "{text}"
    );
    let source = error.source().unwrap().to_string();
    assert!(source.contains("database is locked"), "{source}");
    witness.unlock().await;
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn never_tries_once() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut witness = db.witness().await;
    witness.lock().await;
    let begin = connection.transaction().immediate().retry(Retry::never());
    let text = begin.await.unwrap_err().to_string();
    assert!(text.ends_with(" and 1 attempt"), "{text}");
}

#[tokio::test]
async fn a_busy_commit_is_repeated_and_then_rolled_back() {
    let db = TempDb::new().await;
    // Without a log, a reader keeps a writer from committing.
    let options = db.options().journal_mode(SqliteJournalMode::Delete);
    let mut connection = sqlite::connect(options).await.unwrap();
    let mut reader = db.witness().await;
    reader.0.execute("PRAGMA journal_mode = DELETE").await.unwrap();

    for frees in [true, false] {
        reader.0.execute("BEGIN").await.unwrap();
        reader.notes().await;
        let retry = if frees { Retry::new() } else { SHORT };
        let mut transaction = connection.transaction().retry(retry).await.unwrap();
        note(&mut transaction, if frees { "kept" } else { "lost" }).await.unwrap();
        let mut commit = pin!(transaction.exit(Outcome::Completed));
        if frees {
            suspended_at(4, commit.as_mut()).await;
            reader.0.execute("ROLLBACK").await.unwrap();
            commit.await.unwrap();
        } else {
            let error = commit.await.unwrap_err();
            assert_eq!(error.stage(), Stage::Commit);
            assert!(error.is_busy(), "{error}");
            assert_eq!(error.fate(), Some(Fate::Undone));
            assert!(error.cleanup_error().is_none(), "{error}");
            reader.0.execute("ROLLBACK").await.unwrap();
        }
        assert_clean(&mut connection).await;
    }
    assert_eq!(reader.notes().await, ["kept"]);
}

#[tokio::test]
async fn opening_waits_until_the_journal_mode_can_be_set() {
    let db = TempDb::new().await;
    let mut witness = db.witness().await;
    witness.0.execute("PRAGMA journal_mode = DELETE").await.unwrap();
    witness.lock().await;
    let error = sqlite::connect(db.options()).retry(SHORT).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Connect);
    assert!(error.is_busy(), "{error}");
    witness.unlock().await;
    let connection = sqlite::connect(db.options()).await.unwrap();
    connection.exit(Outcome::Completed).await.unwrap();
}
