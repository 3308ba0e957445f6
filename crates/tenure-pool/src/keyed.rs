//! One pool for each key, and a cap over all of them.

use std::collections::HashMap;
use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::hash::Hash;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenure::{AsyncExit, Outcome};

use crate::budget::{Budget, Member, Membership};
use crate::builder::Builder;
use crate::clock::Clock;
use crate::close::{CloseReport, PoolError, begin_close};
use crate::get::Get;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::raw::Slow;
use crate::status::Status;

/// Pools by key, such as a host or a tenant, which have no more than so many resources open together.
///
/// A pool is made when its key is first asked for, and forgotten when it is empty and unused. If the cap is reached and
/// somebody waits for a key, the idle resource that was used longest ago, of whatever key, is closed to make room. If
/// none is idle, the next that comes back makes room, unless somebody has waited for its own key for longer.
///
/// A get and a return of a keyed pool take a lock. Where the keys are few and known, pools of their own are faster.
///
/// ```
/// # use tenure_pool::{Context, CreateContext, Manager};
/// # struct Connect(String);
/// # impl Manager for Connect {
/// #     type Resource = String;
/// #     type Error = std::io::Error;
/// #     async fn create(&self, _: CreateContext) -> Result<String, Self::Error> { Ok(self.0.clone()) }
/// #     async fn reset(&self, _: &mut String, _: Context) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// use tenure::with;
/// use tenure_pool::{KeyedPool, PoolError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), PoolError> {
/// let hosts = KeyedPool::builder(100, |host: &String| Connect(host.clone()))
///     .each(|builder| builder.max_size(10))
///     .build();
/// with(hosts, async |hosts| {
///     let key = "example.org".to_owned();
///     with(hosts.get(&key), async |connection| {
///         assert_eq!(**connection, "example.org");
///         Ok::<_, PoolError>(())
///     })
///     .await
/// })
/// .await
/// # }
/// ```
pub struct KeyedPool<K, M: Manager> {
    inner: Arc<Inner<K, M>>,
}

/// Makes something for a key.
type Make<K, T> = Box<dyn Fn(&K) -> T + Send + Sync>;

struct Inner<K, M: Manager> {
    pools: Mutex<Pools<K, M>>,
    budget: Arc<Budget>,
    /// Its start is that of the clocks of all the pools, so that their moments can be compared.
    clock: Clock,
    make: Make<K, Builder<M>>,
}

struct Pools<K, M: Manager> {
    by_key: HashMap<K, Pool<M>>,
    closed: bool,
}

/// Sets up a [`KeyedPool`].
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBuilder<K, M> {
    max_total: usize,
    manager: Make<K, M>,
    each: Box<dyn Fn(Builder<M>) -> Builder<M> + Send + Sync>,
}

impl<K, M> KeyedBuilder<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    /// Sets up each pool as it is made. A size beyond the cap, or a minimum beyond the size, is brought down to it.
    pub fn each(mut self, each: impl Fn(Builder<M>) -> Builder<M> + Send + Sync + 'static) -> Self {
        self.each = Box::new(each);
        self
    }

    /// Builds it. Nothing is opened.
    #[must_use]
    pub fn build(self) -> KeyedPool<K, M> {
        let Self { max_total, manager, each } = self;
        let make = move |key: &K| {
            let mut builder = each(Pool::builder(manager(key)));
            let size = builder.config.max_size.clamp(1, max_total);
            builder.config.max_size = size;
            builder.config.min_idle = builder.config.min_idle.min(size);
            builder
        };
        let inner = Inner {
            pools: Mutex::new(Pools { by_key: HashMap::new(), closed: false }),
            budget: Arc::new(Budget::new(max_total)),
            clock: Clock::new(),
            make: Box::new(make),
        };
        KeyedPool { inner: Arc::new(inner) }
    }
}

impl<K, M> KeyedPool<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    /// Sets up a keyed pool that has at most `max_total` (at least 1) resources open, with a manager for each key.
    pub fn builder(max_total: usize, manager: impl Fn(&K) -> M + Send + Sync + 'static) -> KeyedBuilder<K, M> {
        let max_total = max_total.max(1);
        KeyedBuilder { max_total, manager: Box::new(manager), each: Box::new(|builder| builder) }
    }

    /// Takes a resource of this key: as [`Pool::get_owned`] on the pool of the key, within the cap.
    ///
    /// # Errors, cancel safety
    /// As [`Pool::get`].
    #[track_caller]
    pub fn get(&self, key: &K) -> Get<Pool<M>, M> {
        Get::new(self.pool(key), Location::caller())
    }

    /// The pool of this key, made if there was none. To keep it keeps it from being forgotten.
    #[must_use]
    pub fn pool(&self, key: &K) -> Pool<M> {
        let mut pools = self.pools();
        if let Some(pool) = pools.by_key.get(key) {
            return pool.clone();
        }
        // A new key is the moment to forget old ones; it costs a look at each.
        let unused: Vec<K> =
            pools.by_key.iter().filter(|(_, pool)| is_unused(pool)).map(|(key, _)| key.clone()).collect();
        let forgotten: Vec<_> = unused.iter().filter_map(|key| pools.by_key.remove(key)).collect();
        let pool = self.make(key);
        if pools.closed {
            begin_close(&pool.shared);
        } else {
            pools.by_key.insert(key.clone(), pool.clone());
        }
        drop(pools);
        // Without the lock, for they close now.
        drop(forgotten);
        pool
    }

    fn make(&self, key: &K) -> Pool<M> {
        let mut pool = Pool::from_builder((self.inner.make)(key));
        if let Some(shared) = Arc::get_mut(&mut pool.shared) {
            shared.ext.clock = self.inner.clock.sibling();
        }
        let member: std::sync::Weak<dyn Member> = Arc::downgrade(&pool.shared) as _;
        let membership = Membership { budget: Arc::clone(&self.inner.budget), member: member.clone() };
        pool.shared.ext.membership.get_or_init(|| membership);
        self.inner.budget.join(member);
        pool.shared.lock().set_slow(Slow::SHARED);
        pool
    }

    fn pools(&self) -> MutexGuard<'_, Pools<K, M>> {
        self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that have a pool at present, with its state.
    #[must_use]
    pub fn status(&self) -> Vec<(K, Status)> {
        let pools: Vec<_> = self.pools().by_key.iter().map(|(key, pool)| (key.clone(), pool.clone())).collect();
        pools.into_iter().map(|(key, pool)| (key, pool.status())).collect()
    }

    /// Closes all pools side by side, each as [`Pool::close_within`] does. Pools of new keys are closed from then on.
    ///
    /// # Cancel safety
    /// As `Pool::close_within`.
    pub async fn close_within(&self, drain: Duration) -> Vec<(K, CloseReport)> {
        let pools: Vec<_> = {
            let mut pools = self.pools();
            pools.closed = true;
            pools.by_key.drain().collect()
        };
        for (_, pool) in &pools {
            begin_close(&pool.shared);
        }
        let mut reports = Vec::new();
        // All drain at once; each has what is left of the time.
        let began = tokio::time::Instant::now();
        for (key, pool) in pools {
            let left = drain.saturating_sub(began.elapsed());
            reports.push((key, pool.close_within(left).await));
        }
        reports
    }
}

/// Whether nobody but the map has this pool, and it has nothing open.
fn is_unused<M: Manager>(pool: &Pool<M>) -> bool {
    pool.shared.ext.handles.load(Ordering::Acquire) == 1 && pool.shared.lock().state.total == 0
}

/// Entering opens nothing; it is there for [`with`](tenure::with).
impl<K, M> IntoFuture for KeyedPool<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    type Output = Result<Self, PoolError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(Ok(self))
    }
}

/// Leaving closes all pools, within 30 s and what their closes take.
impl<K, M> AsyncExit for KeyedPool<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    type Error = PoolError;

    async fn exit(self, _: Outcome<'_>) -> Result<(), PoolError> {
        const DRAIN_LIMIT: Duration = Duration::from_secs(30);
        let reports = self.close_within(DRAIN_LIMIT).await;
        let unclean = reports.into_iter().find(|(_, report)| !report.is_clean());
        unclean.map_or(Ok(()), |(_, report)| Err(PoolError::Close(report)))
    }
}

impl<K, M: Manager> Clone for KeyedPool<K, M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, M: Manager> fmt::Debug for KeyedPool<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPool").field("budget", &self.inner.budget).finish_non_exhaustive()
    }
}

impl<K, M> fmt::Debug for KeyedBuilder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder").field("max_total", &self.max_total).finish_non_exhaustive()
    }
}
