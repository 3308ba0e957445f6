//! Time limits, whatever a manager does: limits that hold, what is stuck, and what a pause or a limit keeps from others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenure::with;
use tenure_pool::{BoxError, Context, CreateContext, GetErrorKind, KeyedPool, Lease, Manager, Pool, PoolError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::basics::tokio_test_poll;
use crate::support::{Act, Op, Probe, Step, settle};

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
