//! How a body ends decides how its transaction ends.

use std::error::Error as _;
use std::panic::panic_any;

use tenure::with;
use tenure_sqlx::{Fate, Stage};
use tokio::runtime::Builder;

use crate::common::{Place, assert_clean, note, on_both_servers};
use crate::failure::Failure;
use crate::server::Server;

on_both_servers!(
    law_01_a_completed_body_commits,
    law_03_a_failed_body_rolls_back,
    law_04_a_panic_rolls_back_and_goes_on,
    savepoints_are_kept_and_undone,
    an_owned_connection_is_closed_after_the_end,
    a_transaction_that_the_body_ended_in_plain_sql_is_no_success,
    an_error_of_an_abandoned_statement_is_nobodys_answer,
    a_nested_begin_of_sqlx_works_inside,
    a_connection_may_be_used_on_another_runtime_and_come_back,
);

async fn law_01_a_completed_body_commits<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    let value = with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "kept").await?;
        Ok::<_, Failure>(7)
    })
    .await
    .unwrap();
    assert_eq!(value, 7);
    assert_eq!(place.notes().await, ["kept"]);
    assert_clean(place, &mut connection).await;
}

async fn law_03_a_failed_body_rolls_back<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    let failure = with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "lost").await?;
        Err::<(), _>(Failure::Refused)
    })
    .await
    .unwrap_err();
    assert!(matches!(failure, Failure::Refused));
    assert!(place.notes().await.is_empty());
    assert_clean(place, &mut connection).await;
}

async fn law_04_a_panic_rolls_back_and_goes_on<S: Server>(place: &Place<S>) {
    let options = place.options();
    let panicked = tokio::spawn(async move {
        let mut connection = S::connect(options).await.unwrap();
        with(connection.transaction(), async |transaction| {
            note::<S>(transaction, "lost").await?;
            if true {
                panic_any("by intent");
            }
            Ok::<_, Failure>(())
        })
        .await
    })
    .await
    .unwrap_err();
    assert_eq!(panicked.into_panic().downcast_ref::<&str>(), Some(&"by intent"));
    // The rollback was awaited before the panic went on, so nothing holds a lock.
    place.no_session_left().await;
    assert!(place.notes().await.is_empty());
}

async fn savepoints_are_kept_and_undone<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "first").await?;
        let undone = with(transaction.savepoint(), async |savepoint| {
            note::<S>(savepoint, "undone").await?;
            note::<S>(savepoint, "first").await?;
            Ok::<_, Failure>(())
        });
        // Violates the constraint; PostgreSQL could do nothing after that but for the savepoint.
        assert!(matches!(undone.await, Err(Failure::Statement(_))));
        with(transaction.savepoint(), async |savepoint| {
            note::<S>(savepoint, "second").await?;
            Ok::<_, Failure>(())
        })
        .await
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["first", "second"]);
    assert_clean(place, &mut connection).await;
}

async fn an_owned_connection_is_closed_after_the_end<S: Server>(place: &Place<S>) {
    let connection = place.connect().await;
    with(connection.into_transaction(), async |transaction| {
        note::<S>(transaction, "kept").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    place.no_session_left().await;
    assert_eq!(place.notes().await, ["kept"]);
}

async fn a_transaction_that_the_body_ended_in_plain_sql_is_no_success<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    let error = with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "kept").await?;
        S::execute(transaction, "COMMIT").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Unknown)));
    assert!(error.cleanup_error().is_none(), "{error}");
    assert_clean(place, &mut connection).await;
}

async fn an_error_of_an_abandoned_statement_is_nobodys_answer<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    note::<S>(&mut connection, "there").await.unwrap();
    // Outside of a transaction, before a `BEGIN` which must not be taken for refused.
    let twice = "INSERT INTO notes (text) VALUES ('there')";
    abandon(S::execute(&mut connection, twice)).await;
    with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "kept").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    assert_clean(place, &mut connection).await;
    // Inside, before a `ROLLBACK`.
    let failure = with(connection.transaction(), async |transaction| {
        abandon(S::execute(transaction, twice)).await;
        Err::<(), _>(Failure::Refused)
    });
    assert!(matches!(failure.await, Err(Failure::Refused)));
    assert_clean(place, &mut connection).await;
    assert_eq!(place.notes().await, ["there", "kept"]);
}

/// Sends a statement and looks away.
async fn abandon(statement: impl Future<Output = Result<(), sqlx::Error>>) {
    let answer = futures_util::future::poll_immediate(Box::pin(statement)).await;
    assert!(answer.is_none_or(|answer| answer.is_err()));
}

async fn a_nested_begin_of_sqlx_works_inside<S: Server>(place: &Place<S>) {
    use sqlx::Connection as _;

    let mut connection = place.connect().await;
    with(connection.transaction(), async |transaction| {
        let mut nested = transaction.begin().await?;
        note::<S>(&mut nested, "kept").await?;
        nested.commit().await?;
        let mut nested = transaction.begin().await?;
        note::<S>(&mut nested, "undone").await?;
        drop(nested);
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["kept"]);
    assert_clean(place, &mut connection).await;
}

/// PostgreSQL's `COMMIT` of such a transaction rolls back and says that all is well.
#[test]
fn an_error_that_the_body_passes_over_is_no_success_on_postgres() {
    crate::common::on_both_flavours(&async |place: &Place<crate::server::Postgres>| {
        let mut connection = place.connect().await;
        let error = with(connection.transaction(), async |transaction| {
            note::<crate::server::Postgres>(transaction, "lost").await?;
            let refused = note::<crate::server::Postgres>(transaction, "lost").await;
            assert!(refused.is_err());
            Ok::<_, Failure>(())
        })
        .await
        .unwrap_err()
        .into_tenure();
        assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Undone)));
        let source = error.source().unwrap().to_string();
        assert!(source.contains("aborted"), "{source}");
        assert!(place.notes().await.is_empty());
        assert_clean(place, &mut connection).await;
    });
}

/// MySQL's commits whatever was done before it changes a table.
#[test]
fn a_commit_that_the_server_did_by_itself_is_no_success_on_mysql() {
    crate::common::on_both_flavours(&async |place: &Place<crate::server::MySql>| {
        let mut connection = place.connect().await;
        let error = with(connection.transaction(), async |transaction| {
            note::<crate::server::MySql>(transaction, "kept").await?;
            crate::server::MySql::execute(transaction, "CREATE TABLE more (id INTEGER)").await?;
            Ok::<_, Failure>(())
        })
        .await
        .unwrap_err()
        .into_tenure();
        assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Unknown)));
        assert_eq!(place.notes().await, ["kept"]);
        assert_clean(place, &mut connection).await;
    });
}

async fn a_connection_may_be_used_on_another_runtime_and_come_back<S: Server>(place: &Place<S>) {
    async fn write<S: Server>(connection: &mut tenure_sqlx::Connection<S::Db>, text: &str) {
        with(connection.transaction(), async |transaction| {
            note::<S>(transaction, text).await?;
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
    }

    let mut connection = place.connect().await;
    write::<S>(&mut connection, "at home").await;
    let mut connection = tokio::task::spawn_blocking(move || {
        let elsewhere = Builder::new_current_thread().enable_all().build().unwrap();
        elsewhere.block_on(write::<S>(&mut connection, "elsewhere"));
        connection
    })
    .await
    .unwrap();
    write::<S>(&mut connection, "back").await;
    assert_eq!(place.notes().await, ["at home", "elsewhere", "back"]);
}
