//! Savepoints nest, and what cannot be undone dooms what is around it.

use sqlx::Executor as _;
use tenure::{AsyncExit as _, Outcome, with};
use tenure_sqlx::{Fate, Stage};

use crate::common::{TempDb, assert_clean, note};
use crate::failure::Failure;

#[tokio::test]
async fn savepoints_keep_or_undo_their_own_changes() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    with(connection.transaction(), async |transaction| {
        note(transaction, "outer").await?;
        with(transaction.savepoint(), async |savepoint| {
            note(savepoint, "kept").await?;
            let refused = with(savepoint.savepoint(), async |inner| {
                note(inner, "undone").await?;
                Err::<(), _>(Failure::Refused)
            })
            .await;
            assert!(matches!(refused, Err(Failure::Refused)));
            note(savepoint, "kept too").await?;
            Ok::<_, Failure>(())
        })
        .await?;
        note(transaction, "last").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    let notes = db.notes().await;
    assert_eq!(notes, ["outer", "kept", "kept too", "last"]);
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_savepoint_is_gone_after_its_exit() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut transaction = connection.transaction().await.unwrap();
    for outcome in [Outcome::Completed, Outcome::Cancelled, Outcome::Panicked("message")] {
        let savepoint = transaction.savepoint().await.unwrap();
        savepoint.exit(outcome).await.unwrap();
        let error = transaction.execute("RELEASE tenure_sp_1").await.unwrap_err().to_string();
        assert!(error.contains("no such savepoint"), "{error}");
    }
    transaction.exit(Outcome::Completed).await.unwrap();
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn what_a_rolled_back_transaction_had_kept_in_savepoints_is_undone() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let failure = with(connection.transaction(), async |transaction| {
        with(transaction.savepoint(), async |savepoint| {
            note(savepoint, "undone").await?;
            Ok::<_, Failure>(())
        })
        .await?;
        Err::<(), _>(Failure::Refused)
    })
    .await
    .unwrap_err();
    assert!(matches!(failure, Failure::Refused));
    assert!(db.notes().await.is_empty());
}

#[tokio::test]
async fn a_savepoint_that_cannot_be_undone_dooms_the_transaction() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let error = with(connection.transaction(), async |transaction| {
        note(transaction, "lost").await?;
        let broken = with(transaction.savepoint(), async |savepoint| {
            note(savepoint, "lost too").await?;
            // The savepoint is taken away under the tenure's feet.
            savepoint.execute("RELEASE tenure_sp_1").await?;
            Err::<(), _>(Failure::Refused)
        })
        .await;
        assert!(matches!(broken, Err(Failure::Refused)));
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    assert_eq!(error.stage(), Stage::Commit);
    assert_eq!(error.fate(), Some(Fate::Undone));
    assert_eq!(
        error.to_string(),
        "committing the transaction failed: a savepoint inside it could not be rolled back"
    );
    assert!(db.notes().await.is_empty());
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn undoing_the_outer_savepoint_absolves_what_the_inner_one_could_not_undo() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    with(connection.transaction(), async |transaction| {
        note(transaction, "kept").await?;
        let refused = with(transaction.savepoint(), async |savepoint| {
            let broken = with(savepoint.savepoint(), async |inner| {
                note(inner, "undone").await?;
                inner.execute("RELEASE tenure_sp_2").await?;
                Err::<(), _>(Failure::Refused)
            })
            .await;
            assert!(matches!(broken, Err(Failure::Refused)));
            Err::<(), _>(Failure::Refused)
        })
        .await;
        assert!(matches!(refused, Err(Failure::Refused)));
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    assert_eq!(db.notes().await, ["kept"]);
}

#[tokio::test]
async fn a_savepoint_that_loses_its_exit_dooms_the_transaction() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut transaction = connection.transaction().await.unwrap();
    let savepoint = transaction.savepoint().await.unwrap();
    drop(savepoint);
    let error = transaction.exit(Outcome::Completed).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Commit);
    assert_clean(&mut connection).await;
}

#[tokio::test]
async fn a_savepoint_fails_when_its_transaction_is_gone() {
    let db = TempDb::new().await;
    let mut connection = db.connect().await;
    let mut transaction = connection.transaction().await.unwrap();
    let mut savepoint = transaction.savepoint().await.unwrap();
    savepoint.execute("ROLLBACK").await.unwrap();
    let error = savepoint.exit(Outcome::Completed).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Release);
    let second = error.cleanup_error().unwrap();
    assert_eq!(second.stage(), Stage::RollbackToSavepoint);
    assert_eq!(error.to_string(), "releasing the savepoint failed; then rolling back to the savepoint failed");
    transaction.exit(Outcome::Completed).await.unwrap_err();
    assert_clean(&mut connection).await;
}
