//! The behaviours that the test suites of bb8 0.9 and deadpool 0.13 state, as far as this pool means to share them.
//!
//! A drop gives a resource back as it is, as there: the manager's `assess` keeps it.
//!
//! # What differs on purpose
//! | theirs | here |
//! |---|---|
//! | bb8: a resource that is broken is dropped in the drop of its guard | it is closed by a task of the pool, awaited, so it is gone a moment later |
//! | bb8: a get that met only failing connects says "timed out" | it says that creating fails, and has the cause |
//! | bb8: `build` opens the minimum | entering or `open` does |
//! | bb8: a new pool is checked at its second get | what was used just now is not checked, unless `check_after` is zero |
//! | bb8: `dedicated_connection` | the manager's `create` is the user's to call |
//! | deadpool: a failed create is its get's error | by choice (`fail_fast`); else gets wait together |
//! | deadpool: size 0 is a size, and `close` makes it so | it is refused; a closed pool keeps its size and says that it is closed |
//! | deadpool: what waits for a create is not counted in the size | it is: the size is what exists or is being made |
//! | deadpool: `retain` returns what was removed | it is closed; the number is returned |
//! | deadpool: a shrunken pool keeps lent ones for when it grows again | it does so too, as long as they are lent |
//! | deadpool: a get meets each idle resource that fails its check | the first failure has the others checked side by side |
//! | deadpool: `recycle` at each get | `check_after(Duration::ZERO)`, and `on_get` |

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tenure_pool::{
    AddErrorKind, Builder, Context, CreateContext, GetErrorKind, Hooks, Lease, LeaseEnd, Manager, Next, Order,
    Pool,
};
use tokio::time::{Instant, sleep, timeout};

use crate::support::settle;

const SECOND: Duration = Duration::from_secs(1);

/// What the managers of both suites do, by switches.
#[derive(Default)]
struct Peer {
    made: AtomicU32,
    alive: Arc<AtomicUsize>,
    /// How many creates, checks and uses fail or break yet.
    create_fails: AtomicU32,
    check_fails: AtomicU32,
    breaks: AtomicU32,
    hooks: Hooks,
    hook_fails: AtomicBool,
}

/// A resource with a number, which says that it is alive.
#[derive(Debug)]
struct Numbered(u32, Arc<AtomicUsize>);

impl Drop for Numbered {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes one from a number that is left.
fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Peer {
    fn resource(&self) -> Numbered {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Numbered(self.made.fetch_add(1, Ordering::SeqCst), Arc::clone(&self.alive))
    }
}

impl Manager for Peer {
    type Resource = Numbered;
    type Error = io::Error;

    async fn create(&self, _: CreateContext) -> io::Result<Numbered> {
        tokio::task::yield_now().await;
        if take_one(&self.create_fails) { Err(io::Error::other("create")) } else { Ok(self.resource()) }
    }

    async fn check(&self, _: &mut Numbered, _: Context) -> io::Result<()> {
        if take_one(&self.check_fails) { Err(io::Error::other("check")) } else { Ok(()) }
    }

    async fn reset(&self, _: &mut Numbered, _: Context) -> io::Result<()> {
        Ok(())
    }

    fn is_broken(&self, _: &Numbered) -> bool {
        take_one(&self.breaks)
    }

    fn assess(&self, resource: &mut Numbered, _: LeaseEnd<'_>) -> Next {
        if self.is_broken(resource) { Next::Close } else { Next::Keep }
    }

    fn hooks(&self) -> Hooks {
        self.hooks
    }

    async fn on_get(&self, resource: &mut Numbered, _: Context) -> io::Result<()> {
        if self.hook_fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("hook"));
        }
        resource.0 += 100;
        Ok(())
    }
}

fn builder(peer: Peer, max_size: usize) -> Builder<Peer> {
    Pool::builder(peer).max_size(max_size).create_backoff(Duration::from_millis(1), Duration::from_millis(10))
}

fn pool(max_size: usize) -> Pool<Peer> {
    builder(Peer::default(), max_size).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn bb8_as_many_as_allowed_are_lent_at_once() {
    let pool = pool(5);
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(pool.get().await.unwrap());
    }
    assert_eq!((pool.status().size, pool.status().in_use), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn bb8_a_third_waits_until_one_of_two_comes_back() {
    let pool = pool(2);
    let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let third = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get_owned().await.map(|lease| lease.0) }
    });
    settle().await;
    assert!(!third.is_finished());
    let number = first.0;
    drop(first);
    assert_eq!(third.await.unwrap().unwrap(), number);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn bb8_what_breaks_is_dropped_and_counted_and_starves_nobody() {
    let pool = builder(Peer { breaks: AtomicU32::new(5), ..Peer::default() }, 5).build().unwrap();
    let users: Vec<_> = (0..10)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { drop(pool.get().await.unwrap()) })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    settle().await;
    assert_eq!(pool.counters().closed, 5);
    assert_eq!(pool.manager().alive.load(Ordering::SeqCst), pool.status().size);
}

#[tokio::test(start_paused = true)]
async fn bb8_a_first_connect_that_fails_for_good_fails_the_opening_and_a_lazy_get_at_its_limit() {
    let failing = || Peer { create_fails: AtomicU32::new(u32::MAX), ..Peer::default() };
    let pool = builder(failing(), 1).min_idle(1).get_timeout(5 * SECOND).build().unwrap();
    let error = pool.open().await.unwrap_err();
    assert_eq!(error.cause().unwrap().to_string(), "create");
    let pool = builder(failing(), 1).get_timeout(SECOND).build().unwrap();
    let began = Instant::now();
    assert_eq!(pool.get().await.unwrap_err().kind(), GetErrorKind::CreateFailing);
    assert!(began.elapsed() >= SECOND);
    // Without trying again, the first failure is the answer.
    let pool = builder(failing(), 1).get_timeout(SECOND).fail_fast(true).build().unwrap();
    let began = Instant::now();
    assert_eq!(pool.get().await.unwrap_err().kind(), GetErrorKind::CreateFailing);
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn bb8_a_get_ends_at_its_limit_and_a_caller_that_gives_up_takes_nothing_along() {
    let pool = builder(Peer::default(), 1).get_timeout(Duration::from_millis(100)).build().unwrap();
    let one = pool.get().await.unwrap();
    assert_eq!(pool.get().await.unwrap_err().kind(), GetErrorKind::Exhausted);
    assert!(timeout(Duration::from_millis(50), pool.get()).await.is_err());
    drop(one);
    pool.get().await.unwrap().complete();
}

#[tokio::test(start_paused = true)]
async fn bb8_25_000_waiters_are_all_served() {
    let pool = pool(3);
    let waiters: Vec<_> = (0..25_000)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { drop(pool.get().await.unwrap()) })
        })
        .collect();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert!(pool.manager().made.load(Ordering::SeqCst) <= 3);
}

#[tokio::test(start_paused = true)]
async fn bb8_resources_that_turn_invalid_are_all_closed_and_the_get_fails_while_none_can_be_made() {
    let pool = builder(Peer::default(), 2).min_idle(2).get_timeout(SECOND).build().unwrap();
    pool.open().await.unwrap();
    let leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
    pool.manager().create_fails.store(u32::MAX, Ordering::SeqCst);
    pool.manager().check_fails.store(u32::MAX, Ordering::SeqCst);
    drop(leases);
    sleep(3 * SECOND).await;
    assert_eq!(pool.get().await.unwrap_err().kind(), GetErrorKind::CreateFailing);
    assert_eq!(pool.counters().check_failures, 2);
}

#[tokio::test(start_paused = true)]
async fn bb8_idle_ones_go_after_the_idle_timeout_and_lent_ones_do_not() {
    let pool = builder(Peer::default(), 5).idle_timeout(SECOND).build().unwrap();
    let lent = pool.get().await.unwrap();
    let others = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(others);
    sleep(2 * SECOND).await;
    assert_eq!(pool.manager().alive.load(Ordering::SeqCst), 1);
    drop(lent);
}

#[tokio::test(start_paused = true)]
async fn bb8_old_ones_are_replaced_and_one_that_is_lent_goes_when_it_comes_back() {
    let pool = builder(Peer::default(), 2).min_idle(2).max_lifetime(SECOND).build().unwrap();
    pool.open().await.unwrap();
    let lent = pool.get().await.unwrap();
    let number = lent.0;
    sleep(2 * SECOND).await;
    assert!(pool.counters().closed >= 1, "the idle one was closed at its time");
    drop(lent);
    settle().await;
    assert_ne!(pool.get().await.unwrap().0, number);
}

#[tokio::test(start_paused = true)]
async fn bb8_the_minimum_is_kept_idle_beside_what_is_lent() {
    let pool = builder(Peer::default(), 5).min_idle(2).build().unwrap();
    pool.open().await.unwrap();
    assert_eq!((pool.status().idle, pool.status().size), (2, 2));
    let one = pool.get().await.unwrap();
    let two = pool.get().await.unwrap();
    let three = pool.get().await.unwrap();
    sleep(SECOND).await;
    assert_eq!((pool.status().idle, pool.status().size), (2, 5));
    drop((one, two, three));
    assert_eq!(pool.status().idle, 5);
}

#[tokio::test(start_paused = true)]
async fn bb8_all_are_gone_after_the_pool_is_dropped() {
    let pool = builder(Peer::default(), 10).min_idle(10).build().unwrap();
    pool.open().await.unwrap();
    let alive = Arc::clone(&pool.manager().alive);
    assert_eq!(alive.load(Ordering::SeqCst), 10);
    drop(pool);
    assert!(tenure::drain(10 * SECOND).await.open.is_empty());
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn bb8_a_check_or_a_connect_that_fails_once_is_made_up_for() {
    let peer = Peer { check_fails: AtomicU32::new(1), create_fails: AtomicU32::new(1), ..Peer::default() };
    let pool = builder(peer, 1).check_after(Duration::ZERO).build().unwrap();
    for _ in 0..3 {
        drop(pool.get().await.unwrap());
    }
    let counters = pool.counters();
    assert_eq!((counters.check_failures, counters.create_failures, counters.opened), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn bb8_gets_are_counted_by_whether_they_waited() {
    let pool = builder(Peer::default(), 1).min_idle(1).measure_all(true).build().unwrap();
    pool.open().await.unwrap();
    let lease = pool.get().await.unwrap();
    let second = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.unwrap().complete() }
    });
    sleep(SECOND).await;
    drop(lease);
    second.await.unwrap();
    let counters = pool.counters();
    assert_eq!((counters.gets, counters.waits_served, counters.opened), (2, 1, 1));
    assert!(counters.wait_time > SECOND / 2, "{counters:?}");
}

#[tokio::test(start_paused = true)]
async fn bb8_what_is_added_is_lent_up_to_the_size_and_unless_it_is_broken() {
    let failing = Peer { create_fails: AtomicU32::new(u32::MAX), ..Peer::default() };
    let pool = builder(failing, 3).get_timeout(Duration::from_millis(1)).build().unwrap();
    assert!(pool.get().await.is_err());
    let resource = |pool: &Pool<Peer>| pool.manager().resource();
    for _ in 0..3 {
        pool.add(resource(&pool)).unwrap();
    }
    pool.get().await.unwrap().complete();
    assert_eq!(pool.add(resource(&pool)).unwrap_err().kind, AddErrorKind::Full);
    pool.manager().breaks.store(1, Ordering::SeqCst);
    assert_eq!(pool.add(resource(&pool)).unwrap_err().kind, AddErrorKind::Broken);
}

#[tokio::test(start_paused = true)]
async fn bb8_what_came_back_is_lent_before_another_is_made() {
    let pool = pool(100);
    drop(pool.get().await.unwrap());
    let _one = pool.get().await.unwrap();
    let _two = pool.get().await.unwrap();
    assert_eq!((pool.status().size, pool.counters().opened), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn deadpool_the_status_follows_gets_and_returns() {
    let pool = pool(16);
    assert_eq!((pool.status().size, pool.status().idle), (0, 0));
    let leases = [pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap()];
    assert_eq!((pool.status().size, pool.status().idle, pool.status().in_use), (3, 0, 3));
    drop(leases);
    assert_eq!((pool.status().size, pool.status().idle, pool.status().in_use), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn deadpool_a_close_fails_who_waits_and_whoever_comes_and_takes_lent_ones_when_they_come_back() {
    let pool = pool(1);
    let lease = pool.get().await.unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(Lease::complete) }
    });
    settle().await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    assert_eq!(waits.await.unwrap().unwrap_err().kind(), GetErrorKind::Closed);
    assert_eq!(pool.get().await.unwrap_err().kind(), GetErrorKind::Closed);
    assert!(pool.try_get().is_none());
    pool.resize(16).unwrap();
    assert!(pool.status().closed);
    drop(lease);
    assert!(closing.await.unwrap().is_clean());
    assert_eq!((pool.status().size, pool.manager().alive.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn deadpool_what_is_taken_out_makes_room() {
    let pool = pool(2);
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let _first = Lease::detach(one);
    assert_eq!(pool.status().size, 1);
    let _second = Lease::detach(two);
    assert_eq!(pool.status().size, 0);
    let leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(leases);
    assert_eq!((pool.status().size, pool.status().idle), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn deadpool_retain_asks_each_idle_one_once_and_may_change_its_surroundings() {
    let pool = builder(Peer::default(), 4).check_after(None).build().unwrap();
    let old = (pool.get().await.unwrap(), pool.get().await.unwrap());
    sleep(SECOND).await;
    let young = pool.get().await.unwrap();
    drop((old, young));
    let mut asked = 0;
    let closed = pool.retain(|_, context| {
        asked += 1;
        context.age < SECOND
    });
    assert_eq!((asked, closed), (3, 2));
    settle().await;
    assert_eq!((pool.status().size, pool.manager().alive.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn deadpool_shrinking_and_growing_loses_and_gains_nothing() {
    let pool = pool(2);
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    pool.resize(1).unwrap();
    assert_eq!((pool.status().size, pool.status().max_size), (2, 1));
    drop(one);
    settle().await;
    assert_eq!(pool.status().size, 1);
    drop(two);
    settle().await;
    assert_eq!((pool.status().size, pool.status().idle), (1, 1));
    pool.resize(5).unwrap();
    pool.resize(1).unwrap();
    pool.resize(5).unwrap();
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(pool.get().await.unwrap());
    }
    assert!(pool.get().timeout(Duration::ZERO).await.is_err());
    assert_eq!(pool.status().size, 5);
}

#[tokio::test(start_paused = true)]
async fn deadpool_who_waits_is_served_when_the_pool_grows() {
    let pool = pool(1);
    let _held = pool.get().await.unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(|lease| lease.0) }
    });
    settle().await;
    assert_eq!(pool.status().waiting, 1);
    pool.resize(2).unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), 1);
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn deadpool_a_failed_create_leaves_the_room_to_the_next_who_waits() {
    let peer = Peer { create_fails: AtomicU32::new(1), ..Peer::default() };
    let pool = builder(peer, 1).build().unwrap();
    let users: Vec<_> = (0..2)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await.map(|lease| lease.0) })
        })
        .collect();
    for user in users {
        user.await.unwrap().unwrap();
    }
    assert_eq!((pool.status().size, pool.status().waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn deadpool_unreliable_managers_leave_no_trace_in_the_size() {
    let failing = Peer { create_fails: AtomicU32::new(u32::MAX), ..Peer::default() };
    let pool = builder(failing, 16).fail_fast(true).build().unwrap();
    for _ in 0..3 {
        assert!(pool.get().await.is_err());
        assert_eq!((pool.status().size, pool.status().idle), (0, 0));
    }
    let pool = builder(Peer::default(), 16).check_after(Duration::ZERO).build().unwrap();
    let leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(leases);
    pool.manager().check_fails.store(2, Ordering::SeqCst);
    let lease = pool.get().await.unwrap();
    settle().await;
    assert_eq!((pool.status().size, pool.status().idle), (1, 0));
    assert_eq!(pool.manager().alive.load(Ordering::SeqCst), 1);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn deadpool_a_hook_changes_what_is_lent_and_one_that_fails_costs_the_object_and_not_the_get() {
    let peer = Peer { hooks: Hooks::default().on_get(true), ..Peer::default() };
    let pool = builder(peer, 1).build().unwrap();
    for uses in 1..5 {
        assert_eq!(pool.get().await.unwrap().0, 100 * uses);
    }
    pool.manager().hook_fails.store(true, Ordering::SeqCst);
    assert_eq!(pool.get().await.unwrap().0, 101, "another one, and the same get");
    assert_eq!(pool.status().size, 1);
}

#[tokio::test(start_paused = true)]
async fn deadpool_the_order_is_by_choice() {
    for (order, expected) in [(Order::Fifo, 0), (Order::Lifo, 1)] {
        let pool = builder(Peer::default(), 2).order(order).build().unwrap();
        let (zero, one) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert_eq!((zero.0, one.0), (0, 1));
        drop(zero);
        drop(one);
        assert_eq!(pool.get().await.unwrap().0, expected);
    }
}

/// deadpool's storm: create, check and hook each succeed, fail, are slow or hang, while eight tasks give up at once.
#[tokio::test(start_paused = true)]
async fn deadpool_no_combination_of_slow_and_hanging_steps_with_cancelled_gets_exceeds_the_size() {
    use crate::support::{Act, Op, Probe, assert_full_capacity};
    let acts = [(0, Act::Succeed), (0, Act::Fail), (1, Act::Succeed), (0, Act::Hang)];
    for create in acts {
        for check in acts {
            for reset in acts {
                let probe = Probe::new();
                for (op, (millis, act)) in [(Op::Create, create), (Op::Check, check), (Op::Reset, reset)] {
                    probe.always(op, millis, act);
                }
                let pool = probe.pool().max_size(2).check_after(Duration::ZERO);
                let pool =
                    pool.create_timeout(SECOND).check_timeout(SECOND).reset_timeout(SECOND).build().unwrap();
                let users: Vec<_> = (0..8_u64)
                    .map(|number| {
                        let pool = pool.clone();
                        tokio::spawn(async move {
                            for _ in 0..20 {
                                let _ = timeout(Duration::from_micros(number * 300), pool.get()).await;
                                tokio::task::yield_now().await;
                            }
                        })
                    })
                    .collect();
                for user in users {
                    user.await.unwrap();
                    assert!(pool.status().size <= 2);
                }
                for op in [Op::Create, Op::Check, Op::Reset] {
                    probe.always(op, 0, Act::Succeed);
                }
                assert_full_capacity(&pool, 2).await;
                probe.assert_sound(2);
            }
        }
    }
}
