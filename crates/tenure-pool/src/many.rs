//! Several resources at once, all or none.
//!
//! # Invariants
//! 1. One get of several collects at a time; the others hold nothing while they wait for their turn. So no two of them
//!    hold what the other needs.
//! 2. What was collected in vain goes back as it came: it was not used.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::time::Duration;

use tenure::{AsyncExit, Outcome};
use tokio::time::{Instant, timeout_at};

use crate::clock::NEVER;
use crate::error::{GetError, GetErrorKind};
use crate::get::Get;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::settings::load;

/// Leases that were taken together; it dereferences to a slice of them. Returned by [`Pool::get_many`].
///
/// As a context it gives all of them back with the outcome of the body.
#[must_use = "leases that are dropped give their resources back"]
pub struct Leases<M: Manager>(Vec<Lease<M>>);

impl<M: Manager> Leases<M> {
    /// Gives all resources back as ones whose use completed.
    pub fn complete(self) {
        self.0.into_iter().for_each(Lease::complete);
    }

    /// Returns the leases one by one.
    #[must_use]
    pub fn into_inner(self) -> Vec<Lease<M>> {
        self.0
    }
}

impl<M: Manager> Deref for Leases<M> {
    type Target = [Lease<M>];

    fn deref(&self) -> &[Lease<M>] {
        &self.0
    }
}

impl<M: Manager> DerefMut for Leases<M> {
    fn deref_mut(&mut self) -> &mut [Lease<M>] {
        &mut self.0
    }
}

impl<M: Manager> fmt::Debug for Leases<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<M: Manager> AsyncExit for Leases<M> {
    type Error = GetError;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), GetError> {
        for lease in self.0 {
            lease.exit(outcome).await?;
        }
        Ok(())
    }
}

/// Leases that are being collected; dropped, they go back unused.
struct Collected<M: Manager>(Vec<Lease<M>>);

impl<M: Manager> Drop for Collected<M> {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Lease::complete);
    }
}

/// A get of several resources under way. Made by [`Pool::get_many`], which says all about it.
#[derive(Debug)]
#[must_use = "a get does nothing until it is awaited"]
pub struct GetMany<M: Manager> {
    pool: Pool<M>,
    count: usize,
    limit: Option<Option<Duration>>,
    location: &'static Location<'static>,
}

impl<M: Manager> GetMany<M> {
    /// Waits for at most this long for all of them, or without a limit, instead of the pool's
    /// [`get_timeout`](crate::Builder::get_timeout).
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    async fn collect(self) -> Result<Leases<M>, GetError> {
        let Self { pool, count, limit, location } = self;
        let shared = &pool.shared;
        let since = shared.ext.clock.now().max(2);
        if count > shared.lock().state.max_size {
            return Err(shared.get_error(GetErrorKind::TooMany, since));
        }
        let of_pool = load(&shared.ext.tuning.get);
        let limit = limit.unwrap_or((of_pool != NEVER).then_some(Duration::from_nanos(of_pool)));
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let turn = shared.ext.gathering.lock();
        let _turn = match deadline {
            Some(deadline) => timeout_at(deadline, turn)
                .await
                .map_err(|_| shared.get_error(GetErrorKind::Exhausted, since))?,
            None => turn.await,
        };
        let mut collected = Collected(Vec::with_capacity(count));
        while collected.0.len() < count {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            collected.0.push(Get::new(&pool, location).timeout(left).await?);
        }
        Ok(Leases(std::mem::take(&mut collected.0)))
    }
}

impl<M: Manager> IntoFuture for GetMany<M> {
    type Output = Result<Leases<M>, GetError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.collect())
    }
}

impl<M: Manager> Pool<M> {
    /// Takes several resources, all or none. The result can be awaited, and is a context for [`with`](tenure::with).
    ///
    /// Calls of this function do not wait for each other in a circle: one of them collects at a time, in the order of
    /// asking, and the others hold nothing meanwhile. What it has collected is not used while it waits for the rest. A
    /// task that holds a lease already should not ask for more than the pool has besides it.
    ///
    /// # Errors
    /// At once with [`TooMany`](GetErrorKind::TooMany), if more are asked for than may be alive; else as
    /// [`get`](Self::get), with one time limit for all of them. What was collected goes back.
    ///
    /// # Cancel safety
    /// As `get`; what was collected goes back.
    #[track_caller]
    pub fn get_many(&self, count: usize) -> GetMany<M> {
        GetMany { pool: self.clone(), count, limit: None, location: Location::caller() }
    }
}
