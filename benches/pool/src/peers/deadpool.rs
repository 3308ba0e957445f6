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

/// As it comes, without any time limit, or with the one that tenure-pool has by default. Its check cannot be turned off.
#[derive(Clone)]
pub(crate) struct Deadpool<const TIMED: bool>(Pool<Connector>);

impl<const TIMED: bool> Peer for Deadpool<TIMED> {
    const NAME: &'static str = if TIMED { "deadpool 0.13, wait 30 s" } else { "deadpool 0.13" };
    type Lease = Object<Connector>;
    type Error = PoolError<Down>;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        let mut builder = Pool::<Connector>::builder(Connector(server)).max_size(size);
        if TIMED {
            builder = builder.wait_timeout(Some(Duration::from_secs(30))).runtime(Runtime::Tokio1);
        }
        Self(builder.build().expect("it has a runtime if it needs one"))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Self::Error>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
