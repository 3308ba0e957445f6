//! Hooks at every get and every return, by whatever way a connection is taken and given back, on whatever database.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tenure::with;
use tenure_pool::Leases;
use tenure_sqlx::Backend;
use tenure_sqlx::pool::{Connections, Pool, PoolExt};

use crate::failure::Failure;
use crate::trouble::Trouble;

/// A use of a connection.
#[derive(Clone, Copy, Debug)]
enum Way {
    Completed,
    Dropped,
    BodyOfALease,
    Several,
    Connection,
    ConnectionFailed,
    Transaction,
    TransactionFailed,
}

const WAYS: [Way; 8] = [
    Way::Completed,
    Way::Dropped,
    Way::BodyOfALease,
    Way::Several,
    Way::Connection,
    Way::ConnectionFailed,
    Way::Transaction,
    Way::TransactionFailed,
];

async fn use_by<DB: Backend>(way: Way, pool: &Pool<DB>) -> Result<(), Trouble> {
    let refused = || Err::<(), _>(Failure::Refused);
    match way {
        Way::Completed => pool.get().await?.complete(),
        Way::Dropped => drop(pool.get().await?),
        Way::BodyOfALease => with(pool.get(), async |_| Ok::<_, Trouble>(())).await?,
        Way::Several => pool.get_many(1).await.map(Leases::complete)?,
        Way::Connection => with(pool.connection(), async |_| Ok::<_, Failure>(())).await?,
        Way::ConnectionFailed => drop(with(pool.connection(), async |_| refused()).await),
        Way::Transaction => with(pool.transaction(), async |_| Ok::<_, Failure>(())).await?,
        Way::TransactionFailed => drop(with(pool.transaction(), async |_| refused()).await),
    }
    Ok(())
}

/// Calls of the hooks, and whether the next one fails.
#[derive(Clone, Default)]
struct Calls {
    gets: Arc<AtomicU32>,
    returns: Arc<AtomicU32>,
    get_fails: Arc<AtomicBool>,
    return_fails: Arc<AtomicBool>,
}

impl Calls {
    fn counted(&self) -> (u32, u32) {
        (self.gets.load(Ordering::SeqCst), self.returns.load(Ordering::SeqCst))
    }
}

fn result(fails: &AtomicBool) -> Result<(), sqlx::Error> {
    if fails.swap(false, Ordering::SeqCst) { Err(sqlx::Error::RowNotFound) } else { Ok(()) }
}

/// The whole of it, on a pool of one.
pub(crate) async fn hooks<DB: Backend>(connections: impl Fn() -> Connections<DB>) {
    let calls = Calls::default();
    let (got, returned) = (calls.clone(), calls.clone());
    let connections = connections()
        .on_get(move |_| {
            got.gets.fetch_add(1, Ordering::SeqCst);
            let result = result(&got.get_fails);
            Box::pin(async move { result })
        })
        .on_return(move |_| {
            returned.returns.fetch_add(1, Ordering::SeqCst);
            let result = result(&returned.return_fails);
            Box::pin(async move { result })
        });
    let used = with(Pool::builder(connections).max_size(1).build().unwrap(), async |pool| {
        let mut uses = 0;
        for way in WAYS {
            use_by(way, pool).await?;
            uses += 1;
            assert!(pool.try_get().is_none(), "{way:?}: it is not lent without its hooks");
            let lease = pool.get().await?;
            assert_eq!(calls.counted(), (uses + 1, uses), "{way:?}");
            lease.complete();
            uses += 1;
        }
        assert_eq!(pool.counters().hook_failures, 0);
        for fails in [&calls.get_fails, &calls.return_fails] {
            let opened = pool.counters().opened;
            fails.store(true, Ordering::SeqCst);
            pool.get().await?.complete();
            pool.get().await?.complete();
            assert_eq!(pool.counters().opened, opened + 1, "it costs the connection, and no get");
        }
        assert_eq!(pool.counters().hook_failures, 2);
        Ok::<_, Trouble>(())
    });
    used.await.unwrap();
}
