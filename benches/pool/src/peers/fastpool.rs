#![expect(
    deprecated,
    reason = "it calls itself no longer maintained; it is measured because it is still in use"
)]

use std::sync::Arc;

use fastpool::bounded::{Object, Pool, PoolConfig};
use fastpool::{ManageObject, ObjectStatus};

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
pub(crate) struct Fastpool(Arc<Pool<Connector>>);

impl Peer for Fastpool {
    const NAME: &'static str = "fastpool 1.1";
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
