//! Connections of a pool: never dirty, never lost, whatever becomes of those who use them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use tenure::{Options, with};
use tenure_pool::GetErrorKind;
use tenure_sqlx::Stage;
use tenure_sqlx::pool::{Connections, HookFuture, Pool};

use crate::common::{Place, note, on_both_servers, until_reached};
use crate::failure::Failure;
use crate::proxy::{Proxy, Trap};
use crate::server::{Options as ConnectOptions, Raw, Server};
use crate::trouble::Trouble;

on_both_servers!(
    a_pool_closes_all_its_connections,
    a_begin_of_a_pooled_connection_in_flight,
    a_request_timeout_in_the_middle_of_a_statement,
    what_a_completed_use_left_open_does_not_stay_open,
    what_was_begun_in_plain_sql_is_rolled_back,
    a_connection_whose_session_is_killed_is_replaced,
    the_hooks_are_called,
    hooks_run_at_every_get_and_every_return,
    options_change_while_the_pool_runs,
    a_wrong_password_is_told_at_once,
);

/// One connection, so that the next user gets the one that the last one had.
fn pool_of_one<S: Server>(options: ConnectOptions<S>) -> Pool<S::Db> {
    Pool::builder(connections::<S>(options)).max_size(1).build().unwrap()
}

fn connections<S: Server>(options: ConnectOptions<S>) -> Connections<S::Db> {
    Connections::new(options)
}

/// Writes a note in a transaction on a connection of the pool.
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

async fn a_pool_closes_all_its_connections<S: Server>(place: &Place<S>) {
    let pool = Pool::builder(connections::<S>(place.options())).max_size(4).min_idle(2).build().unwrap();
    with(pool, async |pool| {
        for n in 0..8 {
            write::<S>(pool, &n.to_string()).await?;
        }
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    place.no_session_left().await;
    assert_eq!(place.notes().await.len(), 8);
}

/// sqlx#4393, #2054: the pool handed the connection on with the transaction open.
async fn a_begin_of_a_pooled_connection_in_flight<S: Server>(place: &Place<S>) {
    let options = place.options();
    let proxy = Proxy::to(S::port(&options)).await;
    with(pool_of_one::<S>(S::through(options, proxy.port())), async |pool| {
        proxy.set(S::BEGIN, Trap::HoldAnswer);
        {
            let mut written = pin!(write::<S>(pool, "never"));
            until_reached(written.as_mut(), &proxy).await;
        }
        proxy.release();
        // Without a transaction: it is kept at once, unless one was left open.
        with(pool.get(), async |connection| {
            note::<S>(connection.ready().await?, "kept").await?;
            Ok::<_, Trouble>(())
        })
        .await?;
        assert_eq!(place.notes().await, ["kept"]);
        place.all_idle().await;
        write::<S>(pool, "kept as well").await
    })
    .await
    .unwrap();
    place.no_session_left().await;
}

async fn a_request_timeout_in_the_middle_of_a_statement<S: Server>(place: &Place<S>) {
    let options = place.options();
    let proxy = Arc::new(Proxy::to(S::port(&options)).await);
    with(pool_of_one::<S>(S::through(options, proxy.port())), async |pool| {
        proxy.set("INSERT INTO notes", Trap::HoldAnswer);
        let wire = Arc::clone(&proxy);
        let request = Options::new().stop_when(async move { wire.reached().await });
        let stopped = request.with(pool.get(), async |connection| {
            with(connection.transaction(), async |transaction| {
                let answer = note::<S>(transaction, "never");
                proxy.release_when_dropped(answer).await?;
                Ok::<_, Trouble>(())
            })
            .await
        });
        assert!(matches!(stopped.await, Err(Trouble::Stopped(_))));
        write::<S>(pool, "kept").await?;
        place.all_idle().await;
        assert_eq!(pool.status().max_size, 1);
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["kept"]);
}

/// sqlx queues its rollback for whoever uses the connection next.
async fn what_a_completed_use_left_open_does_not_stay_open<S: Server>(place: &Place<S>) {
    with(pool_of_one::<S>(place.options()), async |pool| {
        with(pool.get(), async |connection| {
            let mut transaction = connection.ready().await?.begin().await?;
            note::<S>(&mut transaction, "never").await?;
            drop(transaction);
            Ok::<_, Trouble>(())
        })
        .await?;
        // Though nobody uses it next.
        place.all_idle().await;
        write::<S>(pool, "kept").await
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["kept"]);
}

async fn what_was_begun_in_plain_sql_is_rolled_back<S: Server>(place: &Place<S>) {
    with(pool_of_one::<S>(place.options()), async |pool| {
        for aborted in [false, true] {
            let failed = with(pool.get(), async |connection| {
                S::execute(connection, S::BEGIN).await?;
                note::<S>(connection, "never").await?;
                if aborted {
                    note::<S>(connection, "never").await?;
                }
                Err::<(), Trouble>(Failure::Refused.into())
            });
            assert!(matches!(failed.await, Err(Trouble::Other(_))));
            with(pool.get(), async |_connection| Ok::<_, Trouble>(())).await?;
            place.all_idle().await;
        }
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert!(place.notes().await.is_empty());
}

async fn a_connection_whose_session_is_killed_is_replaced<S: Server>(place: &Place<S>) {
    with(pool_of_one::<S>(place.options()), async |pool| {
        let killed = with(pool.get(), async |connection| {
            let session = S::texts(connection, S::session()).await?;
            with(connection.transaction(), async |transaction| {
                let mut witness = crate::common::Witness::<S>::look().await;
                S::execute(&mut witness.0, &S::kill(&session[0])).await?;
                place.no_session_left().await;
                note::<S>(transaction, "never").await?;
                Ok::<_, Trouble>(())
            })
            .await
        });
        assert!(matches!(killed.await, Err(Trouble::Other(Failure::Statement(_)))));
        write::<S>(pool, "kept").await
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["kept"]);
}

/// A hook that counts and asks.
fn counting<S: Server>(
    count: &Arc<AtomicU32>,
) -> impl for<'c> Fn(&'c mut Raw<S>) -> HookFuture<'c> + Send + Sync + 'static {
    let count = Arc::clone(count);
    move |connection| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(S::execute(connection, "SELECT 1"))
    }
}

async fn the_hooks_are_called<S: Server>(place: &Place<S>) {
    let (opened, cleaned) = (Arc::default(), Arc::default());
    let connections = connections::<S>(place.options())
        .after_connect(counting::<S>(&opened))
        .on_reset(counting::<S>(&cleaned));
    let pool = Pool::builder(connections).max_size(1).build().unwrap();
    with(pool, async |pool| {
        write::<S>(pool, "kept").await?;
        assert_eq!((opened.load(Ordering::Relaxed), cleaned.load(Ordering::Relaxed)), (1, 0));
        let failed = with(pool.get(), async |_connection| Err::<(), Trouble>(Failure::Refused.into()));
        failed.await.unwrap_err();
        write::<S>(pool, "kept after a reset").await?;
        // What the first hook had set is set again, in a session that has been set back.
        assert_eq!((opened.load(Ordering::Relaxed), cleaned.load(Ordering::Relaxed)), (2, 1));
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
}

async fn hooks_run_at_every_get_and_every_return<S: Server>(place: &Place<S>) {
    // Boxed, for the compiler's sake.
    Box::pin(crate::hooks::hooks(|| connections::<S>(place.options()))).await;
}

async fn options_change_while_the_pool_runs<S: Server>(place: &Place<S>) {
    let options = place.options();
    let proxy = Proxy::to(S::port(&options)).await;
    with(pool_of_one::<S>(options.clone()), async |pool| {
        write::<S>(pool, "direct").await?;
        pool.manager().set_options(S::through(options, proxy.port()));
        pool.invalidate_all();
        proxy.set("INSERT INTO notes", Trap::HoldAnswer);
        {
            let mut written = pin!(write::<S>(pool, "never"));
            until_reached(written.as_mut(), &proxy).await;
        }
        proxy.release();
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
    assert_eq!(place.notes().await, ["direct"]);
}

async fn a_wrong_password_is_told_at_once<S: Server>(place: &Place<S>) {
    let connections = connections::<S>(S::intruder(place.options()));
    // Without the permanence of the error, the get would wait for its time limit.
    let pool = Pool::builder(connections).max_size(1).get_timeout(Duration::from_secs(600)).build().unwrap();
    let refused = with(pool, async |pool| write::<S>(pool, "never").await).await.unwrap_err();
    let Trouble::Get(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind(), GetErrorKind::CreateFailing);
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let stage = loop {
        let link = cause.expect("the error of the connect is among the causes");
        if let Some(error) = link.downcast_ref::<tenure_sqlx::Error>() {
            break error.stage();
        }
        cause = link.source();
    };
    assert_eq!(stage, Stage::Connect);
}
