//! The pools that are compared, behind one trait. Each has its own default settings, with the size the scenario asks
//! for; what checks there are return at once.

mod asyncband;
mod bb8;
mod deadpool;
mod fastpool;
mod floor;
mod mobc;
mod sqlx;
mod tenure;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use self::asyncband::Asyncband;
pub(crate) use self::bb8::Bb8;
pub(crate) use self::deadpool::Deadpool;
pub(crate) use self::fastpool::Fastpool;
pub(crate) use self::floor::Floor;
pub(crate) use self::mobc::Mobc;
pub(crate) use self::sqlx::Sqlx;
pub(crate) use self::tenure::Tenure;

/// The other side: what connecting costs, and whether it is up.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) attempts: AtomicU32,
    connect_micros: AtomicU64,
    started: Instant,
    down: Duration,
}

/// The server is down.
#[derive(Debug)]
pub(crate) struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server is down")
    }
}

impl std::error::Error for Down {}

impl Server {
    /// A server that is there at once.
    pub(crate) fn instant() -> Arc<Self> {
        Self::down_for(Duration::ZERO)
    }

    /// A server that refuses for a while from now on.
    pub(crate) fn down_for(down: Duration) -> Arc<Self> {
        Arc::new(Self {
            attempts: AtomicU32::new(0),
            connect_micros: AtomicU64::new(0),
            started: Instant::now(),
            down,
        })
    }

    /// From now on a connect takes this long.
    pub(crate) fn set_connect_time(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.connect_micros.store(micros, Ordering::Relaxed);
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<u64, Down> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        if self.started.elapsed() < self.down {
            return Err(Down);
        }
        let micros = self.connect_micros.load(Ordering::Relaxed);
        if micros > 0 {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        Ok(u64::from(number))
    }
}

/// One of the pools.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether it creates what it lends, and so can take part in the scenarios about creating.
    const CREATES: bool = true;
    /// Whether a get may be cancelled.
    const CANCELS: bool = true;
    type Lease: Send;
    type Error: Debug + Send;

    /// A pool of this size; with `check`, each resource is checked at each checkout, by a check that returns at
    /// once.
    fn new(size: usize, server: Arc<Server>, check: bool) -> Self;

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Self::Error>> + Send;

    /// Uses the resource.
    fn touch(lease: &mut Self::Lease);

    /// Bytes of its own future of a get.
    fn future_size(&self) -> usize {
        size_of_val(&self.get())
    }
}
