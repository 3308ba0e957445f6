//! What is done with the connections of a pool: one for some statements, or for one transaction.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;

use sqlx::{Execute, Executor};
use tenure::{AsyncExit, Outcome};
use tenure_pool::Manager;

use super::fed::{PooledStream, rows};
use super::nested::begin_use;
use crate::connection::AWAY;
use crate::lease::{Holder, Keep, Keeper};
use crate::{Backend, Begin, Connection, Error, Stage};

/// Connections and transactions of a pool as contexts, for any manager of [`Connection`]s.
pub trait PoolExt<DB: Backend> {
    /// Returns a connection of this pool, as a context: what `pool.acquire()` is to sqlx, and what to use where sqlx's pool itself
    /// was the executor.
    ///
    /// It differs from the pool's own `get` in what its users see: it dereferences to sqlx's connection at once, and its
    /// errors are those of [`transaction`](Self::transaction), so that a body may keep `sqlx::Error`.
    ///
    /// ```
    /// # use sqlx::Sqlite;
    /// use tenure::with;
    /// use tenure_sqlx::pool::{Pool, PoolExt};
    ///
    /// // Before: sqlx::query_scalar("SELECT text FROM notes").fetch_all(pool).await
    /// async fn notes(pool: &Pool<Sqlite>) -> Result<Vec<String>, sqlx::Error> {
    ///     with(pool.connection(), async |connection| {
    ///         sqlx::query_scalar("SELECT text FROM notes").fetch_all(&mut **connection).await
    ///     })
    ///     .await
    /// }
    /// # let _ = notes;
    /// ```
    ///
    /// # Errors
    /// Entering fails at [`Stage::Get`](crate::Stage::Get).
    ///
    /// # Cancel safety
    /// Dropped while it waits, its place in the queue is given up.
    #[track_caller]
    fn connection(&self) -> impl Future<Output = Result<Pooled<DB>, Error>> + Send + 'static;

    /// Returns a transaction on a connection of this pool, as a context: what `pool.begin()` is to sqlx.
    ///
    /// Entering it gets a connection and begins; its exit commits or rolls back and gives the connection back, told the
    /// same outcome. It equals `with(pool.connection(), async |connection| with(connection.transaction(), …).await)`, which is
    /// the form for several transactions on one connection, and for statements outside of one.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod only {
    /// use sqlx::sqlite::SqliteConnectOptions;
    /// use tenure::with;
    /// use tenure_sqlx::pool::{Connections, Pool, PoolExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("notes.db");
    /// let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    /// let pool = Pool::<sqlx::Sqlite>::builder(Connections::new(options)).max_size(4).build()?;
    /// let count: i64 = with(pool, async |pool| {
    ///     with(pool.transaction().immediate(), async |transaction| {
    ///         sqlx::query("CREATE TABLE notes (text TEXT)").execute(&mut **transaction).await?;
    ///         sqlx::query("INSERT INTO notes VALUES ('kept')").execute(&mut **transaction).await?;
    ///         Ok::<_, sqlx::Error>(())
    ///     })
    ///     .await?; // committed, and the connection given back
    ///     // The same, and again if it meets another transaction.
    ///     let count = || async |transaction: &mut tenure_sqlx::sqlite::Transaction| {
    ///         sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut **transaction).await
    ///     };
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(pool.transaction().run(count).await?)
    /// })
    /// .await?; // all closed
    /// assert_eq!(count, 1);
    /// # Ok(()) }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # only::main().unwrap();
    /// ```
    ///
    /// # Errors
    /// Entering fails at [`Stage::Get`](crate::Stage::Get), or as [`Connection::transaction`] does.
    ///
    /// # Cancel safety
    /// Dropped while it waits for a connection, its place in the queue is given up. From then on as
    /// [`Connection::transaction`].
    #[track_caller]
    fn transaction(&self) -> Begin<'static, DB>;

    /// Returns the rows of a query, as a stream that has its own connection of this pool: it can be returned, or be the body of
    /// an answer.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod only {
    /// use futures_util::TryStreamExt as _;
    /// use tenure::with;
    /// use tenure_sqlx::pool::{Connections, Pool, PoolExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// with(Pool::builder(Connections::in_memory()).build()?, async |pool| {
    ///     let rows = pool.rows(sqlx::query("SELECT 1 UNION SELECT 2"));
    ///     let rows: Vec<_> = rows.try_collect().await?;
    ///     assert_eq!(rows.len(), 2);
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// })
    /// .await
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # only::main().unwrap();
    /// ```
    ///
    /// # Errors
    /// As items: what fails at the get, as [`sqlx::Error`], and what fails at the query.
    fn rows<Q>(&self, query: Q) -> PooledStream<DB::Row>
    where
        Q: Execute<'static, DB> + Send + 'static,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    {
        rows(self, query)
    }
}

impl<DB: Backend, M: Manager<Resource = Connection<DB>>> PoolExt<DB> for tenure_pool::Pool<M> {
    #[track_caller]
    fn connection(&self) -> impl Future<Output = Result<Pooled<DB>, Error>> + Send + 'static {
        let get = keeper(self);
        async move { begin(get.await?).await }
    }

    #[track_caller]
    fn transaction(&self) -> Begin<'static, DB> {
        Begin::pooled(Box::pin(keeper(self)))
    }
}

/// Begins a use.
pub(super) async fn begin<DB: Backend>(mut keeper: Keeper<DB>) -> Result<Pooled<DB>, Error> {
    let holder = keeper.0.holder_mut();
    if holder.is_in_test() {
        Box::pin(begin_use(holder)).await.map_err(|error| Error::new::<DB>(Stage::Savepoint, error))?;
    }
    Ok(Pooled { keeper })
}

#[track_caller]
fn keeper<DB: Backend, M: Manager<Resource = Connection<DB>>>(
    pool: &tenure_pool::Pool<M>,
) -> impl Future<Output = Result<Keeper<DB>, Error>> + Send + use<DB, M> {
    let get = pool.get_owned();
    async move {
        let mut lease = get.await.map_err(Error::not_lent)?;
        if !lease.holder().is_released() {
            Box::pin(tidy(&mut lease)).await?;
        }
        Ok(Keeper(Box::new(lease)))
    }
}

/// Does what nobody has done after the last use, where a manager of the user's own has not passed the question on.
///
/// Dropped half-way, the lease is dropped with it, and the pool resets the connection.
async fn tidy<DB: Backend, M: Manager<Resource = Connection<DB>>>(
    lease: &mut tenure_pool::Lease<M>,
) -> Result<(), Error> {
    lease.tidy().await
}

/// A connection of a pool, in use: what [`PoolExt::connection`] lends. It dereferences to sqlx's own connection.
///
/// # Panics
/// Dereferencing panics while a transaction has the connection, as that of a [`Connection`] does.
#[must_use = "a connection that is dropped, not exited, is cleaned before it is lent again"]
pub struct Pooled<DB: Backend> {
    keeper: Keeper<DB>,
}

impl<DB: Backend> Pooled<DB> {
    /// Returns a transaction on this connection, as a context: see [`Connection::transaction`].
    ///
    /// # Errors
    /// As [`Connection::transaction`].
    ///
    /// # Cancel safety
    /// As [`Connection::transaction`].
    pub fn transaction(&mut self) -> Begin<'_, DB> {
        Begin::borrowed(self.keeper.0.holder_mut())
    }

    /// Returns the connection of sqlx's: what dereferencing gives.
    ///
    /// # Panics
    /// As dereferencing does: while a transaction has the connection.
    #[track_caller]
    pub fn conn(&mut self) -> &mut DB::Connection {
        self
    }

    /// Has the connection closed, not lent again, when it is given back.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn give_up(&mut self) {
        self.keeper.0.holder_mut().give_up();
    }

    /// Waits until the connection has come back from a transaction that was dropped before its end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As [`Connection::ready`].
    pub async fn ready(&mut self) -> Result<&mut DB::Connection, Error> {
        self.keeper.0.holder_mut().ready().await
    }
}

impl<DB: Backend> AsyncExit for Pooled<DB> {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        self.keeper.exit(outcome).await
    }
}

impl<DB: Backend> Deref for Pooled<DB> {
    type Target = DB::Connection;

    #[track_caller]
    fn deref(&self) -> &DB::Connection {
        self.keeper.0.holder().connection().expect(AWAY)
    }
}

impl<DB: Backend> DerefMut for Pooled<DB> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.keeper.0.holder_mut().connection_mut().expect(AWAY)
    }
}

impl<DB: Backend> fmt::Debug for Pooled<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled")
            .field("database", &DB::NAME)
            .field("is_here", &self.keeper.0.holder().connection().is_some())
            .finish()
    }
}

impl<DB: Backend, M: Manager<Resource = Connection<DB>>> Keep<DB> for tenure_pool::Lease<M> {
    fn holder(&self) -> &Holder<DB> {
        (**self).holder()
    }

    fn holder_mut(&mut self) -> &mut Holder<DB> {
        (**self).holder_mut()
    }

    fn give_back<'o>(self: Box<Self>, outcome: Outcome<'o>) -> Pin<Box<dyn Future<Output = ()> + Send + 'o>> {
        Box::pin(async move {
            // It never fails: its error type is that of `get`.
            let _ = (*self).exit(outcome).await;
        })
    }
}
