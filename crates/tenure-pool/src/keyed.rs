//! One pool for each key, and a cap over all of them.
//!
//! # Invariants
//! 1. No code of users runs under the lock of the map: neither their closures, nor the hash, comparison, clone or drop
//!    of a key, nor the end of a pool. A map is never changed; another one takes its place, if it still is the one it
//!    was made from.
//! 2. A pool is forgotten under the lock, when nobody has it but the map; nobody takes a handle of it without the lock.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, IntoFuture, Ready, poll_fn, ready};
use std::hash::Hash;
use std::mem;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
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

type Map<K, M> = HashMap<Arc<K>, Arc<Entry<M>>>;

struct Pools<K, M: Manager> {
    by_key: Arc<Map<K, M>>,
    closed: bool,
}

/// A pool in the map.
struct Entry<M: Manager> {
    pool: Pool<M>,
    is_forgotten: AtomicBool,
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
            pools: Mutex::new(Pools { by_key: Arc::default(), closed: false }),
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

    /// Returns the pool of this key, made if there was none. To keep it keeps it from being forgotten.
    #[must_use]
    pub fn pool(&self, key: &K) -> Pool<M> {
        let mut made = None;
        // Each further turn is one in which another caller has put a map in place.
        loop {
            let map = Arc::clone(&self.pools().by_key);
            if let Some(entry) = map.get(key) {
                let pools = self.pools();
                // Relaxed: the lock orders it.
                let pool = (!entry.is_forgotten.load(Ordering::Relaxed)).then(|| entry.pool.clone());
                drop(pools);
                if let Some(pool) = pool {
                    return pool;
                }
                continue;
            }
            let made = made.get_or_insert_with(|| {
                Arc::new(Entry { pool: self.make(key), is_forgotten: AtomicBool::new(false) })
            });
            if let Some(pool) = self.put(key, &map, made) {
                return pool;
            }
        }
    }

    /// Puts a map in place that has a new key, and lacks those that are unused: it costs a look at each.
    fn put(&self, key: &K, map: &Arc<Map<K, M>>, made: &Arc<Entry<M>>) -> Option<Pool<M>> {
        let (kept, unused): (Vec<_>, Vec<_>) = map.iter().partition(|(_, entry)| !is_unused(&entry.pool));
        let mut next: Map<K, M> =
            kept.into_iter().map(|(key, entry)| (Arc::clone(key), Arc::clone(entry))).collect();
        next.insert(Arc::new(key.clone()), Arc::clone(made));
        let mut next = Arc::new(next);
        let mut pools = self.pools();
        if pools.closed {
            drop(pools);
            begin_close(&made.pool.shared);
            return Some(made.pool.clone());
        }
        if !Arc::ptr_eq(&pools.by_key, map) || unused.iter().any(|(_, entry)| !is_unused(&entry.pool)) {
            return None;
        }
        for (_, entry) in unused {
            entry.is_forgotten.store(true, Ordering::Relaxed);
        }
        mem::swap(&mut pools.by_key, &mut next);
        // The old map is dropped without the lock, and what was forgotten closes then.
        drop(pools);
        Some(made.pool.clone())
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

    /// Returns how many keys have a pool at present.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a number of pools, not a collection")]
    pub fn len(&self) -> usize {
        self.pools().by_key.len()
    }

    /// Returns the keys that have a pool at present, with its state.
    #[must_use]
    pub fn status(&self) -> Vec<(K, Status)> {
        let map = Arc::clone(&self.pools().by_key);
        map.iter().map(|(key, entry)| (K::clone(key), entry.pool.status())).collect()
    }

    /// Closes all pools side by side, each as [`Pool::close_within`] does. Pools of new keys are closed from then on.
    ///
    /// # Cancel safety
    /// As `Pool::close_within`.
    pub async fn close_within(&self, drain: Duration) -> Vec<(K, CloseReport)> {
        let map = {
            let mut pools = self.pools();
            pools.closed = true;
            mem::take(&mut pools.by_key)
        };
        let mut reports: Vec<_> = map.iter().map(|_| None).collect();
        let mut closes: Vec<_> = Vec::new();
        for entry in map.values() {
            begin_close(&entry.pool.shared);
            closes.push(Box::pin(async { entry.pool.close_within(drain).await }));
        }
        poll_fn(|cx| {
            for (close, report) in closes.iter_mut().zip(&mut reports) {
                if report.is_none()
                    && let Poll::Ready(ended) = close.as_mut().poll(cx)
                {
                    *report = Some(ended);
                }
            }
            if reports.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        map.keys().zip(reports).filter_map(|(key, report)| Some((K::clone(key), report?))).collect()
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
