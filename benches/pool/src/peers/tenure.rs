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

/// As it comes, or with the order that is fair to resources.
#[derive(Clone)]
pub(crate) struct Tenure<const FIFO: bool>(Pool<Connector>);

impl<const FIFO: bool> Peer for Tenure<FIFO> {
    const NAME: &'static str = if FIFO { "tenure-pool, FIFO" } else { "tenure-pool" };
    type Lease = Lease<Connector>;
    type Error = GetError;

    fn new(size: usize, server: Arc<Server>, check: bool) -> Self {
        let mut builder = Pool::builder(Connector(server)).max_size(size);
        if FIFO {
            builder = builder.order(Order::Fifo);
        }
        if check {
            builder = builder.check_after(Duration::ZERO);
        }
        Self(builder.build().expect("the size is sound"))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, GetError>> + Send {
        self.0.get()
    }

    fn touch(lease: &mut Self::Lease) {
        **lease += 1;
    }
}
