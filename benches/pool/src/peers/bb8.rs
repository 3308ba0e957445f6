use std::sync::Arc;

use bb8::{ManageConnection, Pool, PooledConnection, RunError};

use super::{Down, Peer, Server};

pub(crate) struct Connector(Arc<Server>);

impl ManageConnection for Connector {
    type Connection = u64;
    type Error = Down;

    async fn connect(&self) -> Result<u64, Down> {
        self.0.connect().await
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Down> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[derive(Clone)]
pub(crate) struct Bb8(Pool<Connector>);

impl Peer for Bb8 {
    const NAME: &'static str = "bb8 0.9";
    type Lease = PooledConnection<'static, Connector>;
    type Error = RunError<Down>;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        Self(Pool::builder().max_size(size).build_unchecked(Connector(server)))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Self::Error>> + Send {
        self.0.get_owned()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
