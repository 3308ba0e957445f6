//! Models of what begins and ends around the core: the runtimes it is used from (`home`), and its handles (`close`).
//!
//! The core is the real one; the pass, the homes and the count of handles do here what they do there, with loom's
//! atomics.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed as Std;

use super::super::{Claim, Core, CoreGuard, Slow};
use super::{UnsafeCell, model, thread};
use crate::loom::{AtomicU32, Ordering};

type Resource = UnsafeCell<u32>;

/// The flag of a resource whose home is gone.
const ORPHAN: u32 = 1;

/// What the lock protects of the homes: which are in the list, and the last pass that was given.
#[derive(Default)]
struct Homes {
    list: Vec<u32>,
    last_pass: u32,
}

type Pool = Core<Resource, Homes, AtomicU32>;
type Lease = Claim<Resource, Homes, AtomicU32>;

/// A pool that home 1 uses, with one idle resource of its own; and the pass that home 1 holds.
fn pool() -> (Arc<Pool>, u32) {
    let pool = Arc::new(Core::new(Homes { list: vec![1], last_pass: 1 }, AtomicU32::new(1)));
    let mut locked = pool.lock();
    let claim = made_on(1, &mut locked);
    locked.push_idle(claim);
    drop(locked);
    (pool, 1)
}

fn made_on(home: u32, locked: &mut CoreGuard<'_, Resource, Homes, AtomicU32>) -> Lease {
    let mut claim = locked.reserve().expect("there is room");
    assert!(claim.fill(UnsafeCell::new(0)).is_none());
    claim.meta().home.store(home, Std);
    claim.meta().flags.store(0, Std);
    claim
}

/// `Shared::enter` of a runtime that is new; the first thing it does with the pool.
fn enter(pool: &Arc<Pool>, home: u32) {
    let mut locked = pool.lock();
    locked.state.list.push(home);
    pool.ext.store(0, Ordering::Relaxed);
    if locked.state.list.len() > 1 {
        locked.set_slow(Slow::RUNTIMES);
    }
}

/// What a get on a home takes under the lock: what is its own, or a new one in the place of another's.
fn get_slowly(pool: &Arc<Pool>, home: u32) -> Option<Lease> {
    let mut locked = pool.lock();
    if let Some(claim) = locked.pop_idle_where(|meta| meta.home.load(Std) == home && meta.flags.load(Std) == 0)
    {
        return Some(claim);
    }
    let mut evicted = locked.pop_idle_where(|_| true)?;
    assert!(evicted.take().is_some(), "a resource ends once");
    locked.vacate(evicted);
    Some(made_on(home, &mut locked))
}

/// `Pass::is_held` and the fast path of a get.
fn get_fast(pool: &Arc<Pool>, pass: u32) -> Option<Lease> {
    (pool.ext.load(Ordering::Relaxed) == pass).then(|| pool.try_pop()).flatten()
}

/// `Shared::leave`.
fn leave(pool: &Arc<Pool>, home: u32) {
    let mut locked = pool.lock();
    locked.state.list.retain(|known| *known != home);
    pool.ext.store(0, Ordering::Relaxed);
    for meta in locked.metas() {
        if meta.home.load(Std) == home {
            meta.flags.fetch_or(ORPHAN, Std);
        }
    }
    if locked.state.list.len() <= 1 {
        locked.clear_slow(Slow::RUNTIMES);
    }
}

/// `Pass::give` to the only home.
fn ask_for_the_pass(pool: &Arc<Pool>) -> Option<u32> {
    let mut locked = pool.lock();
    if locked.state.list.len() != 1 {
        return None;
    }
    if pool.ext.load(Ordering::Relaxed) == 0 {
        locked.state.last_pass += 1;
        pool.ext.store(locked.state.last_pass, Ordering::Relaxed);
    }
    Some(pool.ext.load(Ordering::Relaxed))
}

fn give_back(claim: Lease) {
    let Err(claim) = claim.try_put_back() else { return };
    let pool = claim.arc();
    pool.lock().push_idle(claim);
}

fn touch(claim: &Lease) {
    // SAFETY: the claim is the only one on its slot: loom reports a second access at the same time.
    claim.resource().expect("a lease has its resource").with_mut(|number| unsafe { *number += 1 });
}

/// Home 1 takes the fast path while another runtime comes, uses the pool, and perhaps goes.
fn runtimes_come_and_go(goes: bool) {
    let (pool, pass) = pool();
    let other = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            enter(&pool, 2);
            if let Some(claim) = get_slowly(&pool, 2) {
                touch(&claim);
                give_back(claim);
            }
            if goes {
                leave(&pool, 2);
            }
        })
    };
    let mut pass = Some(pass);
    for _ in 0..2 {
        if let Some(claim) = pass.and_then(|pass| get_fast(&pool, pass)) {
            let is_own = claim.meta().home.load(Std) == 1;
            let is_marked = claim.meta().flags.load(Std) != 0;
            assert!(is_own || is_marked, "what another runtime drives was lent without a check");
            touch(&claim);
            give_back(claim);
        } else {
            pass = ask_for_the_pass(&pool);
        }
    }
    other.join().expect("it does not panic");
    let mut locked = pool.lock();
    assert_eq!(locked.is_slow(Slow::RUNTIMES), !goes);
    for mut claim in locked.pop_all_idle() {
        assert!(claim.take().is_some());
        locked.vacate(claim);
    }
    drop(locked);
    assert_eq!(Arc::strong_count(&pool), 1, "vacant slots own no count");
}

#[test]
fn model_a_runtime_comes_while_another_takes_the_fast_path() {
    model(|| runtimes_come_and_go(false));
}

#[test]
fn model_a_runtime_comes_and_goes_while_another_takes_the_fast_path() {
    model(|| runtimes_come_and_go(true));
}

/// State of a closing pool: closed or not, how often it was closed, and how many closes of resources somebody waits for.
#[derive(Default)]
struct Ends {
    closed: bool,
    begun: u32,
    closes: u32,
    waited_for: u32,
}

type Counted = Core<Resource, Ends, AtomicU32>;

/// `Drop for Pool`, and what is idle then.
fn drop_handle(pool: &Arc<Counted>) {
    if pool.ext.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    let mut locked = pool.lock();
    locked.state.closed = true;
    locked.state.begun += 1;
    locked.set_slow(Slow::CLOSED);
    for mut claim in locked.pop_all_idle() {
        assert!(claim.take().is_some(), "a resource ends once");
        locked.vacate(claim);
        locked.state.closes += 1;
        // `hand_over_orphan` of the one that closes.
        locked.state.waited_for += 1;
    }
}

/// `WeakPool::upgrade`.
fn upgrade(pool: &Arc<Counted>) -> bool {
    let more = |handles: u32| (handles > 0).then(|| handles + 1);
    pool.ext.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

/// `Drop for Lease`, and the wait for the close that it hands over where no handle is left.
fn end_lease(claim: Claim<Resource, Ends, AtomicU32>) {
    let Err(mut claim) = claim.try_put_back() else { return };
    let pool = claim.arc();
    let mut locked = pool.lock();
    if !locked.state.closed {
        locked.push_idle(claim);
        return;
    }
    assert!(claim.take().is_some(), "a resource ends once");
    locked.vacate(claim);
    locked.state.closes += 1;
    drop(locked);
    // Relaxed: the lock orders it.
    if pool.ext.load(Ordering::Relaxed) == 0 {
        pool.lock().state.waited_for += 1;
    }
}

/// The last handle is dropped while a lease comes back, and while a weak handle is asked for another.
fn the_last_handle_goes(is_asked: bool) {
    let pool = Arc::new(Core::new(Ends::default(), AtomicU32::new(1)));
    let mut locked = pool.lock();
    let mut claim = locked.reserve().expect("there is room");
    assert!(claim.fill(UnsafeCell::new(0)).is_none());
    drop(locked);
    let mut threads = vec![thread::spawn(move || end_lease(claim))];
    if is_asked {
        let pool = Arc::clone(&pool);
        threads.push(thread::spawn(move || {
            if upgrade(&pool) {
                assert!(!pool.lock().state.closed, "a handle of a pool that closes was given out");
                drop_handle(&pool);
            }
        }));
    }
    drop_handle(&pool);
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    let locked = pool.lock();
    let Ends { closed, begun, closes, waited_for } = &locked.state;
    assert_eq!((*closed, *begun), (true, 1), "the last handle closes, once");
    assert_eq!((*closes, *waited_for), (1, 1), "the resource is closed once, and somebody waits for it");
    drop(locked);
    assert_eq!(Arc::strong_count(&pool), 1, "every slot is vacant");
}

#[test]
fn model_the_last_handle_meets_the_last_lease() {
    model(|| the_last_handle_goes(false));
}

#[test]
fn model_the_last_handle_meets_a_lease_and_an_upgrade() {
    model(|| the_last_handle_goes(true));
}
