//! Get, use, return; what does not wait; what the types promise.

use std::time::Duration;

use tenure::with;
use tenure_pool::{BuildError, Get, GetErrorKind, Lease, Order, Pool, PoolError};

use crate::support::{Act, Op, Probe, assert_full_capacity, settle};

fn is_send<T: Send>(_: &T) {}
fn is_sync<T: Sync>(_: &T) {}

#[tokio::test]
async fn futures_and_leases_can_be_sent() {
    let pool = Probe::new().pool().build().unwrap();
    is_send(&pool);
    is_sync(&pool);
    is_send(&pool.get());
    is_send(&pool.get_owned());
    is_send(&pool.close());
    is_send(&pool.open());
    is_send(&pool.scope(async |_| Ok::<_, Oops>(())));
    let lease = pool.get().await.unwrap();
    is_send(&lease);
    let spawned = tokio::spawn(async move { lease.id });
    assert_eq!(spawned.await.unwrap(), 1);
}

#[derive(Debug)]
struct Oops;
impl From<tenure_pool::GetError> for Oops {
    fn from(_: tenure_pool::GetError) -> Self {
        Self
    }
}
impl From<tenure::Stopped> for Oops {
    fn from(_: tenure::Stopped) -> Self {
        Self
    }
}

#[test]
fn a_waiting_get_takes_at_most_160_bytes() {
    assert!(size_of::<Get<&Pool<Probe>, Probe>>() <= 160);
    assert!(size_of::<Lease<Probe>>() <= 16);
}

#[tokio::test]
async fn one_resource_serves_one_after_another() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(4).build().unwrap();
    for _ in 0..100 {
        with(pool.get(), async |thing| {
            thing.touch();
            Ok::<_, PoolError>(())
        })
        .await
        .unwrap();
    }
    assert_eq!(probe.creates(), 1);
    let counters = pool.counters();
    assert_eq!((counters.lent, counters.opened, counters.resets), (100, 1, 0));
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(4);
}

#[tokio::test]
async fn law_never_more_than_max_alive() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    assert_full_capacity(&pool, 3).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let mut lease = pool.get().await.unwrap();
                    lease.begin();
                    tokio::task::yield_now().await;
                    lease.end();
                    lease.complete();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(3);
    assert_eq!(probe.most_alive(), 3);
}

#[tokio::test]
async fn sizes_that_contradict_each_other_are_refused() {
    assert_eq!(Probe::new().pool().max_size(0).build().unwrap_err(), BuildError::MaxSize(0));
    let build = Probe::new().pool().max_size(2).min_idle(3).build();
    assert_eq!(build.unwrap_err(), BuildError::MinIdle(3));
}

#[tokio::test]
async fn try_get_never_waits() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    assert!(pool.try_get().is_none(), "nothing is open yet");
    pool.get().await.unwrap().complete();
    let lease = pool.try_get().unwrap();
    assert!(pool.try_get().is_none());
    lease.complete();
    assert!(pool.try_get().is_some());
}

#[tokio::test]
async fn a_get_with_no_time_fails_at_once() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let _lease = pool.get().await.unwrap();
    let error = pool.get().timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Exhausted);
    assert_eq!((error.status().in_use, error.status().size), (1, 1));
}

#[tokio::test]
async fn lifo_lends_the_last_returned_and_fifo_the_first() {
    for (order, expected) in [(Order::Lifo, [3, 2, 1]), (Order::Fifo, [1, 2, 3])] {
        let probe = Probe::new();
        let pool = probe.pool().max_size(3).order(order).build().unwrap();
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.push(pool.get().await.unwrap());
        }
        for lease in leases {
            lease.complete();
        }
        let mut seen = Vec::new();
        let mut held = Vec::new();
        for _ in 0..3 {
            let lease = pool.get().await.unwrap();
            seen.push(lease.id);
            held.push(lease);
        }
        assert_eq!(seen, expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_the_first_chunk_of_slots() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(200).parallel_creates(200).build().unwrap();
    assert_full_capacity(&pool, 200).await;
    assert_full_capacity(&pool, 200).await;
    assert_eq!(probe.creates(), 200);
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(200);
}

#[tokio::test]
async fn a_detached_resource_makes_room() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let thing = Lease::detach(pool.get().await.unwrap());
    let lease = pool.get().await.unwrap();
    assert_ne!(lease.id, thing.id);
    drop(lease);
    let report = pool.close().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.opened, report.closed), (2, 2));
    assert_eq!(pool.counters().detached, 1);
    drop(thing);
}

#[tokio::test]
async fn a_resource_from_outside_is_added_while_there_is_room() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let thing = Lease::detach(pool.get().await.unwrap());
    let id = thing.id;
    pool.add(thing).unwrap();
    assert_eq!(pool.get().await.unwrap().id, id);
    settle().await;
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let extra = Lease::detach(one);
    let _three = pool.get().await.unwrap();
    let refused = pool.add(extra).unwrap_err();
    assert_eq!(refused.kind, tenure_pool::AddErrorKind::Full);
    drop((refused, two));
    probe.assert_sound(3);
}

#[tokio::test]
async fn an_added_resource_serves_the_first_waiter() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let mut waiting = tokio_test_poll(pool.get_owned());
    assert!(waiting.poll().is_none());
    probe.always(Op::Create, 0, Act::Hang);
    let thing = Lease::detach(lease);
    // The room went to a create that hangs; what is added does not fit.
    settle().await;
    let refused = pool.add(thing).unwrap_err();
    pool.resize(2).unwrap();
    let id = refused.resource.id;
    pool.add(refused.resource).unwrap();
    assert_eq!(waiting.poll().unwrap().unwrap().id, id);
}

/// A future that is polled by hand.
pub(crate) struct ByHand<F>(std::pin::Pin<Box<F>>);

impl<F: Future> ByHand<F> {
    pub(crate) fn poll(&mut self) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match self.0.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

pub(crate) fn tokio_test_poll<F: Future>(future: F) -> ByHand<F> {
    ByHand(Box::pin(future))
}

#[test]
fn a_get_off_the_runtime_says_so() {
    let pool = Probe::new().pool().build().unwrap();
    let error = tokio_test_poll(pool.get()).poll().unwrap().unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::NoRuntime);
}

#[tokio::test]
async fn without_pooling_each_lease_has_a_resource_of_its_own() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).without_pooling().build().unwrap();
    for number in 1..=5 {
        let lease = pool.get().await.unwrap();
        assert_eq!(lease.id, number);
        lease.complete();
    }
    assert_full_capacity(&pool, 2).await;
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(2);
}
