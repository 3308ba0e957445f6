//! The two ends, and what they learn from the uses that end.

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};

use tenure::{AsyncExit as _, Outcome};
use tenure_pool::Lease;
use tokio::time::Instant;

use super::ask::ask;
use super::board::Fit;
use super::route::find;
use super::{Inner, ReplicatedPool};
use crate::lease::{Holder, Keep, Keeper};
use crate::pool::ext::begin;
use crate::pool::{Connections, PoolExt, Pooled};
use crate::run::failure_says;
use crate::{Backend, Begin, Error};

macro_rules! ends {
    ($($(#[$doc:meta])* $name:ident, $fit:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// It is a cheap handle. Its contexts are those of [`PoolExt`].
        ///
        /// # Errors
        /// Entering one of its contexts fails at [`Stage::Get`](crate::Stage::Get) if no member fits within the
        /// [`failover_timeout`](super::ReplicatedPoolBuilder::failover_timeout), and else as that of a member's pool.
        pub struct $name<DB: Backend> {
            inner: Arc<Inner<DB>>,
        }

        impl<DB: Backend> $name<DB> {
            pub(super) fn new(inner: Arc<Inner<DB>>) -> Self {
                Self { inner }
            }

            /// Returns the pool of which this is an end.
            #[must_use]
            pub fn pool(&self) -> ReplicatedPool<DB> {
                ReplicatedPool { inner: Arc::clone(&self.inner) }
            }

            fn fit(&self) -> Fit {
                let fit: fn(&Inner<DB>) -> Fit = $fit;
                fit(&self.inner)
            }
        }

        impl<DB: Backend> PoolExt<DB> for $name<DB> {
            #[track_caller]
            fn connection(&self) -> impl Future<Output = Result<Pooled<DB>, Error>> + Send + 'static {
                let keeper = keeper(&self.inner, self.fit(), Location::caller());
                async move { begin(keeper.await?).await }
            }

            #[track_caller]
            fn transaction(&self) -> Begin<'static, DB> {
                Begin::pooled(Box::pin(keeper(&self.inner, self.fit(), Location::caller())))
            }
        }

        impl<DB: Backend> Clone for $name<DB> {
            fn clone(&self) -> Self {
                Self { inner: Arc::clone(&self.inner) }
            }
        }

        impl<DB: Backend> fmt::Debug for $name<DB> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("pool", &self.pool()).finish()
            }
        }
    )*};
}

ends! {
    /// The end of a [`ReplicatedPool`] for reading. Made by [`ReplicatedPool::read`].
    Reader, |inner| Fit::Read(inner.terms.reads_from);
    /// The end of a [`ReplicatedPool`] for writing. Made by [`ReplicatedPool::write`].
    Writer, |_| Fit::Write;
}

fn keeper<DB: Backend>(
    inner: &Arc<Inner<DB>>,
    fit: Fit,
    location: &'static Location<'static>,
) -> impl Future<Output = Result<Keeper<DB>, Error>> + Send + use<DB> {
    let inner = Arc::clone(inner);
    async move {
        let found = find(&inner, fit, location).await?;
        let is_write = fit == Fit::Write;
        let inner = Arc::downgrade(&inner);
        Ok(Keeper(Box::new(Routed { lease: found.lease, inner, member: found.member, is_write })))
    }
}

/// A connection that was found for one of the ends. It keeps the pool from nothing: a lease may outlive its pool.
struct Routed<DB: Backend> {
    lease: Lease<Connections<DB>>,
    inner: Weak<Inner<DB>>,
    member: usize,
    is_write: bool,
}

impl<DB: Backend> Routed<DB> {
    /// Learns from how the use has ended; tells whether the connection is to be closed.
    fn learn(&self, outcome: Outcome<'_>) -> bool {
        let Some(inner) = self.inner.upgrade() else { return false };
        let Outcome::Failed(failure) = outcome else { return false };
        // What an error shows of itself is code of the user's.
        let said = || failure_says(failure, DB::is_read_only, DB::shows_read_only);
        let is_read_only = self.is_write && catch_unwind(AssertUnwindSafe(said)).unwrap_or(false);
        if is_read_only {
            inner.board().suspect(self.member);
            inner.changed.notify_waiters();
        } else if !inner.board().is_due_after_failure(Instant::now()) {
            return false;
        }
        ask(&inner);
        is_read_only
    }
}

impl<DB: Backend> Keep<DB> for Routed<DB> {
    fn holder(&self) -> &Holder<DB> {
        self.lease.holder()
    }

    fn holder_mut(&mut self) -> &mut Holder<DB> {
        (*self.lease).holder_mut()
    }

    fn give_back<'o>(self: Box<Self>, outcome: Outcome<'o>) -> Pin<Box<dyn Future<Output = ()> + Send + 'o>> {
        Box::pin(async move {
            if self.learn(outcome) {
                self.lease.invalidate();
                return;
            }
            // It never fails: its error type is that of `get`.
            let _ = self.lease.exit(outcome).await;
        })
    }
}
