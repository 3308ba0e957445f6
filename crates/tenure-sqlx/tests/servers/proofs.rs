//! The proofs of `tenure-test`: dropped, timed out and aborted at every suspension of connect, begin, statement,
//! savepoint, commit and close, and failed and panicked at every step, on both runtime flavours.

use std::sync::Arc;

use tenure::with;
use tenure_test::{Proof, Recorder};
use tokio::runtime::Runtime;

use crate::common::{Place, note};
use crate::failure::Failure;
use crate::server::{MySql, Postgres, Server};

/// Writes two notes about an attempt, one of them under a savepoint.
async fn write<S: Server>(place: Arc<Place<S>>, recorder: Recorder) -> Result<(), Failure> {
    with(S::connect(place.options()), async |connection| {
        recorder.step("connected").await?;
        with(connection.transaction(), async |transaction| {
            S::prepared(transaction, "DELETE FROM notes").await?;
            note::<S>(transaction, "first").await?;
            recorder.step("written").await?;
            with(transaction.savepoint(), async |savepoint| {
                note::<S>(savepoint, "second").await?;
                recorder.step("written under a savepoint").await?;
                Ok::<_, Failure>(())
            })
            .await?;
            recorder.step("released").await?;
            Ok::<_, Failure>(())
        })
        .await?;
        recorder.step("committed").await?;
        Ok(())
    })
    .await
}

/// A proof that looks at the server after each run: no session left, and both notes or none.
fn proof<S: Server>(place: &Arc<Place<S>>) -> Proof {
    let place = Arc::clone(place);
    Proof::new().real_clock().check(move |_run| {
        let place = Arc::clone(&place);
        async move {
            place.no_session_left().await;
            match place.notes().await.as_slice() {
                [] => Ok(()),
                [first, second] if first == "first" && second == "second" => Ok(()),
                torn => Err(format!("a transaction was torn apart: {torn:?}")),
            }
        }
    })
}

fn cancelled_everywhere<S: Server>() {
    let runtime = Runtime::new().unwrap();
    let place = Arc::new(runtime.block_on(Place::<S>::make()));
    let report = proof(&place).cancel_everywhere(|recorder| write(Arc::clone(&place), recorder));
    // As a rule 18; what answers at once suspends nothing.
    assert!(report.suspensions >= report.points, "{report}");
}

fn failed_everywhere<S: Server>() {
    let runtime = Runtime::new().unwrap();
    let place = Arc::new(runtime.block_on(Place::<S>::make()));
    let report = proof(&place).fail_everywhere(|recorder| write(Arc::clone(&place), recorder));
    assert_eq!(report.points, 5, "{report}");
}

#[test]
fn cancelled_everywhere_nothing_leaks_on_postgres() {
    cancelled_everywhere::<Postgres>();
}

#[test]
fn cancelled_everywhere_nothing_leaks_on_mysql() {
    cancelled_everywhere::<MySql>();
}

#[test]
fn failed_and_panicked_everywhere_nothing_leaks_on_postgres() {
    failed_everywhere::<Postgres>();
}

#[test]
fn failed_and_panicked_everywhere_nothing_leaks_on_mysql() {
    failed_everywhere::<MySql>();
}
