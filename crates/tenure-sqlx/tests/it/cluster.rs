//! Members of a replicated pool that are files: who may write is a switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Executor as _, Row as _, Sqlite};
use tenure::with;
use tenure_pool::Builder;
use tenure_sqlx::Error;
use tenure_sqlx::pool::{Connections, Pool, PoolExt, ReplicatedPool, ReplicatedPoolBuilder};
use tokio::time::timeout;

use crate::common::{TempDb, note};
use crate::failure::Failure;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A server, so to speak.
pub(crate) struct Member {
    pub(crate) db: TempDb,
    /// `true` if it takes writes, from the next get on.
    pub(crate) writes: Arc<AtomicBool>,
    /// `true` if connecting hangs.
    pub(crate) hangs: Arc<AtomicBool>,
}

impl Member {
    pub(crate) async fn new(writes: bool) -> Self {
        let (writes, hangs) = (Arc::new(AtomicBool::new(writes)), Arc::default());
        Self { db: TempDb::new().await, writes, hangs }
    }

    pub(crate) fn set(&self, writes: bool) {
        self.writes.store(writes, Ordering::SeqCst);
    }

    pub(crate) fn connections(&self) -> Connections<Sqlite> {
        let (writes, hangs) = (Arc::clone(&self.writes), Arc::clone(&self.hangs));
        let connections = Connections::<Sqlite>::new(self.db.options()).after_connect(move |_| {
            let hangs = hangs.load(Ordering::SeqCst);
            Box::pin(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
        });
        connections.on_get(move |connection| {
            let is_read_only = !writes.load(Ordering::SeqCst);
            Box::pin(async move {
                let statement = if is_read_only { "PRAGMA query_only = 1" } else { "PRAGMA query_only = 0" };
                connection.execute(statement).await.map(drop)
            })
        })
    }

    pub(crate) fn pool(&self) -> Builder<Connections<Sqlite>> {
        let pool = Pool::builder(self.connections()).max_size(2).create_timeout(Duration::from_millis(300));
        pool.create_backoff(Duration::from_millis(1), Duration::from_millis(20)).get_timeout(LIMIT)
    }

    /// Takes it off the network, or puts it back.
    pub(crate) fn set_reachable(&self, pool: &ReplicatedPool<Sqlite>, name: &str, is: bool) {
        let pool = pool.member(name).unwrap();
        let nowhere = SqliteConnectOptions::new().filename("/nowhere/at/all.db");
        pool.manager().set_options(if is { self.db.options() } else { nowhere });
        pool.invalidate_all();
    }
}

/// Members that are named `0`, `1`, …; those of these numbers take writes.
pub(crate) async fn members<const N: usize>(primaries: &[usize]) -> [Member; N] {
    let mut members = Vec::new();
    for number in 0..N {
        members.push(Member::new(primaries.contains(&number)).await);
    }
    members.try_into().unwrap_or_else(|_| unreachable!("there are as many"))
}

pub(crate) fn builder(members: &[Member]) -> ReplicatedPoolBuilder<Sqlite> {
    let mut builder = ReplicatedPool::builder("0", members[0].pool());
    for (number, member) in members.iter().enumerate().skip(1) {
        builder = builder.member(number.to_string(), member.pool());
    }
    builder.role_interval(Duration::ZERO).role_timeout(Duration::from_millis(500)).failover_timeout(LIMIT)
}

/// The number of the member that serves an end.
pub(crate) async fn served_by(members: &[Member], end: &impl PoolExt<Sqlite>) -> Result<usize, Error> {
    let file = with(end.connection(), async |connection| {
        let row = connection.conn().fetch_one("SELECT file FROM pragma_database_list").await;
        Ok::<String, Failure>(row.unwrap().get(0))
    });
    let file = file.await.map_err(Failure::into_tenure)?;
    let is_it = |member: &Member| {
        let path = member.db.options().get_filename().canonicalize().unwrap();
        std::path::Path::new(&file).canonicalize().unwrap() == path
    };
    Ok(members.iter().position(is_it).unwrap())
}

pub(crate) async fn write(pool: &ReplicatedPool<Sqlite>, text: &str) -> Result<(), Failure> {
    with(pool.write().transaction().immediate(), async |transaction| Ok(note(transaction.conn(), text).await?))
        .await
}

/// Reads until it is served by this member.
pub(crate) async fn until_read_from(members: &[Member], pool: &ReplicatedPool<Sqlite>, wanted: usize) {
    let reads = async { while served_by(members, &pool.read()).await.ok() != Some(wanted) {} };
    timeout(LIMIT, reads).await.expect("it serves within the limit");
}
