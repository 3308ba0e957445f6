//! Creating: for the demand, detached, elided, limited, backing off.

use std::error::Error;
use std::time::Duration;

use tenure_pool::{Context, CreateContext, GetErrorKind, Manager, Pool};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::basics::tokio_test_poll;
use crate::support::{Act, Op, Probe, Step, assert_full_capacity, settle};

/// So many callers come at once, and each uses what it gets for 2 ms.
async fn serve_at_once(pool: &Pool<Probe>, callers: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let get = pool.get_owned();
        tasks.spawn(async move {
            let lease = get.await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            lease.complete();
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_spike_is_served_by_what_comes_back() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(50).build().unwrap();
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(pool.get().await.unwrap());
    }
    for lease in open {
        lease.complete();
    }
    probe.always(Op::Create, 150, Act::Succeed);
    let began = Instant::now();
    serve_at_once(&pool, 50).await;
    assert!(began.elapsed() <= Duration::from_millis(35), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(probe.creates() - 5 <= 5, "{} new ones", probe.creates() - 5);
}

#[tokio::test(start_paused = true)]
async fn a_herd_is_served_without_a_stampede() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(8).build().unwrap();
    let began = Instant::now();
    let outage = Duration::from_millis(500);
    probe.script(Op::Create, move |_| {
        let act = if began.elapsed() < outage { Act::Fail } else { Act::Succeed };
        Step(Duration::ZERO, act)
    });
    serve_at_once(&pool, 64).await;
    assert!(began.elapsed() <= Duration::from_millis(800), "{:?}", began.elapsed());
    assert!(probe.creates() <= 20, "{} attempts", probe.creates());
    assert_full_capacity(&pool, 8).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_get_wastes_no_create() {
    let probe = Probe::new();
    probe.always(Op::Create, 100, Act::Succeed);
    let pool = probe.pool().max_size(4).build().unwrap();
    let limit = Duration::from_millis(10);
    assert!(tokio::time::timeout(limit, pool.get()).await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(pool.status().idle, 1);
    pool.try_get().unwrap().complete();
    assert_eq!(probe.creates(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_create_is_not_begun_when_a_return_has_served_the_demand() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let lease = pool.get().await.unwrap();
    let mut waiter = tokio_test_poll(pool.get());
    assert!(waiter.poll().is_none());
    // The creator's task has not run yet.
    lease.complete();
    waiter.poll().unwrap().unwrap().complete();
    settle().await;
    assert_eq!(probe.creates(), 1);
    assert_eq!(pool.status().size, 1);
}

#[tokio::test(start_paused = true)]
async fn creates_are_limited_in_parallel() {
    let probe = Probe::new();
    probe.always(Op::Create, 100, Act::Succeed);
    let pool = probe.pool().max_size(10).parallel_creates(3).build().unwrap();
    let mut gets: Vec<_> = (0..10).map(|_| tokio_test_poll(pool.get())).collect();
    for get in &mut gets {
        assert!(get.poll().is_none());
    }
    settle().await;
    assert_eq!((pool.status().creating, probe.creates()), (3, 3));
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!((pool.status().creating, probe.creates()), (3, 6));
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_names_the_cause_if_creating_fails() {
    let probe = Probe::new();
    probe.always(Op::Create, 0, Act::Fail);
    let pool = probe.pool().build().unwrap();
    let error = pool.get().await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::CreateFailing);
    assert_eq!(error.source().unwrap().to_string(), "scripted failure of create");
    assert!(error.cause().unwrap().is::<crate::support::Trouble>());
    let attempts = probe.creates();
    assert!((10..=16).contains(&attempts), "{attempts} attempts in 30 s");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_fails_the_waiters_at_once() {
    let probe = Probe::new();
    probe.always(Op::Create, 5, Act::FailForGood);
    let pool = probe.pool().build().unwrap();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        tasks.spawn(pool.get_owned());
    }
    while let Some(task) = tasks.join_next().await {
        let error = task.unwrap().unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::CreateFailing);
    }
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_spares_waiters_who_can_be_served() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let lease = pool.get().await.unwrap();
    probe.always(Op::Create, 0, Act::FailForGood);
    let waiting = tokio::spawn(pool.get_owned());
    settle().await;
    lease.complete();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn law_panics_and_hangs_in_create_lose_no_permit() {
    for act in [Act::Panic, Act::Hang] {
        let probe = Probe::new();
        let pool = probe.pool().max_size(2).create_timeout(Duration::from_secs(1)).build().unwrap();
        probe.script(Op::Create, move |call| Step(Duration::ZERO, if call <= 3 { act } else { Act::Succeed }));
        assert_full_capacity(&pool, 2).await;
        assert_eq!(pool.counters().create_failures, 3);
        assert!(pool.close().await.is_clean());
        probe.assert_all_closed(2);
    }
}

/// A manager that panics before it has made a future.
struct Rude;

impl Manager for Rude {
    type Resource = ();
    type Error = std::io::Error;

    fn create(&self, context: CreateContext) -> impl Future<Output = Result<(), std::io::Error>> + Send {
        assert!(context.failures > 0, "scripted panic of the call");
        async { Ok(()) }
    }

    async fn reset(&self, (): &mut (), _: Context) -> Result<(), std::io::Error> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_call_itself_is_a_failure_too() {
    let pool = Pool::builder(Rude).build().unwrap();
    assert!(pool.get().await.is_ok());
    assert_eq!(pool.counters().create_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn entering_opens_the_minimum_side_by_side() {
    let probe = Probe::new();
    probe.always(Op::Create, 100, Act::Succeed);
    let pool = probe.pool().max_size(8).min_idle(4).build().unwrap();
    let began = Instant::now();
    pool.open().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(150), "{:?}", began.elapsed());
    assert_eq!(pool.status().idle, 4);
}

#[tokio::test(start_paused = true)]
async fn the_minimum_of_idle_ones_is_made_up_for() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(5).min_idle(2).build().unwrap();
    pool.open().await.unwrap();
    let _held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((pool.status().idle, pool.status().in_use), (2, 2));
    // As far as the size allows.
    let _more = (pool.get().await.unwrap(), pool.get().await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((pool.status().idle, pool.status().size), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn an_enter_that_fails_closes_what_it_opened() {
    let probe = Probe::new();
    probe.script(Op::Create, |call| {
        Step(Duration::ZERO, if call == 1 { Act::Succeed } else { Act::FailForGood })
    });
    let pool = probe.pool().min_idle(3).parallel_creates(1).build().unwrap();
    let entered = tenure::with(pool, async |_| -> Result<(), tenure_pool::PoolError> {
        panic!("the body of a pool that could not be opened ran")
    });
    let error = entered.await.unwrap_err();
    assert!(matches!(error, tenure_pool::PoolError::Open(_)), "{error:?}");
    assert_eq!(probe.opened(), 1);
    probe.assert_all_closed(10);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_grows_serves_those_who_wait() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let waiting = tokio::spawn(pool.get_owned());
    settle().await;
    pool.resize(2).unwrap();
    assert!(waiting.await.unwrap().is_ok());
    lease.complete();
    assert_full_capacity(&pool, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_shrinks_comes_down_to_its_size() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(10).build().unwrap();
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(pool.get().await.unwrap());
    }
    leases.pop().unwrap().complete();
    pool.resize(3).unwrap();
    settle().await;
    assert_eq!(pool.status().size, 5);
    for lease in leases {
        lease.complete();
    }
    settle().await;
    assert_eq!(pool.status().size, 3);
    assert_full_capacity(&pool, 3).await;
    for size in [5, 3, 5, 3, 5] {
        pool.resize(size).unwrap();
        settle().await;
        assert_full_capacity(&pool, size).await;
    }
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(10);
}
