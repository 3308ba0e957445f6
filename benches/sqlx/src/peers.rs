//! The ways to do it, each as its users write it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tenure::with;
use tenure_sqlx::pool::{Connections, PoolExt as _};
use tokio::sync::Mutex;

use crate::kind::{Kind, Options};

/// Any error: none is expected.
pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// What is done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A row is inserted in a transaction.
    Transaction,
    /// A number is selected, outside of a transaction.
    Statement,
    /// The same, and the body fails.
    Failed,
}

/// A way to get a connection, and to use it.
pub(crate) trait Peer<K: Kind>: Clone + Sized + Send + Sync + 'static {
    /// Gets a connection, uses it and gives it back.
    fn act(&self, how: Use, number: i64) -> impl Future<Output = Result<(), AnyError>> + Send;

    /// Closes all connections.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A transaction of sqlx's on a connection, or a statement.
async fn plainly<K: Kind>(connection: &mut K::Connection, how: Use, number: i64) -> Result<(), AnyError> {
    if how == Use::Transaction {
        let mut transaction = connection.begin_with(K::BEGIN).await?;
        K::insert(&mut transaction, number).await?;
        transaction.commit().await?;
    } else {
        K::select(connection, number).await?;
    }
    Ok(())
}

/// sqlx's connections without a pool, each behind a mutex and used in turn.
pub(crate) struct Bare<K: Kind>(Arc<[Mutex<K::Connection>]>, Arc<AtomicUsize>);

impl<K: Kind> Bare<K> {
    pub(crate) async fn new(options: &Options<K>, size: usize) -> Result<Self, sqlx::Error> {
        let mut connections = Vec::with_capacity(size);
        for _ in 0..size {
            connections.push(Mutex::new(options.connect().await?));
        }
        Ok(Self(connections.into(), Arc::default()))
    }
}

impl<K: Kind> Clone for Bare<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), Arc::clone(&self.1))
    }
}

impl<K: Kind> Peer<K> for Bare<K> {
    async fn act(&self, how: Use, number: i64) -> Result<(), AnyError> {
        let turn = self.1.fetch_add(1, Ordering::Relaxed) % self.0.len();
        plainly::<K>(&mut *self.0[turn].lock().await, how, number).await
    }

    async fn close(self) {}
}

/// sqlx's pool and transaction.
pub(crate) struct Own<K: Kind>(sqlx::Pool<K>);

impl<K: Kind> Own<K> {
    pub(crate) fn new(options: &Options<K>, size: usize, checks: bool) -> Self {
        let pool = sqlx::pool::PoolOptions::new().max_connections(size as u32);
        Self(pool.test_before_acquire(checks).connect_lazy_with(options.clone()))
    }
}

impl<K: Kind> Clone for Own<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Peer<K> for Own<K> {
    async fn act(&self, how: Use, number: i64) -> Result<(), AnyError> {
        if how == Use::Transaction {
            let mut transaction = self.0.begin_with(K::BEGIN).await?;
            K::insert(&mut transaction, number).await?;
            transaction.commit().await?;
            return Ok(());
        }
        plainly::<K>(&mut *self.0.acquire().await?, how, number).await
    }

    async fn close(self) {
        self.0.close().await;
    }
}

/// deadpool over sqlx's connections, with sqlx's transaction.
pub(crate) struct Dead<K: Kind>(deadpool::managed::Pool<Manager<K>>);

pub(crate) struct Manager<K: Kind> {
    options: Options<K>,
    checks: bool,
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
        if self.checks {
            connection.ping().await?;
        }
        Ok(())
    }
}

impl<K: Kind> Dead<K> {
    pub(crate) fn new(options: &Options<K>, size: usize, checks: bool) -> Self {
        let manager = Manager { options: options.clone(), checks };
        // The limit that the others have by default.
        let pool = deadpool::managed::Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(Duration::from_secs(30)))
            .runtime(deadpool::Runtime::Tokio1);
        Self(pool.build().expect("it has its runtime"))
    }
}

impl<K: Kind> Clone for Dead<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Peer<K> for Dead<K> {
    async fn act(&self, how: Use, number: i64) -> Result<(), AnyError> {
        plainly::<K>(&mut *self.0.get().await?, how, number).await
    }

    async fn close(self) {
        self.0.close();
    }
}

/// tenure's.
pub(crate) struct Tenure<K: Kind>(tenure_sqlx::pool::Pool<K>);

impl<K: Kind> Tenure<K> {
    pub(crate) fn new(
        options: &Options<K>,
        size: usize,
        checks: bool,
        set: impl FnOnce(Connections<K>) -> Connections<K>,
    ) -> Self {
        let connections = set(Connections::new(options.clone()).check_completed(checks));
        let mut pool = tenure_sqlx::pool::Pool::builder(connections).max_size(size);
        if !checks {
            pool = pool.check_after(None);
        }
        Self(pool.build().expect("the size is sound"))
    }
}

impl<K: Kind> Clone for Tenure<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Peer<K> for Tenure<K> {
    async fn act(&self, how: Use, number: i64) -> Result<(), AnyError> {
        if how == Use::Transaction {
            return with(K::writing(self.0.transaction()), async |transaction| {
                K::insert(transaction, number).await?;
                Ok::<_, AnyError>(())
            })
            .await;
        }
        let selected = with(self.0.connection(), async |connection| {
            K::select(connection, number).await?;
            if how == Use::Failed { Err(AnyError::from("by intent")) } else { Ok(()) }
        });
        match selected.await {
            Err(error) if how == Use::Failed && error.to_string() == "by intent" => Ok(()),
            selected => selected,
        }
    }

    async fn close(self) {
        assert!(self.0.close().await.is_clean(), "nobody holds a connection");
    }
}
