//! The proofs of `tenure-test`, aimed at a connection with a transaction with a savepoint: dropped, timed out and
//! aborted at every suspension, and failed and panicked at every step, on both runtime flavours.

use std::sync::Arc;

use tenure::with;
use tenure_sqlx::sqlite;
use tenure_test::{Proof, Recorder};

use crate::common::{TempDb, prepared, slow_down, write_both};
use crate::failure::Failure;

/// Writes two notes about an attempt, one of them under a savepoint.
async fn write(db: Arc<TempDb>, recorder: Recorder) -> Result<(), Failure> {
    with(sqlite::connect(db.options()), async |connection| {
        slow_down(connection).await;
        recorder.step("connected").await?;
        with(connection.transaction().immediate(), async |transaction| {
            write_both(transaction, &recorder).await
        })
        .await?;
        recorder.step("committed").await?;
        Ok(())
    })
    .await
}

/// A proof that looks at the database after each run: unlocked, its log removed, and both notes or none.
fn proof(db: &Arc<TempDb>) -> Proof {
    let db = Arc::clone(db);
    Proof::new().real_clock().check(move |_run| {
        let db = Arc::clone(&db);
        async move {
            if db.has_log() {
                return Err("the connection is not closed".to_owned());
            }
            let mut witness = db.witness().await;
            if witness.is_locked().await {
                return Err("a transaction is open".to_owned());
            }
            witness.close().await;
            match db.notes().await.as_slice() {
                [] => Ok(()),
                [first, second] if first == "first" && second == "second" => Ok(()),
                torn => Err(format!("a transaction was torn apart: {torn:?}")),
            }
        }
    })
}

#[test]
fn cancelled_everywhere_nothing_leaks() {
    let db = prepared();
    let report = proof(&db).cancel_everywhere(|recorder| write(Arc::clone(&db), recorder));
    // Five steps and nine statements, besides opening and closing.
    // As a rule 18; what answers at once suspends nothing.
    assert!(report.suspensions >= report.points, "{report}");
}

#[test]
fn failed_and_panicked_everywhere_nothing_leaks() {
    let db = prepared();
    let report = proof(&db).fail_everywhere(|recorder| write(Arc::clone(&db), recorder));
    assert_eq!(report.points, 5, "{report}");
}
