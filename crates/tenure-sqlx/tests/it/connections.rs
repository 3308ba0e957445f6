//! A connection is lent, comes back, and is closed.

use sqlx::Executor as _;
use tenure::{AsyncExit as _, Outcome, with};
use tenure_sqlx::Stage;
use tenure_sqlx::sqlite::{self, Mode};

use crate::common::{TempDb, assert_clean, note};
use crate::failure::Failure;

#[tokio::test]
async fn a_connection_is_closed_at_its_exit() {
    let db = TempDb::new().await;
    with(sqlite::connect(db.options()), async |connection| {
        note(connection, "kept").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    assert!(!db.has_log(), "closing the last connection checkpoints and removes the log");
}

#[tokio::test]
async fn transactions_follow_each_other_on_one_connection() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    for mode in [Mode::Deferred, Mode::Immediate, Mode::Exclusive] {
        with(connection.transaction().mode(mode), async |transaction| {
            note(transaction, &format!("{mode:?}")).await?;
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
        // Usable in between, by a shared reference too.
        assert!(!sqlx::Connection::is_in_transaction(&*connection));
        connection.execute("SELECT 1").await.unwrap();
    }
    let notes = db.notes().await;
    assert_eq!(notes, ["Deferred", "Immediate", "Exclusive"]);
}

#[tokio::test]
async fn the_lock_is_taken_at_begin_in_immediate_mode_only() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut witness = db.witness().await;
    for (mode, locked) in [(Mode::Deferred, false), (Mode::Immediate, true), (Mode::Exclusive, true)] {
        let transaction = connection.transaction().mode(mode).await.unwrap();
        assert_eq!(witness.is_locked().await, locked, "{mode:?}");
        transaction.exit(Outcome::Completed).await.unwrap();
    }
}

#[tokio::test]
async fn law_09_a_context_that_is_not_entered_takes_nothing() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    drop(connection.transaction());
    drop(connection.transaction().into_future());
    connection.execute("SELECT 1").await.unwrap();
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_second_transaction_waits_for_the_connection_of_the_first() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let first = connection.transaction().await.unwrap();
    let second = connection.transaction();
    let (ended, begun) = tokio::join!(first.exit(Outcome::Completed), second);
    ended.unwrap();
    begun.unwrap().exit(Outcome::Completed).await.unwrap();
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_transaction_that_never_ends_is_named_as_what_is_waited_for() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let transaction = connection.transaction().await.unwrap();
    tokio::time::pause();
    let error = connection.transaction().await.unwrap_err();
    tokio::time::resume();
    assert_eq!(error.stage(), Stage::HandBack);
    assert_eq!(
        error.to_string(),
        "waiting for the connection failed: after 10.0s it is still lent to a transaction or savepoint that has \
         not ended"
    );
    transaction.exit(Outcome::Completed).await.unwrap();
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_transaction_that_loses_its_exit_closes_the_connection() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut transaction = connection.transaction().immediate().await.unwrap();
    note(&mut transaction, "lost").await.unwrap();
    drop(transaction);
    let error = connection.ready().await.unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.stage(), Stage::HandBack);
    assert!(connection.transaction().await.unwrap_err().is_closed());
    // Nothing is left to close, and that is no failure.
    connection.exit(Outcome::Completed).await.unwrap();
    // Closing goes on in a thread of sqlx's; opening for writing waits for it.
    let mut other = db.connect().await;
    let mut transaction = other.transaction().immediate().await.unwrap();
    note(&mut transaction, "kept").await.unwrap();
    transaction.exit(Outcome::Completed).await.unwrap();
    assert_eq!(db.notes().await, ["kept"]);
}

#[tokio::test]
async fn a_connection_that_exits_before_its_transaction_waits_for_it() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut transaction = connection.transaction().await.unwrap();
    note(&mut transaction, "kept").await.unwrap();
    let (closed, committed) =
        tokio::join!(connection.exit(Outcome::Completed), transaction.exit(Outcome::Completed),);
    closed.unwrap();
    committed.unwrap();
    assert_eq!(db.notes().await, ["kept"]);
}

#[tokio::test]
#[should_panic(expected = "await `ready()`")]
async fn using_a_connection_that_is_away_panics_and_says_what_to_do() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let _transaction = connection.transaction().await.unwrap();
    let _ = &mut *connection;
}

#[tokio::test]
async fn into_sqlx_gives_the_connection_unless_it_is_away() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let transaction = connection.transaction().await.unwrap();
    let connection = connection.into_sqlx().unwrap_err();
    transaction.exit(Outcome::Completed).await.unwrap();
    let connection = connection.into_sqlx().unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_at_connect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not.db");
    std::fs::write(&path, "this is no database, it is a text file of some length".repeat(20)).unwrap();
    let options = TempDb::new().await.options().filename(&path);
    let error = sqlite::connect(options).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Connect);
    assert_eq!(error.fate(), None);
}
