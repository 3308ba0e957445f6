//! Statements that a dropped body has left running are stopped, if that is wanted: at once, and no other ones.

use std::pin::pin;

use futures_util::future::{Either, select};
use sqlx::ConnectOptions as _;
use tenure::with;
use tenure_sqlx::pool::{Pool, SessionReset};

use crate::common::{Place, Witness, drained, note, on_both_servers};
use crate::failure::Failure;
use crate::proxy::{Proxy, Trap};
use crate::server::{Options as ConnectOptions, Server};
use crate::trouble::Trouble;

on_both_servers!(
    a_statement_of_a_dropped_body_is_stopped,
    a_statement_under_a_savepoint_is_stopped_and_the_rest_is_kept,
    a_statement_outside_of_a_transaction_is_stopped,
    a_statement_is_waited_for_where_the_server_cannot_be_told,
    a_connection_is_closed_where_the_server_does_not_say_that_it_was_told,
    a_request_that_comes_too_late_hits_nothing_that_matters,
    what_comes_too_late_is_over_with_the_next_statement,
);

/// Longer than any test waits.
const FOR_EVER: u32 = 600_000;

fn pool<S: Server>(options: ConnectOptions<S>) -> Pool<S::Db> {
    Pool::builder(S::cancelling(options)).max_size(1).build().unwrap()
}

/// Writes a note in a transaction, then runs a statement that takes this long.
async fn write_and_sleep<S: Server>(pool: &Pool<S::Db>, text: &str, milliseconds: u32) -> Result<(), Trouble> {
    with(pool.get(), async |connection| {
        with(connection.transaction(), async |transaction| {
            note::<S>(transaction, text).await?;
            S::prepared(transaction, &S::sleep(milliseconds)).await?;
            Ok::<_, Trouble>(())
        })
        .await
    })
    .await
}

async fn write<S: Server>(pool: &Pool<S::Db>, text: &str) -> Result<(), Trouble> {
    with(pool.get(), async |connection| {
        with(connection.transaction(), async |transaction| {
            note::<S>(transaction, text).await?;
            Ok::<_, Trouble>(())
        })
        .await
    })
    .await
}

/// Polls the future until its long statement runs, and drops it.
async fn drop_when_asleep<S: Server, F: Future<Output: std::fmt::Debug>>(place: &Place<S>, future: F) {
    let ended = dropped_when_asleep(place, future).await;
    assert!(ended.is_none(), "it ended before: {ended:?}");
}

/// The same for a statement that may be over before it is seen. Returns the end of the future, if it had one.
async fn dropped_when_asleep<S: Server, F: Future>(place: &Place<S>, future: F) -> Option<F::Output> {
    let (future, sleeping) = (pin!(future), pin!(place.some_sleeping()));
    match select(future, sleeping).await {
        Either::Left((ended, _)) => Some(ended),
        Either::Right(((), _)) => None,
    }
}

async fn a_statement_of_a_dropped_body_is_stopped<S: Server>(place: &Place<S>) {
    with(pool::<S>(place.options()), async |pool| {
        drop_when_asleep(place, write_and_sleep::<S>(pool, "never", FOR_EVER)).await;
        // On the same connection, and while the first statement would still run.
        write::<S>(pool, "kept").await?;
        assert_eq!(pool.counters().opened, 1);
        place.all_idle().await;
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(drained().await, [""; 0]);
    assert_eq!(place.notes().await, ["kept"]);
}

async fn a_statement_under_a_savepoint_is_stopped_and_the_rest_is_kept<S: Server>(place: &Place<S>) {
    with(pool::<S>(place.options()), async |pool| {
        with(pool.get(), async |connection| {
            with(connection.transaction(), async |transaction| {
                note::<S>(transaction, "kept").await?;
                let inner = with(transaction.savepoint(), async |savepoint| {
                    note::<S>(savepoint, "never").await?;
                    S::prepared(savepoint, &S::sleep(FOR_EVER)).await?;
                    Ok::<_, Failure>(())
                });
                drop_when_asleep(place, inner).await;
                note::<S>(transaction.ready().await?, "kept as well").await?;
                Ok::<_, Trouble>(())
            })
            .await
        })
        .await
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["kept", "kept as well"]);
}

async fn a_statement_outside_of_a_transaction_is_stopped<S: Server>(place: &Place<S>) {
    with(pool::<S>(place.options()), async |pool| {
        let bare = with(pool.get(), async |connection| {
            S::prepared(connection.ready().await?, &S::sleep(FOR_EVER)).await?;
            Ok::<_, Trouble>(())
        });
        drop_when_asleep(place, bare).await;
        write::<S>(pool, "kept").await?;
        assert_eq!(pool.counters().opened, 1);
        // And on a connection that is closed next.
        let last = with(pool.get(), async |connection| {
            S::prepared(connection.ready().await?, &S::sleep(FOR_EVER)).await?;
            Ok::<_, Trouble>(())
        });
        drop_when_asleep(place, last).await;
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    place.no_session_left().await;
}

async fn a_statement_is_waited_for_where_the_server_cannot_be_told<S: Server>(place: &Place<S>) {
    let options = place.options();
    let proxy = Proxy::to(S::port(&options)).await;
    // A session that is set back may take a new connection.
    let connections = S::cancelling(S::through(options, proxy.port())).session_reset(SessionReset::Never);
    with(Pool::builder(connections).max_size(1).build().unwrap(), async |pool| {
        write::<S>(pool, "kept").await?;
        proxy.refuse_more();
        drop_when_asleep(place, write_and_sleep::<S>(pool, "never", 1_000)).await;
        // As if the option were off: it is the one connection still.
        write::<S>(pool, "kept as well").await?;
        assert_eq!(pool.counters().opened, 1);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["kept", "kept as well"]);
}

async fn a_connection_is_closed_where_the_server_does_not_say_that_it_was_told<S: Server>(place: &Place<S>) {
    let options = place.options();
    let proxy = Proxy::to(S::port(&options)).await;
    with(pool::<S>(S::through(options, proxy.port())), async |pool| {
        write::<S>(pool, "kept").await?;
        proxy.set(S::STOP, Trap::LoseAnswer);
        drop_when_asleep(place, write_and_sleep::<S>(pool, "never", FOR_EVER)).await;
        proxy.reached().await;
        // The server was told, but nobody knows it.
        while pool.counters().closed == 0 {
            tokio::task::yield_now().await;
        }
        proxy.release();
        write::<S>(pool, "kept as well").await?;
        assert_eq!(pool.counters().opened, 2);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    place.no_session_left().await;
    assert_eq!(place.notes().await, ["kept", "kept as well"]);
}

/// Statements that end at about the time when they are to be stopped: some before the request is sent, some while it is
/// on its way, some because of it.
async fn a_request_that_comes_too_late_hits_nothing_that_matters<S: Server>(place: &Place<S>) {
    let patience = u32::try_from(tenure_sqlx::postgres::Connect::CANCEL_AFTER.as_millis()).unwrap();
    let mut kept = 0;
    with(pool::<S>(place.options()), async |pool| {
        write::<S>(pool, "first").await?;
        for n in 0..20 {
            // From when the server is seen to have begun, the exit waits for this long before it sends a request.
            // On a busy machine it may not be seen at all, and ends well.
            if let Some(ended) =
                dropped_when_asleep(place, write_and_sleep::<S>(pool, "over", patience + n)).await
            {
                ended?;
                kept += 1;
            }
            write::<S>(pool, &format!("kept {n}")).await?;
            kept += 1;
        }
        assert!(kept < 40, "none was dropped");
        assert_eq!(pool.counters().opened, 1);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(drained().await, [""; 0]);
    assert_eq!(place.notes().await.len(), 1 + kept);
}

/// What the exits count on: once the server has answered the request, it hits what runs or the next statement, and
/// never one after that.
async fn what_comes_too_late_is_over_with_the_next_statement<S: Server>(place: &Place<S>) {
    let mut connection = place.options().connect().await.unwrap();
    let session = S::texts(&mut connection, S::session()).await.unwrap();
    let mut witness = Witness::<S>::look().await;
    for _ in 0..100 {
        S::execute(&mut witness.0, &S::stop(&session[0])).await.unwrap();
        // It may be the one that is hit.
        let _ = S::texts(&mut connection, "SELECT 'hit'").await;
        assert_eq!(S::texts(&mut connection, "SELECT 'not hit'").await.unwrap(), ["not hit"]);
    }
}
