//! Connections for [`tenure_pool`]: a manager that opens, checks, cleans and closes them as the pool asks for it, and in
//! [`PoolExt`] what is done with those that it lends.
//!
//! # Invariants
//! 1. A connection that is away, because a transaction on it has not ended, is waited for before anything else is done
//!    with it. One that a transaction has closed is never cleaned, only closed.
//! 2. A use that completed hands on what is here and idle. A connection that is away, or on which sqlx counts a
//!    transaction or has a word left to send, is closed: nothing would clean it.
//! 3. A connection is clean after a reset that succeeded: no transaction is open, no answer is outstanding, and the
//!    user's hook has run.

mod ext;

use std::fmt;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};

use sqlx::Connection as _;
use tenure::{AsyncExit as _, Outcome};
use tenure_pool::{Context, CreateContext, LeaseEnd, Manager, Next};
use tokio::sync::Mutex;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::cancel::{Cancel, identify};
use crate::cancel::{Identify, stop_abandoned};
use crate::connect::Options;
use crate::patience::within;
use crate::{Backend, Connect, Connection, Error, Retry, Stage};

pub use ext::{PoolExt, Pooled};
pub use tenure_pool::{GetError, GetErrorKind, PoolError};

/// A pool of connections, with transactions as contexts on what it lends.
pub type Pool<DB> = tenure_pool::Pool<Connections<DB>>;

/// The future of a hook.
pub type HookFuture<'c> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

type Hook<DB> = Box<dyn for<'c> Fn(&'c mut <DB as sqlx::Database>::Connection) -> HookFuture<'c> + Send + Sync>;

/// Makes, checks, cleans and closes the connections of a [`Pool`].
///
/// What is lent is a [`Connection`], so that a transaction is a context on it. How many there are, how long they live
/// and how long one waits is for the [builder](tenure_pool::Pool::builder) of the pool to say.
///
/// | the pool | does |
/// |---|---|
/// | creates | opens a connection, then calls [`after_connect`](Self::after_connect) |
/// | checks | a ping |
/// | resets, after a use that did not complete | rolls back whatever is open, then calls [`on_reset`](Self::on_reset) |
/// | closes | takes leave of the server |
///
/// After a use that completed, a connection is lent again as it is: transactions on it have ended by themselves. One
/// on which a transaction of sqlx's own was left open or dropped unfinished is closed instead. What a body has begun in
/// plain SQL it has to end.
///
/// Connections to SQLite are closed one after the other, since the last one clears the log away and has to know that
/// it is the last.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # mod only {
/// use sqlx::sqlite::SqliteConnectOptions;
/// use tenure::with;
/// use tenure_sqlx::pool::{Connections, Pool};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # pub async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("notes.db");
/// let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
/// let connections = Connections::<sqlx::Sqlite>::new(options).after_connect(|connection| {
///     Box::pin(async {
///         let schema = "CREATE TABLE IF NOT EXISTS notes (text TEXT)";
///         sqlx::query(schema).execute(connection).await.map(drop)
///     })
/// });
/// let pool = Pool::builder(connections).max_size(4).build()?;
/// let count = with(pool, async |pool| {
///     with(pool.get(), async |connection| {
///         with(connection.transaction().immediate(), async |transaction| {
///             sqlx::query("INSERT INTO notes VALUES ('kept')").execute(&mut **transaction).await?;
///             Ok::<_, sqlx::Error>(())
///         })
///         .await?; // committed
///         let count = "SELECT count(*) FROM notes";
///         let count: i64 = sqlx::query_scalar(count).fetch_one(&mut ***connection).await?;
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(count)
///     })
///     .await // returned to the pool
/// })
/// .await?; // all closed
/// assert_eq!(count, 1);
/// # Ok(()) }
/// # }
/// # #[cfg(feature = "sqlite")]
/// # only::main().unwrap();
/// ```
pub struct Connections<DB: Backend> {
    options: RwLock<Options<DB>>,
    after_connect: Option<Hook<DB>>,
    on_reset: Option<Hook<DB>>,
    cancel: Option<Identify<DB>>,
    /// Held by the one that closes, where only one may.
    closing: Mutex<()>,
}

impl<DB: Backend> Connections<DB> {
    /// Connections that are opened like this.
    pub fn new(options: <DB::Connection as sqlx::Connection>::Options) -> Self {
        let (options, closing) = (RwLock::new(options), Mutex::new(()));
        Self { options, after_connect: None, on_reset: None, cancel: None, closing }
    }

    /// What to do with a connection once it is open and before it is lent: `SET` a variable, for instance. When it
    /// fails, the connection is closed, and counts as not created.
    #[must_use = "it is a setter of a builder"]
    pub fn after_connect(
        mut self,
        hook: impl for<'c> Fn(&'c mut DB::Connection) -> HookFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.after_connect = Some(Box::new(hook));
        self
    }

    /// What else to clean after a use that did not complete, when no transaction is open any more: variables of the
    /// session, temporary tables, advisory locks. When it fails, the connection is closed.
    ///
    /// Leave the prepared statements alone, which sqlx counts on: on PostgreSQL `RESET ALL` and
    /// `SELECT pg_advisory_unlock_all()`, not `DISCARD ALL`.
    #[must_use = "it is a setter of a builder"]
    pub fn on_reset(
        mut self,
        hook: impl for<'c> Fn(&'c mut DB::Connection) -> HookFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.on_reset = Some(Box::new(hook));
        self
    }

    /// Opens connections with other options from now on: a new password, another host. To replace those that are open
    /// as well, call [`invalidate_all`](tenure_pool::Pool::invalidate_all) afterwards.
    ///
    /// From a pool: `pool.manager().set_options(…)`.
    pub fn set_options(&self, options: <DB::Connection as sqlx::Connection>::Options) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// The options with which connections are opened now.
    pub fn options(&self) -> <DB::Connection as sqlx::Connection>::Options {
        self.options.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn close_in_turn(&self, mut connection: Connection<DB>) -> Result<(), Error> {
        // Whoever waits for a transaction keeps nobody from closing; why it failed the exit says.
        let _ = connection.ready().await;
        let _turn = if DB::CLOSES_IN_TURN { Some(self.closing.lock().await) } else { None };
        connection.exit(Outcome::Completed).await
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<DB: Cancel> Connections<DB> {
    /// Whether a statement that a dropped body has left running is stopped before the connection is cleaned: see
    /// [`Connect::cancel_statements`]. The default is no.
    #[must_use = "it is a setter of a builder"]
    pub fn cancel_statements(mut self, yes: bool) -> Self {
        self.cancel = yes.then(identify::<DB>);
        self
    }
}

impl<DB: Backend> Manager for Connections<DB> {
    type Resource = Connection<DB>;
    type Error = Error;

    async fn create(&self, _: CreateContext) -> Result<Connection<DB>, Error> {
        // The pool itself pauses between attempts, for all who wait.
        let mut connection =
            Connect::<DB>::new(self.options()).retry(Retry::never()).cancel(self.cancel).await?;
        if let Some(hook) = &self.after_connect
            && let Err(error) = hook(&mut connection).await
        {
            let failed = Error::new::<DB>(Stage::AfterConnect, error);
            return Err(failed.with_cleanup(self.close_in_turn(connection).await.err()));
        }
        Ok(connection)
    }

    async fn reset(&self, connection: &mut Connection<DB>, _: Context) -> Result<(), Error> {
        connection.ready().await?;
        let stopped = stop_abandoned(connection.holder_mut(), DB::ANSWER_LIMIT).await;
        stopped.map_err(|error| Error::new::<DB>(Stage::Rollback, error))?;
        let connection = connection.ready().await?;
        let rolled_back = within(DB::ANSWER_LIMIT, DB::roll_back(connection)).await;
        rolled_back.map_err(|error| Error::new::<DB>(Stage::Rollback, error))?;
        match &self.on_reset {
            Some(hook) => hook(connection).await.map_err(|error| Error::new::<DB>(Stage::Reset, error)),
            None => Ok(()),
        }
    }

    async fn check(&self, connection: &mut Connection<DB>, _: Context) -> Result<(), Error> {
        let failed = |error| Error::new::<DB>(Stage::Check, error);
        let connection = connection.ready().await?;
        within(DB::ANSWER_LIMIT, DB::settle(connection)).await.map_err(failed)?;
        within(DB::ANSWER_LIMIT, connection.ping()).await.map_err(failed)
    }

    async fn close(&self, connection: Connection<DB>, _: Context) -> Result<(), Error> {
        self.close_in_turn(connection).await
    }

    fn is_broken(&self, connection: &Connection<DB>) -> bool {
        !connection.is_idle()
    }

    fn assess(&self, connection: &mut Connection<DB>, _: LeaseEnd<'_>) -> Next {
        if connection.is_closed() { Next::Close } else { Next::Reset }
    }

    fn is_permanent(&self, error: &Error) -> bool {
        error.is_permanent()
    }
}

impl<DB: Backend> fmt::Debug for Connections<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("database", &DB::NAME)
            .field("after_connect", &self.after_connect.is_some())
            .field("on_reset", &self.on_reset.is_some())
            .field("cancel_statements", &self.cancel.is_some())
            .finish_non_exhaustive()
    }
}
