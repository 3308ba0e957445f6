//! Transactions that meet: one of them is done again, from its start.

use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use tenure_sqlx::{Connection, Isolation, Retry, is_conflict};
use tokio::sync::{Barrier, Mutex};

use crate::common::{Place, assert_clean, on_both_servers};
use crate::server::Server;

on_both_servers!(
    deadlocked_transactions_both_end_well,
    a_serialization_failure_is_run_again,
    a_limit_of_nothing_runs_once,
    what_is_no_conflict_runs_once,
);

/// Takes from one account and gives to the other, in this order.
async fn transfer<S: Server>(
    mut connection: Connection<S::Db>,
    [from, to]: [u32; 2],
    both_have_one: Arc<Barrier>,
) -> Result<u32, sqlx::Error> {
    let both_have_one = &both_have_one;
    let mut calls = 0;
    connection
        .transaction()
        .run(|| {
            calls += 1;
            let is_first = calls == 1;
            async move |transaction| {
                let take = format!("UPDATE account SET balance = balance - 1 WHERE id = {from}");
                S::prepared(transaction, &take).await?;
                if is_first {
                    both_have_one.wait().await;
                }
                let give = format!("UPDATE account SET balance = balance + 1 WHERE id = {to}");
                S::prepared(transaction, &give).await
            }
        })
        .await?;
    Ok(calls)
}

async fn deadlocked_transactions_both_end_well<S: Server>(place: &Place<S>) {
    let both_have_one = Arc::new(Barrier::new(2));
    let mut tasks = Vec::new();
    for accounts in [[1, 2], [2, 1]] {
        let mut connection = place.connect().await;
        S::execute(&mut connection, S::HURRY).await.unwrap();
        // Spawned: the future of `run` with a body that borrows is `Send`.
        tasks.push(tokio::spawn(transfer::<S>(connection, accounts, Arc::clone(&both_have_one))));
    }
    let mut calls = 0;
    for task in tasks {
        calls += task.await.unwrap().unwrap();
    }
    assert!(calls >= 3, "no deadlock: {calls} calls");
    let mut witness = place.connect().await;
    let balances = S::texts(&mut witness, "SELECT concat(balance, '') FROM account ORDER BY id").await.unwrap();
    assert_eq!(balances, ["100", "100"]);
}

/// Reads the balance, lets another transaction change it, and changes it.
async fn read_then_write<S: Server>(place: &Place<S>, retry: Retry) -> (u32, Result<(), sqlx::Error>) {
    let mut connection = place.connect().await;
    let mut other = place.connect().await;
    // MySQL's serializable reads lock, so both would wait for each other; its conflict is the lock's timeout.
    let hurry = if S::BEGIN == "BEGIN" { S::HURRY } else { "SET innodb_lock_wait_timeout = 1" };
    S::execute(&mut other, hurry).await.unwrap();
    let other = Mutex::new(other);
    let other = &other;
    let mut calls = 0;
    let begin = S::isolated(connection.transaction().retry(retry), Isolation::Serializable);
    let result = begin
        .run(|| {
            calls += 1;
            let is_first = calls == 1;
            async move |transaction| {
                S::texts(transaction, "SELECT concat(balance, '') FROM account WHERE id = 1").await?;
                if is_first {
                    // On MySQL this one is refused, with the error that is a conflict.
                    let mut other = other.lock().await;
                    S::prepared(&mut other, "UPDATE account SET balance = 7 WHERE id = 1").await?;
                }
                S::prepared(transaction, "UPDATE account SET balance = balance + 1 WHERE id = 1").await
            }
        })
        .await;
    assert_clean(place, &mut connection).await;
    (calls, result)
}

async fn a_serialization_failure_is_run_again<S: Server>(place: &Place<S>) {
    let (calls, result) = read_then_write(place, Retry::new()).await;
    result.unwrap();
    assert_eq!(calls, 2);
}

async fn a_limit_of_nothing_runs_once<S: Server>(place: &Place<S>) {
    let (calls, result) = read_then_write(place, Retry::never()).await;
    let error = result.unwrap_err();
    assert!(is_conflict(&error), "{error}");
    assert_eq!(calls, 1);
}

async fn what_is_no_conflict_runs_once<S: Server>(place: &Place<S>) {
    let connection = place.connect().await;
    let mut calls = 0;
    let patient = Retry::new().limit(Duration::from_secs(60));
    let run = connection.into_transaction().retry(patient).run(|| {
        calls += 1;
        async |transaction| S::prepared(transaction, "INSERT INTO account VALUES (1, 0)").await
    });
    let error: sqlx::Error = run.await.unwrap_err();
    assert!(error.as_database_error().is_some_and(DatabaseError::is_unique_violation), "{error}");
    assert_eq!(calls, 1);
    // An owned connection is closed after the last attempt.
    place.no_session_left().await;
}
