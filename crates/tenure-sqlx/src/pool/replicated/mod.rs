//! A primary and its replicas as one pool with two ends.
//!
//! # Invariants
//! 1. Who is the primary is known from answers alone: each member is asked, and what it says holds until it is asked
//!    again. Nothing is concluded from the order or the names of members.
//! 2. A round asks all members side by side; one round runs at a time, and rounds have a pause between them.
//! 3. Every wait has a limit: for an answer `role_timeout`, for a member that fits `failover_timeout`, for a connection
//!    that of the member's pool.
//! 4. The lock is held for moves of plain data. Rules of users and pools are called without it.

mod ask;
mod board;
mod builder;
mod end;
mod route;

use std::fmt;
use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tenure::{AsyncExit, Outcome, hold};
use tenure_pool::{PoolError, Status};
use tokio::sync::Notify;

use super::Pool;
use crate::{Backend, Error};

use board::{Board, Fit};

pub use crate::backend::Role;
pub use board::ReadsFrom;
pub use builder::ReplicatedPoolBuilder;
pub use end::{Reader, Writer};

/// A primary and its replicas as one pool with two ends: [`read`](Self::read) and [`write`](Self::write).
///
/// Each member is a server with a pool of its own. Members are asked for their [`Role`], so it does not matter in which
/// order they are named, and a failover needs no new configuration. It is a handle; clones are of the same pool. It is
/// also a context: entering it waits until a primary is known, leaving it closes all members side by side.
///
/// ```no_run
/// use sqlx::{Postgres, postgres::PgConnectOptions};
/// use tenure::with;
/// use tenure_sqlx::pool::{Connections, Pool, PoolExt, ReplicatedPool};
///
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// # async fn example(one: PgConnectOptions, two: PgConnectOptions) -> Result<(), AnyError> {
/// let member = |options| Pool::builder(Connections::<Postgres>::new(options)).max_size(8);
/// let pool = ReplicatedPool::builder("one", member(one)).member("two", member(two)).build()?;
/// with(pool, async |pool| {
///     with(pool.write().transaction(), async |transaction| {
///         sqlx::query("INSERT INTO notes VALUES ('kept')").execute(transaction.conn()).await?;
///         Ok::<_, AnyError>(())
///     })
///     .await?;
///     with(pool.read().connection(), async |connection| {
///         let count = sqlx::query_scalar("SELECT count(*) FROM notes");
///         Ok::<i64, AnyError>(count.fetch_one(connection.conn()).await?)
///     })
///     .await?; // perhaps not there yet: a replica follows
///     Ok::<_, AnyError>(())
/// })
/// .await
/// # }
/// ```
///
/// # Guarantees
/// - A write gets a connection to a member that has said that it is the primary. A read gets one to a member that has
///   said that it is a replica, and one to the primary as far as [`reads_from`](ReplicatedPoolBuilder::reads_from) says.
/// - A member that cannot be connected to, that does not answer, or that says that it is [`Unfit`](Role::Unfit) is
///   evicted: it serves neither end. A get that was to be served by it goes to another one. The member comes back as soon
///   as it answers again.
/// - A write that fails because its server may only read, as after a failover (PostgreSQL `25006`; MySQL and MariaDB 1290,
///   1792, 1836), costs its connection, and members are asked which one is the primary before the next write goes anywhere.
/// - All connections to a member whose role has changed are replaced.
///
/// # What it does not do
/// - It does nothing a second time: a body that fails in a failover has failed, and it is for its caller to do it again.
/// - It cannot tell which of two members is right that both say they are the primary. It stays with the one it knows, or
///   takes the first. To fence the other off is for the database's keeper.
/// - It does not wait for a replica to follow: a read may be older than the write before it. Read on the
///   [`write`](Self::write) end what has to be seen at once. A rule of your own,
///   [`role_by`](ReplicatedPoolBuilder::role_by), can declare replicas unfit that are too far behind.
///
/// # When members are asked
/// On entering; when a get finds no member that fits; after a failed use, at most once a second; and with a get, in the
/// background, if the last time was longer ago than the [`role_interval`](ReplicatedPoolBuilder::role_interval). While the
/// pool is not used, no member is asked.
pub struct ReplicatedPool<DB: Backend> {
    inner: Arc<Inner<DB>>,
}

/// The state of a member of a [`ReplicatedPool`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemberStatus {
    /// The name it was given.
    pub name: String,
    /// What it last said it was; `None` if it has not been heard yet, or has to be asked again.
    pub role: Option<Role>,
    /// `true` if it serves neither end at present, because it could not be reached or is unfit.
    pub is_evicted: bool,
    /// The state of its pool.
    pub pool: Status,
}

/// A server with its pool.
struct Member<DB: Backend> {
    name: String,
    pool: Pool<DB>,
}

struct Inner<DB: Backend> {
    members: Vec<Member<DB>>,
    terms: builder::Terms<DB>,
    board: Mutex<Board>,
    /// Told when a round has ended, and when a member is evicted or suspected.
    changed: Notify,
    failovers: AtomicU64,
}

impl<DB: Backend> Inner<DB> {
    fn board(&self) -> MutexGuard<'_, Board> {
        // A poisoned lock is in order: no code that can panic runs while it is held.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Backend> ReplicatedPool<DB> {
    /// Sets up a pool with this member; further ones are added with [`member`](ReplicatedPoolBuilder::member).
    pub fn builder(
        name: impl Into<String>,
        pool: tenure_pool::Builder<super::Connections<DB>>,
    ) -> ReplicatedPoolBuilder<DB> {
        ReplicatedPoolBuilder::new(name.into(), pool)
    }

    /// Returns the end for reading: its connections are to replicas.
    #[must_use]
    pub fn read(&self) -> Reader<DB> {
        Reader::new(Arc::clone(&self.inner))
    }

    /// Returns the end for writing: its connections are to the primary.
    #[must_use]
    pub fn write(&self) -> Writer<DB> {
        Writer::new(Arc::clone(&self.inner))
    }

    /// Waits until a primary is known, for as long as the [`failover_timeout`](ReplicatedPoolBuilder::failover_timeout)
    /// allows. Entering the pool by [`with`](tenure::with) does the same.
    ///
    /// # Errors
    /// If none is known by then, at [`Stage::Get`](crate::Stage::Get).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn open(&self) -> Result<(), Error> {
        route::wait_for_member(&self.inner, Fit::Write).await.map(drop)
    }

    /// Closes all members, side by side, each as [`Pool::close`](tenure_pool::Pool::close) does.
    ///
    /// # Errors
    /// If a member could not be closed in time, at [`Stage::Close`](crate::Stage::Close): the first of them, the others
    /// as its [`cleanup_error`](Error::cleanup_error).
    ///
    /// # Cancel safety
    /// The closing goes on in the background.
    pub async fn close(&self) -> Result<(), Error> {
        let closes = self.inner.members.iter().map(|member| member.pool.close()).collect();
        let mut failed = None;
        for report in join_all(closes).await.into_iter().rev().filter(|report| !report.is_clean()) {
            failed = Some(Error::not_closed(PoolError::Close(report)).with_cleanup(failed));
        }
        failed.map_or(Ok(()), Err)
    }

    /// Returns what is known of each member, in the order in which they were named.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        let known = self.inner.board().known();
        let members = self.inner.members.iter().zip(known);
        members
            .map(|(member, (role, is_evicted))| MemberStatus {
                name: member.name.clone(),
                role,
                is_evicted,
                pool: member.pool.status(),
            })
            .collect()
    }

    /// Returns the pool of the member of this name, such as to resize it or to read its figures.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Pool<DB>> {
        self.inner.members.iter().find(|member| member.name == name).map(|member| &member.pool)
    }

    /// Returns the name of the primary, if it is known.
    #[must_use]
    pub fn primary(&self) -> Option<&str> {
        let primary = self.inner.board().primary()?;
        Some(&self.inner.members[primary].name)
    }

    /// Returns how many times another member has become the primary.
    #[must_use]
    pub fn failovers(&self) -> u64 {
        // Relaxed: a figure.
        self.inner.failovers.load(Ordering::Relaxed)
    }
}

/// Awaits all of them, side by side.
async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut is_ready = true;
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => is_ready = false,
            }
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// Entering waits for a primary. If there is none, or it is cancelled, what was opened is closed again.
impl<DB: Backend> IntoFuture for ReplicatedPool<DB> {
    type Output = Result<Self, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            // Held, so that a cancelled opening closes as a tenure does, and `drain` knows of it.
            let held = hold(ready(Ok::<_, Error>(self))).await?;
            match held.open().await {
                Ok(()) => Ok(held.disarm()),
                Err(error) => {
                    let closed = held.disarm().close().await;
                    Err(error.with_cleanup(closed.err()))
                }
            }
        })
    }
}

/// Leaving it closes all members, other handles notwithstanding.
impl<DB: Backend> AsyncExit for ReplicatedPool<DB> {
    type Error = Error;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Error> {
        self.close().await
    }
}

impl<DB: Backend> Clone for ReplicatedPool<DB> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<DB: Backend> fmt::Debug for ReplicatedPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatedPool")
            .field("database", &DB::NAME)
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}
