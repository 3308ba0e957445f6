use std::sync::Arc;

use mobc::{Connection, Manager, Pool, async_trait};

use super::{Down, Peer, Server};

pub(crate) struct Connector(Arc<Server>);

#[async_trait]
impl Manager for Connector {
    type Connection = u64;
    type Error = Down;

    async fn connect(&self) -> Result<u64, Down> {
        self.0.connect().await
    }

    async fn check(&self, connection: u64) -> Result<u64, Down> {
        Ok(connection)
    }
}

/// It keeps two idle ones by default, and would close and open all the time: it is given its size to keep.
#[derive(Clone)]
pub(crate) struct Mobc(Pool<Connector>);

impl Peer for Mobc {
    const NAME: &'static str = "mobc 0.9";
    type Lease = Connection<Connector>;
    type Error = mobc::Error<Down>;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        let size = size as u64;
        Self(Pool::builder().max_open(size).max_idle(size).build(Connector(server)))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Self::Error>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
