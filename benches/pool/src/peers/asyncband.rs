use std::sync::Arc;

use asyncband::pool::bounded::{Object, Pool, PoolConfig};
use asyncband::pool::{ManageObject, ObjectStatus};

use super::{Down, Peer, Server};

pub(crate) struct Connector(Arc<Server>);

impl ManageObject for Connector {
    type Object = u64;
    type Error = Down;

    async fn create(&self) -> Result<u64, Down> {
        self.0.connect().await
    }

    async fn is_recyclable(&self, _: &mut u64, _: &ObjectStatus) -> Result<(), Down> {
        Ok(())
    }
}

/// It knows no time limit. Its check cannot be turned off.
#[derive(Clone)]
pub(crate) struct Asyncband(Arc<Pool<Connector>>);

impl Peer for Asyncband {
    const NAME: &'static str = "asyncband 0.7";
    type Lease = Object<Connector>;
    type Error = Down;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        Self(Pool::new(PoolConfig::new(size), Connector(server)))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Down>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
