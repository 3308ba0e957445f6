use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleResult};

use super::{Down, Peer, Server};

pub(crate) struct Connector(Arc<Server>);

impl Manager for Connector {
    type Type = u64;
    type Error = Down;

    async fn create(&self) -> Result<u64, Down> {
        self.0.connect().await
    }

    async fn recycle(&self, _: &mut u64, _: &Metrics) -> RecycleResult<Down> {
        Ok(())
    }
}

/// As it comes: without any time limit. Its check cannot be turned off.
#[derive(Clone)]
pub(crate) struct Deadpool(Pool<Connector>);

impl Peer for Deadpool {
    const NAME: &'static str = "deadpool 0.13";
    type Lease = Object<Connector>;
    type Error = PoolError<Down>;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        let builder = Pool::<Connector>::builder(Connector(server)).max_size(size);
        Self(builder.build().expect("no time limit needs no runtime"))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Self::Error>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}

/// With the time limit that tenure-pool has by default.
#[derive(Clone)]
pub(crate) struct DeadpoolTimed(Pool<Connector>);

impl Peer for DeadpoolTimed {
    const NAME: &'static str = "deadpool 0.13, wait 30 s";
    type Lease = Object<Connector>;
    type Error = PoolError<Down>;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        let builder = Pool::<Connector>::builder(Connector(server))
            .max_size(size)
            .wait_timeout(Some(Duration::from_secs(30)))
            .runtime(Runtime::Tokio1);
        Self(builder.build().expect("it has its runtime"))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Self::Error>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
