//! Dropped while a statement is on its way: afterwards no session has a transaction open, and the connection is clean.

use std::pin::pin;
use std::time::Duration;

use tenure::{AsyncExit as _, Outcome, with};
use tenure_sqlx::{Fate, Stage};
use tokio::sync::oneshot;

use crate::common::{Place, assert_clean, drained, note, on_both_servers, until_reached};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::proxy::{Proxy, Trap};
use crate::server::{Options as ConnectOptions, Server};

on_both_servers!(
    a_begin_in_flight,
    a_request_that_is_dropped_in_the_middle_of_a_statement,
    a_task_that_is_aborted_during_the_commit,
    a_task_that_is_aborted_during_the_rollback,
    a_savepoint_in_flight,
    a_statement_that_the_body_gives_up_cannot_be_mistaken_for_its_commit,
);

async fn wired<S: Server>(place: &Place<S>) -> (Proxy, ConnectOptions<S>) {
    let options = place.options();
    let proxy = Proxy::to(S::port(&options)).await;
    let options = S::through(options, proxy.port());
    (proxy, options)
}

/// sqlx#4393, #2054: the transaction that nobody knows of.
async fn a_begin_in_flight<S: Server>(place: &Place<S>) {
    let (proxy, options) = wired(place).await;
    let mut connection = S::connect(options).await.unwrap();
    proxy.set(S::BEGIN, Trap::HoldAnswer);
    {
        let mut written = pin!(with(connection.transaction(), async |transaction| {
            note::<S>(transaction, "never").await?;
            Ok::<_, Failure>(())
        }));
        until_reached(written.as_mut(), &proxy).await;
    }
    proxy.release();
    // The next user gets it clean, and what is written now is kept.
    assert_clean(place, &mut connection).await;
    note::<S>(&mut connection, "kept").await.unwrap();
    assert_eq!(place.notes().await, ["kept"]);
    assert_eq!(drained().await, [""; 0]);
}

async fn a_request_that_is_dropped_in_the_middle_of_a_statement<S: Server>(place: &Place<S>) {
    let (proxy, options) = wired(place).await;
    let mut connection = S::connect(options).await.unwrap();
    proxy.set("INSERT INTO notes", Trap::HoldAnswer);
    {
        let mut written = pin!(with(connection.transaction(), async |transaction| {
            note::<S>(transaction, "never").await?;
            Ok::<_, Failure>(())
        }));
        until_reached(written.as_mut(), &proxy).await;
    }
    proxy.release();
    // MySQL's connection may have lost its place in the protocol: then it is closed, and that is said.
    let is_here = connection.ready().await.is_ok();
    let incidents = drained().await;
    if is_here {
        assert_eq!(incidents, [""; 0]);
        assert_clean(place, &mut connection).await;
    } else {
        let [incident] = incidents.as_slice() else { panic!("{incidents:?}") };
        assert!(incident.contains("stage: Rollback"), "{incident}");
        place.no_session_left().await;
    }
    place.all_idle().await;
    assert!(place.notes().await.is_empty());
}

/// Aborts a task while it waits for the answer to this statement, which ends a transaction whose body ended like this.
async fn abort_during<S: Server>(
    place: &Place<S>,
    statement: &'static str,
    text: &'static str,
    ended: Result<(), Failure>,
) {
    let (proxy, options) = wired(place).await;
    proxy.set(statement, Trap::HoldAnswer);
    let task = tokio::spawn(async move {
        with(S::connect(options), async |connection| {
            with(connection.transaction(), async |transaction| {
                note::<S>(transaction, text).await?;
                ended
            })
            .await
        })
        .await
    });
    proxy.reached().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    proxy.release();
    assert_eq!(drained().await, [""; 0]);
    place.no_session_left().await;
}

async fn a_task_that_is_aborted_during_the_commit<S: Server>(place: &Place<S>) {
    abort_during(place, "COMMIT", "kept", Ok(())).await;
    assert_eq!(place.notes().await, ["kept"]);
}

async fn a_task_that_is_aborted_during_the_rollback<S: Server>(place: &Place<S>) {
    abort_during(place, "ROLLBACK", "never", Err(Failure::Refused)).await;
    assert!(place.notes().await.is_empty());
}

async fn a_savepoint_in_flight<S: Server>(place: &Place<S>) {
    let (proxy, options) = wired(place).await;
    let mut connection = S::connect(options).await.unwrap();
    let (give, mut given) = oneshot::channel();
    let mut give = Some(give);
    with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "before").await?;
        proxy.set("SAVEPOINT tenure_sp_1", Trap::HoldAnswer);
        {
            let mut inner = pin!(with(transaction.savepoint(), async |savepoint| {
                note::<S>(savepoint, "never").await?;
                Ok::<_, Failure>(())
            }));
            until_reached(inner.as_mut(), &proxy).await;
        }
        proxy.release();
        note::<S>(transaction.ready().await?, "after").await?;
        give.take().expect("the body runs once").send(()).unwrap();
        Ok::<_, Failure>(())
    })
    .await
    .unwrap();
    given.try_recv().unwrap();
    assert_eq!(place.notes().await, ["before", "after"]);
    assert_clean(place, &mut connection).await;
    assert_eq!(drained().await, [""; 0]);
}

/// The body gives up at each suspension of a prepared statement, and completes. On MySQL, sqlx may then take the rest of
/// that statement's answer for the commit's.
async fn a_statement_that_the_body_gives_up_cannot_be_mistaken_for_its_commit<S: Server>(place: &Place<S>) {
    // A quick server's answer may be there before it is asked for, and then nothing is suspended: not each time.
    for round in 0..ROUNDS_MAX {
        if gives_up_at_each_suspension(place, round).await > 0 {
            return;
        }
    }
    panic!("no statement was suspended in {ROUNDS_MAX} rounds");
}

const ROUNDS_MAX: usize = 100;

/// Returns how many suspensions there were.
async fn gives_up_at_each_suspension<S: Server>(place: &Place<S>, round: usize) -> usize {
    let mut n = 0;
    loop {
        let mut connection = place.connect().await;
        let (mut has_ended, text) = (false, format!("{round}: {n}"));
        let committed = with(connection.transaction().answer_limit(SOON), async |transaction| {
            has_ended = drop_at(n, note::<S>(transaction, &text)).await.is_some();
            Ok::<_, Failure>(())
        })
        .await;
        match committed {
            Ok(()) => assert_clean(place, &mut connection).await,
            Err(failure) => {
                // Closed rather than mistaken, and not committed: nothing was kept.
                let error = failure.into_tenure();
                assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Undone)), "{error:?}");
                assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
                place.no_session_left().await;
                assert!(!place.notes().await.contains(&text));
            }
        }
        connection.exit(Outcome::Completed).await.unwrap();
        if has_ended {
            assert!(place.notes().await.contains(&text));
            return n;
        }
        n += 1;
    }
}

const SOON: Duration = Duration::from_secs(1);
