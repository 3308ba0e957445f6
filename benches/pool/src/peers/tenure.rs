use std::sync::Arc;
use std::time::Duration;

use tenure_pool::{Context, CreateContext, GetError, Lease, LeaseEnd, Manager, Next, Order, Pool};

use super::{Down, Peer, Server};

pub(crate) struct Connector(Arc<Server>);

impl Manager for Connector {
    type Resource = u64;
    type Error = Down;

    async fn create(&self, _: CreateContext) -> Result<u64, Down> {
        self.0.connect().await
    }

    async fn reset(&self, _: &mut u64, _: Context) -> Result<(), Down> {
        Ok(())
    }

    /// A number cannot be left half-used: what `recycle` says to deadpool by returning `Ok`.
    fn assess(&self, _: &mut u64, _: LeaseEnd<'_>) -> Next {
        Next::Keep
    }
}

fn build(size: usize, server: Arc<Server>, check: bool, order: Order) -> Pool<Connector> {
    let mut builder = Pool::builder(Connector(server)).max_size(size).order(order);
    if check {
        builder = builder.check_after(Duration::ZERO);
    }
    builder.build().expect("the size is sound")
}

#[derive(Clone)]
pub(crate) struct Tenure(Pool<Connector>);

impl Peer for Tenure {
    const NAME: &'static str = "tenure-pool";
    type Lease = Lease<Connector>;
    type Error = GetError;

    fn new(size: usize, server: Arc<Server>, check: bool) -> Self {
        Self(build(size, server, check, Order::Lifo))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, GetError>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}

#[derive(Clone)]
pub(crate) struct TenureFifo(Pool<Connector>);

impl Peer for TenureFifo {
    const NAME: &'static str = "tenure-pool, FIFO";
    type Lease = Lease<Connector>;
    type Error = GetError;

    fn new(size: usize, server: Arc<Server>, check: bool) -> Self {
        Self(build(size, server, check, Order::Fifo))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, GetError>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
