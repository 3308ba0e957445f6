//! Connections for [`tenure_pool`]: a manager that opens, checks, cleans and closes them as the pool asks for it, and in
//! [`PoolExt`] what is done with those that it lends.
//!
//! # Invariants
//! 1. A connection that is away, because a transaction on it has not ended, is waited for before anything else is done
//!    with it. One that a transaction has closed is never cleaned, only closed.
//! 2. A use that completed hands on at once only what is here and in its known place in the protocol. Everything else is
//!    tended first, in the background: see [`Connections::check_completed`].
//! 3. A connection is clean after a reset that succeeded: no transaction is open, no answer is outstanding, its session
//!    is set back as far as was asked for, the user's hooks have run, and an echo has come back after the last of them.

mod ext;
mod fed;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod lock;
mod manager;
mod nested;
mod replicated;
mod spoilt;

use std::fmt;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};

use tenure::Failure;
use tenure_pool::BuildError;
use tokio::sync::{Mutex, OnceCell};

use crate::Backend;
use crate::cancel::Stop;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::cancel::{Cancel, stop};
use crate::connect::Options;

pub use ext::{PoolExt, Pooled};
#[cfg(feature = "postgres")]
pub(crate) use fed::AsyncRead;
pub use fed::PooledStream;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use lock::AdvisoryLock;
pub(crate) use nested::end_use;
pub use replicated::{MemberStatus, Reader, ReadsFrom, ReplicatedPool, ReplicatedPoolBuilder, Role, Writer};
pub use spoilt::is_spoilt;
pub use tenure_pool::{GetError, GetErrorKind, PoolError};

/// A pool of connections, with transactions as contexts on what it lends.
pub type Pool<DB> = tenure_pool::Pool<Connections<DB>>;

/// The future of a hook.
pub type HookFuture<'c> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

/// The future of a rule that says what a member of a [`ReplicatedPool`] is.
pub type RoleFuture<'c> = Pin<Box<dyn Future<Output = Result<Role, sqlx::Error>> + Send + 'c>>;

/// Whether a connection is to be closed after this failure of a body.
type Rule = Box<dyn Fn(Failure<'_>) -> bool + Send + Sync>;

/// When the session of a pooled connection is set back to what it was when it was opened.
///
/// On PostgreSQL it is done by statements that leave nothing of a user's (role, settings, cursors, `LISTEN`, advisory
/// locks, temporary tables, sequences, statements prepared in SQL) and spare what the driver has prepared. It takes one
/// round trip, besides the one that ends what is open.
///
/// MySQL and MariaDB know no statement for it, so a new session takes the place of the old one. It takes as long
/// as connecting does.
///
/// SQLite keeps its session whatever is chosen: an in-memory database would be gone with it.
///
/// All of it is done in the background, while nobody else has the connection. A use of one `SELECT` on a pool of one
/// connection, measured on loopback on 2026-11-28 beside other builds (`BENCHMARKS.md`):
///
/// | | completed, `OnFailure` | completed, `Always` | failed, `Never` | failed, `OnFailure` |
/// |---|---:|---:|---:|---:|
/// | PostgreSQL | 60 µs | 181 µs | 85 µs | 271 µs |
/// | MariaDB | 166 µs | 630 µs | 99 µs | 575 µs |
/// | SQLite | 13 µs | 22 µs | 23 µs | 24 µs |
///
/// So the default costs nothing where all goes well, and leaves nothing where it does not.
///
/// Then [`after_connect`](Connections::after_connect) is called again, on all databases: what it had set is set again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionReset {
    /// Never: a setting of one user is seen by the next.
    Never,
    /// After a use that did not complete. One that completed is expected to have cleared up; what a use that was
    /// cancelled would have cleared up it could not. A lease of the pool's own `get` that is merely dropped counts as a use
    /// that did not complete: end it with `with`, or with `complete`.
    #[default]
    OnFailure,
    /// After each use, in the background.
    Always,
}

type Hook<DB> = Box<dyn for<'c> Fn(&'c mut <DB as sqlx::Database>::Connection) -> HookFuture<'c> + Send + Sync>;

/// Makes, checks, cleans and closes the connections of a [`Pool`].
///
/// What is lent is a [`Connection`](crate::Connection), so that a transaction is a context on it. How many there are, how long they live
/// and how long one waits is for the [builder](tenure_pool::Pool::builder) of the pool to say.
///
/// | the pool | does |
/// |---|---|
/// | creates | opens a connection, then calls [`after_connect`](Self::after_connect) |
/// | lends | calls [`on_get`](Self::on_get) |
/// | checks | asks for an echo of a random word, and rolls back whatever is open |
/// | resets, after a use that did not complete | rolls back whatever is open, [sets the session back](Self::session_reset), calls [`on_reset`](Self::on_reset) |
/// | takes back | after the check or reset calls [`on_return`](Self::on_return) |
/// | closes | takes leave of the server |
///
/// After a use that completed, a connection is lent again as it is where nothing can have been left behind: after a
/// transaction of this crate's. After other statements it is [checked](Self::check_completed) first, in the background.
/// An error that says that the connection is of no more use [closes it](Self::close_when).
///
/// # Guarantees
/// - A user's first answer is that of the user's own first statement: an echo has come back since the last use. What is
///   out of place is closed.
/// - No transaction is open that another user has begun, in whatever way.
/// - After a use that did not complete, nothing is left in the session of a server that a user has set.
///
/// These hold on every path: for what [`PoolExt`] lends, for leases of the pool's own `get`, `get_many`, `try_get` and
/// `scope`, for what is given back by `complete` or by the exit of a body, and for connections that were
/// [added](tenure_pool::Pool::add). [`check_completed`](Self::check_completed) switches the check after completed uses
/// off. A manager of your own that wraps this one has to pass every method of [`Manager`](tenure_pool::Manager) on,
/// those with defaults included.
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
    on_get: Option<Hook<DB>>,
    on_return: Option<Hook<DB>>,
    session_reset: SessionReset,
    check_completed: bool,
    proves_first: bool,
    rolled_back: bool,
    close_when: Option<Rule>,
    cancel: Option<Stop<DB>>,
    /// Held by the one that closes, where only one may.
    closing: Mutex<()>,
    /// Whether one connection is kept open besides those of the pool, and that one.
    keeps_one: bool,
    kept: OnceCell<DB::Connection>,
}

impl<DB: Backend> Connections<DB> {
    /// Connections that are opened like this.
    pub fn new(options: <DB::Connection as sqlx::Connection>::Options) -> Self {
        let (options, closing) = (RwLock::new(options), Mutex::new(()));
        Self {
            options,
            after_connect: None,
            on_reset: None,
            on_get: None,
            on_return: None,
            session_reset: SessionReset::default(),
            check_completed: true,
            proves_first: false,
            rolled_back: false,
            close_when: None,
            cancel: None,
            closing,
            keeps_one: false,
            kept: OnceCell::new(),
        }
    }

    /// Sets what to do with a connection once it is open and before it is lent: `SET` a variable, for instance. When it
    /// fails, the connection is closed, and counts as not created.
    ///
    /// It is called again whenever the session has been [set back](Self::session_reset), so it has to do no harm where
    /// it was called before.
    #[must_use = "it is a setter of a builder"]
    pub fn after_connect(
        mut self,
        hook: impl for<'c> Fn(&'c mut DB::Connection) -> HookFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.after_connect = Some(Box::new(hook));
        self
    }

    /// Sets what else to do after a use that did not complete, when no transaction is open any more and the session has been
    /// [set back](Self::session_reset). When it fails, the connection is closed.
    ///
    /// Leave the prepared statements alone, which sqlx counts on: no `DISCARD ALL`, no `DEALLOCATE ALL`.
    #[must_use = "it is a setter of a builder"]
    pub fn on_reset(
        mut self,
        hook: impl for<'c> Fn(&'c mut DB::Connection) -> HookFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.on_reset = Some(Box::new(hook));
        self
    }

    /// Sets what is done with a connection at each get, before it is lent: what `before_acquire` is to sqlx. It sets a
    /// session up for its user, for instance. When it fails, the connection is closed, and the get takes another one.
    ///
    /// It is called at the first get, too, and by whatever way a connection is taken. It is awaited by the get, and an
    /// echo after it; the [check timeout](tenure_pool::Builder::check_timeout) and the time limit of the get limit both.
    #[must_use = "it is a setter of a builder"]
    pub fn on_get(
        mut self,
        hook: impl for<'c> Fn(&'c mut DB::Connection) -> HookFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.on_get = Some(Box::new(hook));
        self
    }

    /// Sets what is done with a connection after each use, completed or not, before it is lent again: what
    /// `after_release` is to sqlx. It is called by whatever way a connection is given back. It runs in the background,
    /// after the check or the reset; the [reset timeout](tenure_pool::Builder::reset_timeout) limits it. When it fails,
    /// the connection is closed.
    ///
    /// With it no connection is lent again at once.
    #[must_use = "it is a setter of a builder"]
    pub fn on_return(
        mut self,
        hook: impl for<'c> Fn(&'c mut DB::Connection) -> HookFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.on_return = Some(Box::new(hook));
        self
    }

    /// When the session of a connection is set back to what it was when it was opened. The default is
    /// [`SessionReset::OnFailure`].
    #[must_use = "it is a setter of a builder"]
    pub fn session_reset(mut self, when: SessionReset) -> Self {
        self.session_reset = when;
        self
    }

    /// Sets whether a connection whose use completed is checked before it is lent again: in the background, unless the use
    /// was a transaction of this crate's, whose end has proved the same. The default is yes.
    ///
    /// The check asks for an echo of a random word and rolls back what transaction is open. It costs one round trip
    /// during which the connection is not there for others. A connection whose echo does not come back, as after a
    /// `COPY` on PostgreSQL that was not brought to its end, is closed.
    ///
    /// Switch it off if every use brings its statements to their end and its transactions as well, and nothing is ever
    /// dropped half-way inside a body that completes: a timeout around a statement, a stream that is not read to its end.
    #[must_use = "it is a setter of a builder"]
    pub fn check_completed(mut self, yes: bool) -> Self {
        self.check_completed = yes;
        self
    }

    /// Sets whether the place of a connection in the protocol is proved before the `COMMIT` of a transaction of
    /// [`PoolExt::transaction`] is sent, or along with it, in one message. The default is along with it, which saves a
    /// round trip on PostgreSQL and SQLite. On MySQL it is always before.
    ///
    /// Both ways an `Ok` says that the transaction was whole and is committed. They differ if the body itself has lost the
    /// place and completes nevertheless, after a `COPY` of sqlx's own methods on PostgreSQL whose future was dropped
    /// half-way. Proved before, the transaction is rolled back. Along with it, the server may have committed it when the loss
    /// is noticed: the error's [fate](crate::Error::fate) is [unknown](crate::Fate::Unknown) then. The copies of this crate
    /// ([`copy_in`](crate::postgres::copy_in)) do not lose the place.
    #[must_use = "it is a setter of a builder"]
    pub fn prove_before_commit(mut self, yes: bool) -> Self {
        self.proves_first = yes;
        self
    }

    /// Sets whether all that is done on a connection is one transaction, which is rolled back when the connection is closed: for
    /// tests, whose code is given the pool unchanged. See [`test_pool`]. The default is no.
    #[must_use = "it is a setter of a builder"]
    pub fn always_rolled_back(mut self, yes: bool) -> Self {
        self.rolled_back = yes;
        self
    }

    /// After which failures of a body the connection is closed, not cleaned. The default is [`is_spoilt`], for any error
    /// type that is or shows an error of sqlx's.
    ///
    /// ```
    /// use tenure_sqlx::pool::{Connections, is_spoilt};
    /// # #[derive(Debug)] enum AppError { Database(sqlx::Error), Other }
    /// # #[cfg(feature = "sqlite")]
    /// # fn example(options: sqlx::sqlite::SqliteConnectOptions) -> Connections<sqlx::Sqlite> {
    /// Connections::new(options).close_when(|failure| match failure.downcast_ref() {
    ///     Some(AppError::Database(error)) => is_spoilt(error),
    ///     _ => false,
    /// })
    /// # }
    /// ```
    #[must_use = "it is a setter of a builder"]
    pub fn close_when(mut self, rule: impl Fn(Failure<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.close_when = Some(Box::new(rule));
        self
    }

    /// Opens connections with other options from now on: a new password, another host. To replace those that are open
    /// as well, call [`invalidate_all`](tenure_pool::Pool::invalidate_all) afterwards.
    ///
    /// From a pool: `pool.manager().set_options(…)`.
    pub fn set_options(&self, options: <DB::Connection as sqlx::Connection>::Options) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// Returns the options with which connections are opened now.
    pub fn options(&self) -> <DB::Connection as sqlx::Connection>::Options {
        self.options.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(feature = "sqlite")]
impl Connections<sqlx::Sqlite> {
    /// Connections to a database in memory of their own, which keeps its data as long as the pool lives: see
    /// [`sqlite::in_memory`](crate::sqlite::in_memory).
    #[must_use]
    pub fn in_memory() -> Self {
        let mut connections = Self::new(crate::sqlite::in_memory());
        connections.keeps_one = true;
        connections
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<DB: Cancel> Connections<DB> {
    /// Sets whether a statement that a dropped body has left running is stopped before the connection is cleaned: see
    /// [`Connect::cancel_statements`](crate::Connect::cancel_statements). The default is no.
    #[must_use = "it is a setter of a builder"]
    pub fn cancel_statements(mut self, yes: bool) -> Self {
        self.cancel = yes.then(stop::<DB>);
        self
    }
}

/// Returns a pool for a test: whatever is committed on it is seen by all who use this pool, and by nobody else, and is rolled
/// back when the pool is left.
///
/// It has one connection, with a transaction that is never committed. [`PoolExt::transaction`] sets a savepoint in it,
/// which stands for a transaction: a commit releases it, a rollback goes back to it. A use of
/// [`PoolExt::connection`] has a savepoint as well, so that a statement that fails in it costs what it did and no more.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # mod only {
/// # type Error = Box<dyn std::error::Error + Send + Sync>;
/// use sqlx::Sqlite;
/// use tenure::with;
/// use tenure_sqlx::pool::{Connections, Pool, PoolExt, test_pool};
///
/// /// The code under test.
/// async fn add(pool: &Pool<Sqlite>, text: &str) -> Result<(), sqlx::Error> {
///     with(pool.transaction(), async |transaction| {
///         sqlx::query("INSERT INTO notes VALUES (?)").bind(text).execute(transaction.conn()).await?;
///         Ok(())
///     })
///     .await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # pub async fn main() -> Result<(), Error> {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("notes.db");
/// # let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
/// # with(tenure_sqlx::sqlite::connect(options.clone()), async |connection| {
/// #     sqlx::query("CREATE TABLE notes (text TEXT)").execute(connection.conn()).await?;
/// #     Ok::<_, Error>(())
/// # }).await?;
/// for _ in 0..2 {
///     with(test_pool(Connections::new(options.clone()))?, async |pool| {
///         add(pool, "seen in this test").await?;
///         let notes = with(pool.connection(), async |connection| {
///             let count = sqlx::query_scalar("SELECT count(*) FROM notes");
///             Ok::<i64, sqlx::Error>(count.fetch_one(connection.conn()).await?)
///         });
///         assert_eq!(notes.await?, 1);
///         Ok::<_, Error>(())
///     })
///     .await?; // rolled back
/// }
/// # Ok(()) }
/// # }
/// # #[cfg(feature = "sqlite")]
/// # only::main().unwrap();
/// ```
///
/// What a single transaction cannot do, it cannot do either: two connections at once wait for each other up to the time
/// limit of the get, the options of a transaction have no effect, and what is checked at a commit is not. A connection
/// that is lost, as by a statement that is dropped half-way on MySQL, takes along all that was done.
///
/// # Errors
/// As [`Builder::build`](tenure_pool::Builder::build).
pub fn test_pool<DB: Backend>(connections: Connections<DB>) -> Result<Pool<DB>, BuildError> {
    let builder = Pool::builder(connections.always_rolled_back(true)).max_size(1);
    builder.idle_timeout(None).max_lifetime(None).build()
}

impl<DB: Backend> fmt::Debug for Connections<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("database", &DB::NAME)
            .field("after_connect", &self.after_connect.is_some())
            .field("on_reset", &self.on_reset.is_some())
            .field("on_get", &self.on_get.is_some())
            .field("on_return", &self.on_return.is_some())
            .field("session_reset", &self.session_reset)
            .field("check_completed", &self.check_completed)
            .field("prove_before_commit", &self.proves_first)
            .field("always_rolled_back", &self.rolled_back)
            .field("close_when", &self.close_when.is_some())
            .field("cancel_statements", &self.cancel.is_some())
            .finish_non_exhaustive()
    }
}
