//! The ways to do it, each as its users write it.

use std::error::Error;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tenure::with;
use tenure_sqlx::pool::{Connections, PoolExt as _};

use crate::kind::{Kind, Options};

/// Any error: none is expected.
pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// When a pool asks a connection whether it is still good before it lends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Never,
    /// As the pool does by default. deadpool has no default: its manager pings each time, as sqlx's pool does.
    Default,
}

/// A pool and a way to do a transaction on what it lends.
pub(crate) trait Peer<K: Kind>: Clone + Sized + Send + Sync + 'static {
    const NAME: &'static str;

    fn new(options: &Options<K>, size: usize, check: Check) -> Self;

    /// Inserts the number in a transaction on a connection of the pool.
    fn write(&self, number: i64) -> impl Future<Output = Result<(), AnyError>> + Send;

    /// Closes all connections.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// sqlx's pool and transaction.
pub(crate) struct Own<K: Kind>(sqlx::Pool<K>);

impl<K: Kind> Clone for Own<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Peer<K> for Own<K> {
    const NAME: &'static str = "sqlx's pool, `begin`/`commit`";

    fn new(options: &Options<K>, size: usize, check: Check) -> Self {
        let pool = sqlx::pool::PoolOptions::new().max_connections(size as u32);
        let pool = pool.test_before_acquire(check == Check::Default);
        Self(pool.connect_lazy_with(options.clone()))
    }

    async fn write(&self, number: i64) -> Result<(), AnyError> {
        let mut transaction = self.0.begin_with(K::BEGIN).await?;
        K::insert(&mut transaction, number).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn close(self) {
        self.0.close().await;
    }
}

/// deadpool over sqlx's connections, with sqlx's transaction.
pub(crate) struct Dead<K: Kind>(deadpool::managed::Pool<Manager<K>>);

pub(crate) struct Manager<K: Kind> {
    options: Options<K>,
    check: Check,
}

impl<K: Kind> deadpool::managed::Manager for Manager<K> {
    type Type = K::Connection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<K::Connection, sqlx::Error> {
        self.options.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut K::Connection,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<sqlx::Error> {
        if self.check == Check::Default {
            connection.ping().await?;
        }
        Ok(())
    }
}

impl<K: Kind> Clone for Dead<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Peer<K> for Dead<K> {
    const NAME: &'static str = "deadpool, sqlx's `begin`/`commit`";

    fn new(options: &Options<K>, size: usize, check: Check) -> Self {
        let manager = Manager { options: options.clone(), check };
        // The limit that the others have by default.
        let pool = deadpool::managed::Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(Duration::from_secs(30)))
            .runtime(deadpool::Runtime::Tokio1);
        Self(pool.build().expect("it has its runtime"))
    }

    async fn write(&self, number: i64) -> Result<(), AnyError> {
        let mut connection = self.0.get().await?;
        let mut transaction = connection.begin_with(K::BEGIN).await?;
        K::insert(&mut transaction, number).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn close(self) {
        self.0.close();
    }
}

/// tenure's.
pub(crate) struct Tenure<K: Kind>(tenure_sqlx::pool::Pool<K>);

impl<K: Kind> Clone for Tenure<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Peer<K> for Tenure<K> {
    const NAME: &'static str = "tenure-sqlx on tenure-pool";

    fn new(options: &Options<K>, size: usize, check: Check) -> Self {
        let mut pool = tenure_sqlx::pool::Pool::builder(Connections::<K>::new(options.clone())).max_size(size);
        if check == Check::Never {
            pool = pool.check_after(None);
        }
        Self(pool.build().expect("the size is sound"))
    }

    async fn write(&self, number: i64) -> Result<(), AnyError> {
        with(K::writing(self.0.transaction()), async |transaction| {
            K::insert(transaction, number).await?;
            Ok::<_, AnyError>(())
        })
        .await
    }

    async fn close(self) {
        assert!(self.0.close().await.is_clean(), "nobody holds a connection");
    }
}
