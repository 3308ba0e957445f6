//! How a replicated pool is set up.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure_pool::{BuildError, Builder};
use tokio::sync::Notify;

use super::board::Board;
use super::{Inner, Member, ReadsFrom, ReplicatedPool};
use crate::Backend;
use crate::pool::{Connections, RoleFuture};

/// A rule that says what a member is.
pub(super) type RoleRule<DB> =
    Box<dyn for<'c> Fn(&'c mut <DB as sqlx::Database>::Connection) -> RoleFuture<'c> + Send + Sync>;

/// What is fixed when the pool is built.
pub(super) struct Terms<DB: Backend> {
    pub(super) reads_from: ReadsFrom,
    pub(super) role_by: Option<RoleRule<DB>>,
    pub(super) role_timeout: Duration,
    pub(super) role_interval: Duration,
    pub(super) failover_timeout: Duration,
}

/// Sets up a [`ReplicatedPool`]. Made by [`ReplicatedPool::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct ReplicatedPoolBuilder<DB: Backend> {
    members: Vec<(String, Builder<Connections<DB>>)>,
    terms: Terms<DB>,
}

impl<DB: Backend> ReplicatedPoolBuilder<DB> {
    pub(super) fn new(name: String, pool: Builder<Connections<DB>>) -> Self {
        let terms = Terms {
            reads_from: ReadsFrom::default(),
            role_by: None,
            role_timeout: Duration::from_secs(5),
            role_interval: Duration::from_secs(5),
            failover_timeout: Duration::from_secs(10),
        };
        Self { members: vec![(name, pool)], terms }
    }

    /// Adds a member: a server, and how the connections to it are pooled.
    ///
    /// Its pool [fails fast](Builder::fail_fast) whatever its builder says, so that a get goes on to another member.
    pub fn member(mut self, name: impl Into<String>, pool: Builder<Connections<DB>>) -> Self {
        self.members.push((name.into(), pool));
        self
    }

    /// Sets which members serve reads. Default: [`ReadsFrom::Replicas`].
    pub fn reads_from(mut self, members: ReadsFrom) -> Self {
        self.terms.reads_from = members;
        self
    }

    /// Sets the rule that says what a member is, from a connection to it. The rule may ask the server. Default: on
    /// PostgreSQL a replica is in recovery or has read-only transactions by default; on MySQL and MariaDB `read_only` or
    /// `innodb_read_only` is on; on SQLite `query_only` is.
    ///
    /// An error counts as a member that does not answer.
    pub fn role_by(
        mut self,
        rule: impl for<'c> Fn(&'c mut DB::Connection) -> RoleFuture<'c> + Send + Sync + 'static,
    ) -> Self {
        self.terms.role_by = Some(Box::new(rule));
        self
    }

    /// Sets how long it may take to ask a member for its role: to get a connection, and to have the answer, each. Default:
    /// 5 s.
    pub fn role_timeout(mut self, limit: Duration) -> Self {
        self.terms.role_timeout = limit;
        self
    }

    /// Sets after how long a get has the members asked again, in the background. Default: 5 s.
    pub fn role_interval(mut self, interval: Duration) -> Self {
        self.terms.role_interval = interval;
        self
    }

    /// Sets how long a get waits for a member that fits, while members are asked again and again: what a failover may
    /// take. Default: 10 s.
    pub fn failover_timeout(mut self, limit: Duration) -> Self {
        self.terms.failover_timeout = limit;
        self
    }

    /// Builds the pool. Nothing is opened yet.
    ///
    /// # Errors
    /// If the sizes of a member's pool contradict each other.
    pub fn build(self) -> Result<ReplicatedPool<DB>, BuildError> {
        let Self { members, terms } = self;
        let members = members.into_iter().map(|(name, pool)| {
            let pool = pool.fail_fast(true).build()?;
            Ok(Member { name, pool })
        });
        let members: Vec<_> = members.collect::<Result<_, BuildError>>()?;
        let board = Mutex::new(Board::new(members.len()));
        let inner = Inner { members, terms, board, changed: Notify::new(), failovers: AtomicU64::new(0) };
        Ok(ReplicatedPool { inner: Arc::new(inner) })
    }
}

impl<DB: Backend> fmt::Debug for ReplicatedPoolBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatedPoolBuilder")
            .field("database", &DB::NAME)
            .field("members", &self.members.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("reads_from", &self.terms.reads_from)
            .field("role_by", &self.terms.role_by.is_some())
            .field("role_timeout", &self.terms.role_timeout)
            .field("role_interval", &self.terms.role_interval)
            .field("failover_timeout", &self.terms.failover_timeout)
            .finish()
    }
}
