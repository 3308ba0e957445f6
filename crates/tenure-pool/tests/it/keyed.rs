//! One pool for each key, with a cap over all.

use std::time::Duration;

use tenure::with;
use tenure_pool::{Builder, GetErrorKind, KeyedPool, PoolError, Why};
use tokio::time::sleep;

use crate::basics::tokio_test_poll;
use crate::support::{Probe, settle};

fn keyed(probe: &Probe, total: usize, each: usize) -> KeyedPool<u32, Probe> {
    let probe = probe.clone();
    KeyedPool::builder(total, move |_: &u32| probe.clone())
        .each(move |builder: Builder<Probe>| builder.max_size(each))
        .build()
}

async fn closed(pools: &KeyedPool<u32, Probe>, probe: &Probe, total: usize) {
    for (key, report) in pools.close_within(Duration::from_secs(1)).await {
        assert!(report.is_clean(), "{key}: {report}");
    }
    // Ids are unique in a pool, not among pools, so only the numbers are compared here.
    assert_eq!(probe.alive(), 0);
    assert!(probe.most_alive() <= total, "{} of {total}", probe.most_alive());
}

#[tokio::test(start_paused = true)]
async fn a_key_has_its_own_resources() {
    let probe = Probe::new();
    let pools = keyed(&probe, 10, 2);
    for key in [1, 2, 1, 2, 1] {
        pools.get(&key).await.unwrap().complete();
    }
    assert_eq!(probe.creates(), 2);
    assert_eq!(pools.status().len(), 2);
    closed(&pools, &probe, 10).await;
}

#[tokio::test(start_paused = true)]
async fn law_never_more_than_the_cap_over_all_keys_and_nobody_is_stuck() {
    let probe = Probe::new();
    let pools = keyed(&probe, 4, 3);
    let tasks: Vec<_> = (0..200_u32)
        .map(|number| {
            let pools = pools.clone();
            tokio::spawn(async move {
                let lease = pools.get(&(number % 7)).await.unwrap();
                sleep(Duration::from_millis(u64::from(number % 5))).await;
                lease.complete();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    closed(&pools, &probe, 4).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_used_longest_ago_makes_room() {
    let probe = Probe::new();
    let pools = keyed(&probe, 3, 3);
    for key in 1..=3 {
        pools.get(&key).await.unwrap().complete();
        sleep(Duration::from_millis(200)).await;
    }
    pools.get(&1).await.unwrap().complete();
    pools.get(&4).await.unwrap().complete();
    assert_eq!(probe.whys(), [Why::Evicted]);
    let mut sizes: Vec<_> = pools.status().iter().map(|(key, status)| (*key, status.size)).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.iter().filter(|(_, size)| *size == 1).count(), 3, "{sizes:?}");
    assert!(!sizes.contains(&(2, 1)), "{sizes:?}");
    closed(&pools, &probe, 3).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_makes_room_for_who_waits_longer() {
    let probe = Probe::new();
    let pools = keyed(&probe, 1, 1);
    let lease = pools.get(&1).await.unwrap();
    let other = tokio::spawn(pools.get(&2));
    settle().await;
    sleep(Duration::from_millis(500)).await;
    let mut own = tokio_test_poll(pools.get(&1));
    assert!(own.poll().is_none());
    lease.complete();
    let lease = other.await.unwrap().unwrap();
    assert!(own.poll().is_none());
    lease.complete();
    settle().await;
    own.poll().unwrap().unwrap().complete();
    closed(&pools, &probe, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_get_of_another_key_takes_no_unit() {
    let probe = Probe::new();
    let pools = keyed(&probe, 1, 1);
    let lease = pools.get(&1).await.unwrap();
    let mut other = tokio_test_poll(pools.get(&2));
    assert!(other.poll().is_none());
    drop(other);
    lease.complete();
    settle().await;
    pools.get(&1).await.unwrap().complete();
    pools.get(&3).await.unwrap().complete();
    closed(&pools, &probe, 1).await;
}

#[tokio::test(start_paused = true)]
async fn empty_pools_are_forgotten() {
    let probe = Probe::new();
    let pools = keyed(&probe, 2, 1);
    for key in 0..100 {
        pools.get(&key).await.unwrap().complete();
    }
    assert!(pools.status().len() <= 4, "{}", pools.status().len());
    closed(&pools, &probe, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_keyed_pool_is_a_context() {
    let probe = Probe::new();
    let pools = keyed(&probe, 2, 1);
    let handle = pools.clone();
    with(pools, async |pools| {
        pools.get(&1).await?.complete();
        Ok::<_, PoolError>(())
    })
    .await
    .unwrap();
    assert_eq!(probe.alive(), 0);
    let error = handle.get(&1).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Closed);
}
