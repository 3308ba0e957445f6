//! Waiting: in order, cancel-safe, limited.

use std::time::Duration;

use tenure_pool::{Codel, GetErrorKind, Priority};

use crate::basics::tokio_test_poll;
use crate::support::{Probe, assert_full_capacity, settle};

#[tokio::test]
async fn law_waiters_are_served_in_order_and_no_newcomer_passes() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let mut waiters: Vec<_> = (0..10).map(|_| tokio_test_poll(pool.get())).collect();
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
    }
    let mut held = Some(lease);
    for place in 0..waiters.len() {
        held.take().unwrap().complete();
        // A newcomer at the very moment of the return comes too late.
        assert!(pool.try_get().is_none());
        assert!(tokio_test_poll(pool.get()).poll().is_none());
        for later in &mut waiters[place + 1..] {
            assert!(later.poll().is_none());
        }
        held = Some(waiters[place].poll().unwrap().unwrap());
    }
    held.unwrap().complete();
    assert_full_capacity(&pool, 1).await;
}

#[tokio::test]
async fn a_hog_cannot_starve_a_waiter() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let mut held = pool.get().await.unwrap();
    let mut waiter = tokio_test_poll(pool.get());
    assert!(waiter.poll().is_none());
    held.touch();
    held.complete();
    let mut hog = tokio_test_poll(pool.get());
    assert!(hog.poll().is_none());
    waiter.poll().unwrap().unwrap().complete();
    assert!(hog.poll().unwrap().is_ok());
}

#[tokio::test]
async fn a_cancelled_waiter_passes_on_what_it_was_handed() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let mut first = tokio_test_poll(pool.get());
    let mut second = tokio_test_poll(pool.get());
    assert!(first.poll().is_none());
    assert!(second.poll().is_none());
    lease.complete();
    // Served, but gone before it looked.
    drop(first);
    assert!(second.poll().unwrap().is_ok());
    assert_eq!(pool.counters().cancelled, 1);
    assert_full_capacity(&pool, 1).await;
}

#[tokio::test]
async fn a_waiter_that_leaves_the_middle_changes_nothing_for_the_others() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    for gone in 0..3 {
        let mut waiters: Vec<_> = (0..3).map(|_| Some(tokio_test_poll(pool.get()))).collect();
        for waiter in waiters.iter_mut().flatten() {
            assert!(waiter.poll().is_none());
        }
        assert_eq!(pool.status().waiting, 3);
        waiters[gone] = None;
        assert_eq!(pool.status().waiting, 2);
    }
    assert_eq!(pool.status().waiting, 0);
    lease.complete();
    assert!(pool.try_get().is_some(), "the fast path is open again");
}

#[tokio::test(start_paused = true)]
async fn law_no_permit_is_lost_in_a_storm_of_cancels() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(4).build().unwrap();
    let mut tasks = Vec::new();
    for number in 0..4_000_u64 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            let limit = Duration::from_micros(number % 7 * 500);
            let work = async {
                let mut lease = pool.get().await.unwrap();
                lease.begin();
                tokio::time::sleep(Duration::from_micros(number % 5 * 700)).await;
                lease.end();
                lease.complete();
            };
            tokio::time::timeout(limit, work).await.is_ok()
        }));
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut served = 0;
    for task in tasks {
        served += u32::from(task.await.unwrap());
    }
    assert!(served > 0);
    assert_full_capacity(&pool, 4).await;
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(4);
}

#[tokio::test]
async fn too_many_waiters_are_turned_away_at_once() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).max_waiting(2).build().unwrap();
    let _lease = pool.get().await.unwrap();
    let mut waiters: Vec<_> = (0..2).map(|_| tokio_test_poll(pool.get())).collect();
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
    }
    let error = tokio_test_poll(pool.get()).poll().unwrap().unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Saturated);
    assert_eq!(error.status().waiting, 2);
    drop(waiters.pop());
    assert!(tokio_test_poll(pool.get()).poll().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_default_time_limit_is_30_s_and_says_what_was_the_matter() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let _held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let began = tokio::time::Instant::now();
    let error = pool.get().await.unwrap_err();
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    assert!(waited < Duration::from_millis(30_200), "{waited:?}");
    assert_eq!(error.kind(), GetErrorKind::Exhausted);
    let status = error.status();
    assert_eq!((status.size, status.in_use, status.idle), (2, 2, 0));
    assert_eq!(
        error.to_string(),
        "no resource became free in time (after 30s; size 2 of 2, idle 0, in use 2, creating 0, waiting 0)"
    );
}

#[tokio::test(start_paused = true)]
async fn different_time_limits_end_in_their_own_time() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    let began = tokio::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for millis in [700_u64, 50, 300, 5, 1_500] {
        let get = pool.get_owned().timeout(Duration::from_millis(millis));
        tasks.spawn(async move {
            assert_eq!(get.await.unwrap_err().kind(), GetErrorKind::Exhausted);
            millis
        });
    }
    let mut ended = Vec::new();
    while let Some(millis) = tasks.join_next().await {
        let millis = millis.unwrap();
        let late = began.elapsed() - Duration::from_millis(millis);
        assert!(late < Duration::from_millis(10), "{millis} ms ended {late:?} late");
        ended.push(millis);
    }
    assert_eq!(ended, [5, 50, 300, 700, 1_500]);
}

#[tokio::test]
async fn a_higher_class_is_served_first() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let mut low = tokio_test_poll(pool.get().priority(Priority::Low));
    let mut normal = tokio_test_poll(pool.get());
    let mut high = tokio_test_poll(pool.get().priority(Priority::High));
    for waiter in [&mut low, &mut normal, &mut high] {
        assert!(waiter.poll().is_none());
    }
    lease.complete();
    for waiter in [&mut high, &mut normal, &mut low] {
        waiter.poll().unwrap().unwrap().complete();
    }
}

#[tokio::test(start_paused = true)]
async fn a_standing_queue_is_cut() {
    let probe = Probe::new();
    let codel = Codel::new(Duration::from_millis(50), Duration::from_secs(2));
    let pool = probe.pool().max_size(1).codel(codel).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let lease = pool.get().await.map_err(|error| error.kind())?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            lease.complete();
            Ok::<_, GetErrorKind>(())
        });
    }
    let mut served = 0;
    while let Some(result) = tasks.join_next().await {
        match result.unwrap() {
            Ok(()) => served += 1,
            Err(kind) => assert_eq!(kind, GetErrorKind::Shed),
        }
    }
    assert!((15..=30).contains(&served), "{served} were served before the queue was cut");
    assert_eq!(pool.counters().shed, 200 - served);
    assert_full_capacity(&pool, 1).await;
}

#[tokio::test]
async fn a_paused_pool_lends_nothing_and_then_in_order() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    pool.get().await.unwrap().complete();
    let lease = pool.get().await.unwrap();
    pool.pause();
    let mut waiters: Vec<_> = (0..2).map(|_| tokio_test_poll(pool.get())).collect();
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
    }
    lease.complete();
    assert!(pool.try_get().is_none());
    assert!(waiters[0].poll().is_none());
    pool.resume();
    let first = waiters[0].poll().unwrap().unwrap();
    settle().await;
    waiters[1].poll().unwrap().unwrap().complete();
    first.complete();
    assert_full_capacity(&pool, 2).await;
}
