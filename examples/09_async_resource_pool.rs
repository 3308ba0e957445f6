//! A pool that is a context itself: it connects on demand, lends no connection again whose user did not end
//! well, and is closed when it is left. It shows how that is made; the pool to use is the crate `tenure-pool`.
//!
//! ```python
//! async with Pool(limit=2) as pool:
//!     async with pool.acquire() as conn:
//!         await conn.query()
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Result, bail};
use tenure::{AsyncExit, Outcome, with};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

const LIMIT: u32 = 2;

#[derive(Clone)]
struct Pool {
    free: Arc<Semaphore>,
    /// A number stands in for a connection.
    idle: Arc<Mutex<Vec<u32>>>,
    opened: Arc<AtomicU32>,
}

struct Lease(u32, Pool, OwnedSemaphorePermit);

async fn open_pool() -> Result<Pool> {
    let free = Arc::new(Semaphore::new(LIMIT as usize));
    let (idle, opened) = Default::default();
    Ok(Pool { free, idle, opened })
}

impl Pool {
    async fn get(&self) -> Result<Lease> {
        let permit = Arc::clone(&self.free).acquire_owned().await?;
        let idle = self.idle.lock().await.pop();
        let open = || self.opened.fetch_add(1, Relaxed) + 1;
        Ok(Lease(idle.unwrap_or_else(open), self.clone(), permit))
    }
}

impl AsyncExit for Lease {
    type Error = anyhow::Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<()> {
        let Self(connection, pool, _permit) = self;
        if outcome.is_completed() {
            pool.idle.lock().await.push(connection);
        } else {
            yield_now().await;
            println!("close {connection}: who knows what its user left behind");
        }
        Ok(())
    }
}

impl AsyncExit for Pool {
    type Error = anyhow::Error;

    async fn exit(self, _: Outcome<'_>) -> Result<()> {
        // To have all permits is to have every lease back.
        let _all = self.free.acquire_many(LIMIT).await?;
        self.free.close();
        yield_now().await;
        println!("close {:?}: the pool is left", self.idle.lock().await);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    with(open_pool(), async |pool| {
        assert_eq!(with(pool.get(), async |lease| anyhow::Ok(lease.0)).await?, 1);
        let lost: Result<()> = with(pool.get(), async |_| bail!("connection lost")).await;
        println!("{}", lost.expect_err("it is lost"));
        assert_eq!(with(pool.get(), async |lease| anyhow::Ok(lease.0)).await?, 2);
        Ok(())
    })
    .await
}
