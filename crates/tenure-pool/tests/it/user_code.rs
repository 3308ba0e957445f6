//! Code of users: under no lock, outside of no catch, and ended before the accounts say so.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tenure_pool::{BoxError, Context, CreateContext, GetErrorKind, KeyedPool, Manager, Pool};
use tokio::time::sleep;

use crate::support::Probe;

const SECOND: Duration = Duration::from_secs(1);

/// The closures, keys and managers of a user may look at the very pool they are called by.
#[tokio::test(start_paused = true)]
async fn no_code_of_users_runs_under_the_lock_of_a_keyed_pool() {
    type Cell = Arc<OnceLock<KeyedPool<Key, Probe>>>;
    #[derive(Clone)]
    struct Key(u32, Cell);
    impl Key {
        fn look(&self) {
            if let Some(pools) = self.1.get() {
                // Takes the lock of the map, and clones nothing of ours.
                drop(format!("{pools:?}{:?}", pools.len()));
            }
        }
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.look();
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.look();
            self.0.hash(state);
        }
    }
    impl Drop for Key {
        fn drop(&mut self) {
            self.look();
        }
    }
    let cell = Cell::default();
    let probe = Probe::new();
    let (manager, again) = (probe.clone(), Arc::clone(&cell));
    let pools = KeyedPool::builder(10, move |_: &Key| {
        if let Some(pools) = again.get() {
            drop(pools.status());
        }
        manager.clone()
    })
    .build();
    assert!(cell.set(pools.clone()).is_ok());
    // On a thread of its own: a deadlock is seen as one.
    let runtime = tokio::runtime::Handle::current();
    let done = std::thread::spawn(move || {
        let _entered = runtime.enter();
        for number in [1, 2, 1, 3] {
            let key = Key(number, Arc::clone(&cell));
            drop(pools.pool(&key));
        }
        pools.status().len()
    });
    for _ in 0..1_000 {
        if done.is_finished() {
            break;
        }
        std::thread::yield_now();
        sleep(Duration::from_millis(1)).await;
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert!(done.is_finished(), "a deadlock");
    assert!(done.join().unwrap() >= 1);
}

/// A resource that notes, when it is dropped, whether its slot is still counted.
struct Noting(Arc<Mutex<Vec<usize>>>, Arc<OnceLock<Pool<Slow>>>);

impl Drop for Noting {
    fn drop(&mut self) {
        if let Some(pool) = self.1.get() {
            self.0.lock().unwrap().push(pool.status().size);
        }
    }
}

struct Slow(Arc<Mutex<Vec<usize>>>, Arc<OnceLock<Pool<Slow>>>, Hangs);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hangs {
    Create,
    Close,
}

impl Manager for Slow {
    type Resource = Noting;
    type Error = BoxError;

    async fn create(&self, _: CreateContext) -> Result<Noting, BoxError> {
        let made = Noting(Arc::clone(&self.0), Arc::clone(&self.1));
        if self.2 == Hangs::Create {
            pending::<()>().await;
        }
        Ok(made)
    }

    async fn reset(&self, _: &mut Noting, _: Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn close(&self, noting: Noting, _: Context) -> Result<(), BoxError> {
        pending::<()>().await;
        drop(noting);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_gone_before_its_slot_is_free() {
    for hangs in [Hangs::Create, Hangs::Close] {
        let (sizes, cell) = (Arc::default(), Arc::default());
        let manager = Slow(Arc::clone(&sizes), Arc::clone(&cell), hangs);
        let pool = Pool::builder(manager).max_size(1).build().unwrap();
        assert!(cell.set(pool.clone()).is_ok());
        match pool.get().timeout(15 * SECOND).await {
            Ok(lease) => lease.invalidate(),
            Err(error) => assert_eq!(error.kind(), GetErrorKind::CreateFailing, "{error}"),
        }
        sleep(60 * SECOND).await;
        let sizes = sizes.lock().unwrap();
        assert!(!sizes.is_empty() && sizes.iter().all(|&size| size == 1), "{sizes:?}");
    }
}

/// An error whose conversion may panic.
struct Wrapped {
    panics: bool,
}

impl From<Wrapped> for BoxError {
    fn from(wrapped: Wrapped) -> Self {
        assert!(!wrapped.panics, "scripted panic of a conversion");
        "scripted failure".into()
    }
}

struct Panics {
    in_judgement: bool,
    calls: AtomicUsize,
}

impl Manager for Panics {
    type Resource = ();
    type Error = Wrapped;

    async fn create(&self, _: CreateContext) -> Result<(), Wrapped> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == 0 { Err(Wrapped { panics: !self.in_judgement }) } else { Ok(()) }
    }

    async fn reset(&self, (): &mut (), _: Context) -> Result<(), Wrapped> {
        Ok(())
    }

    fn is_permanent(&self, _: &Wrapped) -> bool {
        assert!(!self.in_judgement, "scripted panic of a judgement");
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_what_a_manager_makes_of_an_error_fails_nobody() {
    for in_judgement in [true, false] {
        let pool = Pool::builder(Panics { in_judgement, calls: AtomicUsize::new(0) }).build().unwrap();
        let gets: Vec<_> = (0..4).map(|_| tokio::spawn(pool.get_owned())).collect();
        for get in gets {
            get.await.unwrap().unwrap().complete();
        }
        assert_eq!(pool.counters().create_failures, 1);
        assert!(pool.close().await.is_clean());
    }
}
