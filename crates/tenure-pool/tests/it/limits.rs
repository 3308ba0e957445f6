//! Time limits, whatever a manager does: limits that hold, what is stuck, and what a pause or a limit keeps from others.

use std::error::Error;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tenure::with;
use tenure_pool::{
    AddErrorKind, BoxError, BuildError, Context, CreateContext, GetErrorKind, KeyedPool, Lease, Manager, Pool,
    PoolError, Why,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::basics::tokio_test_poll;
use crate::support::{Act, Op, Probe, Step, assert_full_capacity, settle};

const SECOND: Duration = Duration::from_secs(1);

/// A future that is always ready to go on, so that it uses up the budget of its task, for ever.
async fn greedy() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    loop {
        sender.send(()).unwrap();
        receiver.recv().await;
    }
}

/// Which step of its resources never ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Create,
    Check,
    Reset,
    Close,
}

struct Greedy(Stage, AtomicUsize);

impl Greedy {
    async fn at(&self, stage: Stage) -> Result<(), BoxError> {
        if self.0 == stage && self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            greedy().await;
        }
        Ok(())
    }
}

impl Manager for Greedy {
    type Resource = ();
    type Error = BoxError;

    async fn create(&self, _: CreateContext) -> Result<(), BoxError> {
        self.at(Stage::Create).await
    }

    async fn check(&self, (): &mut (), _: Context) -> Result<(), BoxError> {
        self.at(Stage::Check).await
    }

    async fn reset(&self, (): &mut (), _: Context) -> Result<(), BoxError> {
        self.at(Stage::Reset).await
    }

    async fn close(&self, (): (), _: Context) -> Result<(), BoxError> {
        self.at(Stage::Close).await
    }
}

/// On the real clock: a paused one stands still while anything can go on.
#[tokio::test]
async fn limits_hold_for_a_manager_that_uses_up_the_budget() {
    let limit = Duration::from_millis(20);
    for stage in [Stage::Create, Stage::Check, Stage::Reset, Stage::Close] {
        let pool = Pool::builder(Greedy(stage, AtomicUsize::new(0)))
            .max_size(1)
            .create_timeout(limit)
            .check_timeout(limit)
            .reset_timeout(limit)
            .close_timeout(limit)
            .check_after(Duration::ZERO)
            .get_timeout(5 * SECOND)
            .build()
            .unwrap();
        // A drop, so a reset; then a check; then a close.
        drop(pool.get().await.unwrap());
        pool.get().await.unwrap().invalidate();
        pool.get().await.unwrap().complete();
        assert!(pool.close().await.is_clean());
    }
}

/// The limit of a get holds for the check, too, and the check goes on.
#[tokio::test(start_paused = true)]
async fn the_limit_of_a_get_covers_its_check() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).check_timeout(None).build().unwrap();
    pool.get().await.unwrap().complete();
    sleep(SECOND).await;
    probe.always(Op::Check, 3_000, Act::Succeed);
    for limit in [Duration::from_millis(100), Duration::ZERO] {
        let began = Instant::now();
        let error = pool.get().timeout(limit).await.unwrap_err();
        let wanted = if limit.is_zero() { GetErrorKind::Exhausted } else { GetErrorKind::CheckPending };
        assert_eq!(error.kind(), wanted);
        assert!(began.elapsed() <= limit + Duration::from_millis(1), "{:?}", began.elapsed());
    }
    // It was not cut off: the next one waits for its end, and it is the same resource.
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(probe.checks(), 1);
    assert_eq!(pool.counters().timed_out, 2);
}

#[tokio::test(start_paused = true)]
async fn a_get_that_does_not_wait_waits_for_no_check() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    sleep(SECOND).await;
    probe.always(Op::Check, 0, Act::Hang);
    let began = Instant::now();
    let error = pool.get().timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::CheckPending);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_check_took_counts() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    sleep(SECOND).await;
    probe.always(Op::Check, 800, Act::Fail).always(Op::Create, 0, Act::Hang);
    let began = Instant::now();
    pool.get().timeout(SECOND).await.unwrap_err();
    assert!(began.elapsed() <= SECOND + Duration::from_millis(130), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_hangs_holds_nobody_up() {
    let probe = Probe::new();
    probe.script(Op::Create, |call| {
        Step(Duration::from_millis(5), if call == 1 { Act::Hang } else { Act::Succeed })
    });
    let pool = probe.pool().max_size(2).build().unwrap();
    let began = Instant::now();
    pool.get().await.unwrap().complete();
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    assert_eq!(probe.creates(), 2);
    probe.assert_sound(2);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_hangs_holds_nobody_up() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).reset_timeout(None).build().unwrap();
    probe.always(Op::Reset, 0, Act::Hang);
    drop(pool.get().await.unwrap());
    let began = Instant::now();
    pool.get().await.unwrap().complete();
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

/// A server that hangs, then answers again: the first answer comes soon, not at the end of the limits.
#[tokio::test(start_paused = true)]
async fn after_an_outage_in_which_creates_hang_the_first_answer_comes_soon() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(20).get_timeout(60 * SECOND).build().unwrap();
    let began = Instant::now();
    let outage = 15 * SECOND;
    probe.script(Op::Create, move |_| {
        let act = if began.elapsed() < outage { Act::Hang } else { Act::Succeed };
        Step(Duration::ZERO, act)
    });
    pool.get().await.unwrap().complete();
    let took = began.elapsed();
    assert!(took >= outage && took < outage + 3 * SECOND / 2, "{took:?}");
    probe.assert_sound(20);
}

#[tokio::test(start_paused = true)]
async fn slow_creates_are_no_stuck_ones_once_one_has_ended() {
    let probe = Probe::new();
    probe.always(Op::Create, 3_000, Act::Succeed);
    let pool = probe.pool().max_size(10).build().unwrap();
    let first = pool.get().await.unwrap();
    sleep(10 * SECOND).await;
    Lease::invalidate(first);
    pool.invalidate_all();
    settle().await;
    let before = probe.creates();
    pool.get().await.unwrap().complete();
    assert_eq!(probe.creates(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_error_says_for_how_long_a_create_has_been_running() {
    let probe = Probe::new();
    probe.always(Op::Create, 0, Act::Hang);
    let pool = probe.pool().max_size(1).build().unwrap();
    let error = pool.get().timeout(2 * SECOND).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::CreatePending);
    assert!(error.status().creating_for >= 2 * SECOND, "{error}");
    assert!(error.to_string().contains("opening for 2."), "{error}");
    assert!(!error.kind().is_overload());
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_left_soon_while_a_create_hangs_that_nobody_wants() {
    let probe = Probe::new();
    probe.always(Op::Create, 0, Act::Hang);
    let pool = probe.pool().create_timeout(None).get_timeout(SECOND).build().unwrap();
    let left = with(pool, async |pool| {
        assert!(pool.get().await.is_err());
        Ok::<_, PoolError>(Instant::now())
    });
    let ended = left.await.unwrap();
    assert!(ended.elapsed() <= SECOND, "{:?}", ended.elapsed());
    probe.assert_all_closed(10);
}

#[tokio::test(start_paused = true)]
async fn a_pause_after_failures_keeps_no_unit_from_other_keys() {
    for min_idle in [0, 1] {
        let probe = Probe::new();
        let pools = {
            let probe = probe.clone();
            // One manager for each key: the first three refuse.
            let refusing = Probe::new();
            refusing.always(Op::Create, 0, Act::Fail);
            KeyedPool::builder(3, move |key: &u32| if *key < 3 { refusing.clone() } else { probe.clone() })
                .each(move |builder| builder.max_size(3).min_idle(min_idle))
                .build()
        };
        let waiting: Vec<_> = (0..3)
            .map(|key| {
                let get = pools.get(&key);
                tokio::spawn(async move { get.await.map(Lease::complete).is_ok() })
            })
            .collect();
        // Into the longest of the pauses.
        sleep(15 * SECOND).await;
        let began = Instant::now();
        pools.get(&3).await.unwrap().complete();
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
        for task in waiting {
            assert!(!task.await.unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_after_failures_keeps_no_room_from_what_is_added() {
    let probe = Probe::new();
    let donor = Probe::new();
    let from = donor.pool().build().unwrap();
    let thing = Lease::detach(from.get().await.unwrap());
    probe.always(Op::Create, 0, Act::Fail);
    let pool = probe.pool().max_size(1).build().unwrap();
    let waiting = tokio::spawn(pool.get_owned());
    sleep(10 * SECOND).await;
    let added = pool.add(thing);
    assert!(added.is_ok(), "{:?} of {}", added.map_err(|error| error.kind), pool.status());
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_comes_free_goes_past_members_whose_waiters_are_gone() {
    let probe = Probe::new();
    let manager = probe.clone();
    let pools = KeyedPool::builder(1, move |_: &u32| manager.clone()).build();
    let held = pools.get(&0).await.unwrap();
    let mut gone = tokio_test_poll(pools.get(&1));
    assert!(gone.poll().is_none());
    let next = pools.get(&2);
    let next = tokio::spawn(next);
    settle().await;
    drop(gone);
    held.invalidate();
    let lease = timeout(SECOND, next).await.expect("it starves, with nothing alive").unwrap().unwrap();
    lease.complete();
    assert_eq!(probe.most_alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_for_a_waiter_that_is_gone() {
    let probe = Probe::new();
    let manager = probe.clone();
    let pools = KeyedPool::builder(1, move |_: &u32| manager.clone()).build();
    let held = pools.get(&0).await.unwrap();
    let mut gone = tokio_test_poll(pools.get(&1));
    assert!(gone.poll().is_none());
    drop(gone);
    held.complete();
    settle().await;
    assert_eq!(probe.closes(), 0);
}

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

struct Slow(Arc<Mutex<Vec<usize>>>, Arc<OnceLock<Pool<Slow>>>, Stage);

impl Manager for Slow {
    type Resource = Noting;
    type Error = BoxError;

    async fn create(&self, _: CreateContext) -> Result<Noting, BoxError> {
        let made = Noting(Arc::clone(&self.0), Arc::clone(&self.1));
        if self.2 == Stage::Create {
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
    for stage in [Stage::Create, Stage::Close] {
        let (sizes, cell) = (Arc::default(), Arc::default());
        let manager = Slow(Arc::clone(&sizes), Arc::clone(&cell), stage);
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

#[tokio::test(start_paused = true)]
async fn an_old_error_is_not_told_as_the_cause_of_a_new_wait() {
    let probe = Probe::new();
    let donor = Probe::new().pool().max_size(2).build().unwrap();
    let thing = Lease::detach(donor.get().await.unwrap());
    probe.always(Op::Create, 0, Act::Fail);
    let pool = probe.pool().max_size(1).build().unwrap();
    let error = pool.get().timeout(SECOND).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::CreateFailing);
    sleep(3600 * SECOND).await;
    pool.add(thing).unwrap();
    let held = pool.get().await.unwrap();
    let error = pool.get().timeout(SECOND).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Exhausted, "{error}");
    assert!(error.source().is_none());
    held.complete();
    pool.pause();
    let error = pool.get().timeout(SECOND).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Exhausted, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_minimum_that_is_there_is_open_whatever_failed_since() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).min_idle(1).build().unwrap();
    pool.open().await.unwrap();
    probe.always(Op::Create, 0, Act::FailForGood);
    let held = pool.get().await.unwrap();
    sleep(2 * SECOND).await;
    held.complete();
    pool.open().await.unwrap();
    let entered = with(pool, async |pool| Ok::<_, PoolError>(pool.status().size));
    assert_eq!(entered.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn as_many_may_wait_besides_those_for_whom_there_is_room() {
    let probe = Probe::new();
    probe.always(Op::Create, 100, Act::Succeed);
    let pool = probe.pool().max_size(10).max_waiting(2).build().unwrap();
    let mut gets: Vec<_> = (0..12).map(|_| tokio_test_poll(pool.get())).collect();
    for get in &mut gets {
        assert!(get.poll().is_none());
    }
    let error = pool.get().await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Saturated);
    drop(gets);
    let none = probe.pool().max_size(1).max_waiting(0).build().unwrap();
    let lease = none.get().await.unwrap();
    assert_eq!(none.get().await.unwrap_err().kind(), GetErrorKind::Saturated);
    lease.complete();
    none.get().await.unwrap().complete();
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_to_a_waiter_is_not_counted_as_idle() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).min_idle(1).build().unwrap();
    let one = pool.get().await.unwrap();
    let _two = pool.get().await.unwrap();
    let mut waiting = tokio_test_poll(pool.get());
    assert!(waiting.poll().is_none());
    one.complete();
    let status = pool.status();
    assert_eq!((status.idle, status.in_use), (0, 2), "{status}");
    pool.resize(3).unwrap();
    settle().await;
    assert_eq!(probe.creates(), 3, "the minimum is made up");
    assert_eq!(pool.status().idle, 1);
    waiting.poll().unwrap().unwrap().complete();
}

#[tokio::test(start_paused = true)]
async fn to_check_no_more_leaves_no_marks_behind() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    sleep(2 * SECOND).await;
    pool.set_check_after(None);
    pool.try_get().expect("it needs no check").complete();
    sleep(2 * SECOND).await;
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 0);
}

#[tokio::test]
async fn a_size_that_cannot_be_built_cannot_be_resized_to() {
    let pool = Probe::new().pool().max_size(2).build().unwrap();
    for size in [0, 1_000_001, usize::MAX] {
        assert_eq!(pool.resize(size), Err(BuildError::MaxSize(size)));
        assert_eq!(Probe::new().pool().max_size(size).build().err(), Some(BuildError::MaxSize(size)));
    }
    assert_eq!(pool.status().max_size, 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_for_good_gets_fail_at_once_until_it_is_tried_again() {
    let probe = Probe::new();
    probe.always(Op::Create, 0, Act::FailForGood);
    let backoff = (5 * SECOND, 5 * SECOND);
    let pool = probe.pool().create_backoff(backoff.0, backoff.1).build().unwrap();
    for turn in 0..3 {
        let began = Instant::now();
        let error = pool.get().await.unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::CreateFailing);
        assert!(error.source().is_some());
        assert_eq!(began.elapsed(), Duration::ZERO, "turn {turn}");
    }
    assert_eq!(probe.creates(), 1);
    sleep(7 * SECOND).await;
    probe.always(Op::Create, 0, Act::Succeed);
    pool.get().await.unwrap().complete();
}

#[tokio::test(start_paused = true)]
async fn by_choice_a_failed_create_fails_those_who_wait_at_once() {
    for fails_fast in [true, false] {
        let probe = Probe::new();
        probe.always(Op::Create, 5, Act::Fail);
        let pool = probe.pool().fail_fast(fails_fast).get_timeout(SECOND).build().unwrap();
        let began = Instant::now();
        let error = pool.get().await.unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::CreateFailing);
        assert_eq!(began.elapsed() < SECOND / 10, fails_fast, "{:?}", began.elapsed());
        // Who can be served is not failed.
        probe.always(Op::Create, 0, Act::Succeed);
        sleep(10 * SECOND).await;
        let lease = pool.get().await.unwrap();
        probe.always(Op::Create, 0, Act::Fail);
        let waiting = tokio::spawn(pool.get_owned());
        settle().await;
        lease.complete();
        assert!(waiting.await.unwrap().is_ok());
        assert_full_capacity_or_failing(&pool).await;
    }
}

async fn assert_full_capacity_or_failing(pool: &Pool<Probe>) {
    pool.resize(1).unwrap();
    settle().await;
    assert_full_capacity(pool, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_clock_and_upkeep_are_awake_while_anything_is_lent() {
    for check_after in [Some(Duration::from_millis(500)), None] {
        let probe = Probe::new();
        let pool = probe
            .pool()
            .max_size(3)
            .min_idle(1)
            .check_after(check_after)
            .idle_timeout(None)
            .leak_threshold(10 * SECOND)
            .build()
            .unwrap();
        pool.open().await.unwrap();
        sleep(60 * SECOND).await;
        // The first use of a resource that was made long ago.
        let lease = pool.get().await.unwrap();
        let held = pool.holders()[0].held;
        assert!(held <= Duration::from_millis(250), "{held:?} at once");
        sleep(SECOND).await;
        assert_eq!(pool.status().idle, 1, "the minimum is made up");
        sleep(14 * SECOND).await;
        assert_eq!(pool.counters().overdue, 1);
        let held = pool.holders()[0].held;
        assert!((14 * SECOND..16 * SECOND).contains(&held), "{held:?}");
        lease.complete();
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_in_regular_use_is_not_closed_as_idle() {
    for check_after in [Some(Duration::from_millis(500)), None] {
        let probe = Probe::new();
        let pool = probe.pool().max_size(1).check_after(check_after).idle_timeout(20 * SECOND).build().unwrap();
        for _ in 0..30 {
            pool.get().await.unwrap().complete();
            sleep(5 * SECOND).await;
        }
        assert_eq!(probe.creates(), 1, "{check_after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_told_the_age_of_the_use() {
    struct Told(Mutex<Vec<Context>>);
    impl Manager for Told {
        type Resource = ();
        type Error = BoxError;
        async fn create(&self, _: CreateContext) -> Result<(), BoxError> {
            Ok(())
        }
        async fn reset(&self, (): &mut (), context: Context) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(context);
            Ok(())
        }
    }
    let pool = Pool::builder(Told(Mutex::default())).max_size(1).min_idle(1).build().unwrap();
    pool.open().await.unwrap();
    sleep(300 * SECOND).await;
    let lease = pool.get().await.unwrap();
    sleep(3 * SECOND).await;
    drop(lease);
    settle().await;
    let told = pool.manager().0.lock().unwrap()[0];
    assert_eq!(told.why, Why::Dropped);
    let near = |told: Duration, wanted: Duration| told.abs_diff(wanted) <= Duration::from_millis(250);
    assert!(near(told.age, 303 * SECOND), "{told:?}");
    assert!(near(told.idle, 3 * SECOND), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_added_beyond_the_room_is_refused() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let thing = Lease::detach(pool.get().await.unwrap());
    let _lent = pool.get().await.unwrap();
    assert_eq!(pool.add(thing).unwrap_err().kind, AddErrorKind::Full);
}
