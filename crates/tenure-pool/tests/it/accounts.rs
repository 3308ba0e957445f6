//! What is counted, told and kept awake: old errors, minimums, marks, ages.

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use tenure::with;
use tenure_pool::{
    AddErrorKind, BoxError, BuildError, Context, CreateContext, GetErrorKind, Lease, Manager, Pool, PoolError,
    Why,
};
use tokio::time::{Instant, sleep};

use crate::basics::tokio_test_poll;
use crate::support::{Act, Op, Probe, assert_full_capacity, settle};

const SECOND: Duration = Duration::from_secs(1);

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
