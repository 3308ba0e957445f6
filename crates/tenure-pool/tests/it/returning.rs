//! Returns: what becomes of a resource after each kind of end.

use std::time::Duration;

use tenure::{Held, with};
use tenure_pool::{GetError, Lease, LeaseEnd, Next, PoolError, Why};

use crate::basics::tokio_test_poll;
use crate::support::{Act, Op, Probe, assert_full_capacity, settle};

#[derive(Debug)]
enum Oops {
    Get,
    Body,
}

impl From<GetError> for Oops {
    fn from(_: GetError) -> Self {
        Self::Get
    }
}

#[tokio::test]
async fn a_completed_use_goes_back_at_once() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    with(pool.get(), async |thing| {
        thing.touch();
        Ok::<_, Oops>(())
    })
    .await
    .unwrap();
    assert!(pool.try_get().is_some());
    assert_eq!(probe.resets(), 0);
}

#[tokio::test]
async fn law_no_dirty_resource_reaches_a_user_after_a_completed_use_that_broke_it() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let completed = with(pool.get(), async |thing| {
        thing.begin();
        Ok::<_, Oops>(())
    });
    completed.await.unwrap();
    pool.get().await.unwrap().touch();
    assert_eq!(probe.whys(), [Why::Broken]);
    assert_eq!(probe.resets(), 0);
    probe.assert_sound(1);
}

#[tokio::test]
async fn law_no_dirty_resource_reaches_a_user_after_a_failure() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let failed = with(pool.get(), async |thing| {
        thing.begin();
        Err::<(), _>(Oops::Body)
    });
    assert!(matches!(failed.await, Err(Oops::Body)));
    assert!(pool.try_get().is_none(), "it is being reset");
    pool.get().await.unwrap().touch();
    assert_eq!(probe.resets(), 1);
    probe.assert_sound(1);
}

#[tokio::test]
async fn law_no_dirty_resource_reaches_a_user_after_a_panic() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let task = {
        let pool = pool.clone();
        tokio::spawn(async move {
            with(pool.get(), async |thing| -> Result<(), Oops> {
                thing.begin();
                panic!("scripted panic of the body")
            })
            .await
        })
    };
    assert!(task.await.unwrap_err().is_panic());
    pool.get().await.unwrap().touch();
    assert_eq!(probe.resets(), 1);
    probe.assert_sound(1);
}

#[tokio::test]
async fn law_no_dirty_resource_reaches_a_user_after_a_cancel() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let mut cancelled = tokio_test_poll(with(pool.get_owned(), async |thing| {
        thing.begin();
        std::future::pending::<Result<(), Oops>>().await
    }));
    for _ in 0..3 {
        assert!(cancelled.poll().is_none());
        settle().await;
    }
    drop(cancelled);
    pool.get().await.unwrap().touch();
    assert_eq!(probe.resets(), 1);
    probe.assert_sound(1);
}

#[tokio::test]
async fn law_no_dirty_resource_reaches_a_user_after_a_bare_drop() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    lease.begin();
    drop(lease);
    pool.get().await.unwrap().touch();
    assert_eq!(probe.resets(), 1);
    probe.assert_sound(1);
}

#[tokio::test]
async fn the_manager_decides_by_the_end() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    probe.assess_by(|end| match end {
        LeaseEnd::Failed(failure) if failure.is::<Oops>() => Next::Keep,
        LeaseEnd::Panicked(_) => Next::Close,
        LeaseEnd::Dropped => Next::Check,
        _ => Next::Reset,
    });
    let failed = with(pool.get(), async |thing| {
        thing.touch();
        Err::<(), _>(Oops::Body)
    });
    assert!(failed.await.is_err());
    assert!(pool.try_get().is_some_and(|lease| lease.id == 1), "kept");
    settle().await;
    assert_eq!((probe.checks(), probe.resets()), (1, 0));
    let held = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _lease = pool.get().await.unwrap();
            panic!("scripted panic of a holder")
        }
    });
    assert!(held.await.unwrap_err().is_panic());
    settle().await;
    assert_eq!(probe.whys(), [Why::Panicked]);
    assert_full_capacity(&pool, 1).await;
}

#[tokio::test]
async fn a_panic_of_assess_closes_the_resource_and_nothing_else() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    probe.assess_by(|_| panic!("scripted panic of assess"));
    drop(pool.get().await.unwrap());
    settle().await;
    probe.assess_by(|_| Next::Keep);
    assert_full_capacity(&pool, 1).await;
    assert!(pool.close().await.is_clean());
    probe.assert_all_closed(1);
}

#[tokio::test(start_paused = true)]
async fn law_a_reset_that_fails_panics_or_hangs_costs_the_resource_and_no_permit() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        let probe = Probe::new();
        let pool = probe.pool().max_size(2).build().unwrap();
        probe.always(Op::Reset, 0, act);
        for _ in 0..3 {
            let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
            drop((one, two));
        }
        assert_full_capacity(&pool, 2).await;
        assert_eq!(pool.counters().reset_failures, 6);
        assert!(pool.close().await.is_clean());
        probe.assert_all_closed(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_what_was_reset() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    probe.always(Op::Reset, 20, Act::Succeed);
    let mut lease = pool.get().await.unwrap();
    lease.begin();
    let waiting = tokio::spawn(pool.get_owned());
    settle().await;
    drop(lease);
    waiting.await.unwrap().unwrap().touch();
    assert_eq!(probe.creates(), 1);
    probe.assert_sound(1);
}

#[tokio::test]
async fn an_invalidated_lease_is_closed() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    Lease::invalidate(pool.get().await.unwrap());
    settle().await;
    assert_eq!(probe.whys(), [Why::Invalidated]);
    assert_eq!(pool.get().await.unwrap().id, 2);
}

#[tokio::test]
async fn law_a_lease_dropped_off_the_runtime_goes_back() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    lease.begin();
    std::thread::spawn(move || drop(lease)).join().unwrap();
    pool.get().await.unwrap().touch();
    assert_eq!(probe.resets(), 1);
    probe.assert_sound(1);
}

#[test]
fn law_a_lease_dropped_after_its_runtime_leaks_nothing() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (lease, other) = first.block_on(async { (pool.get().await.unwrap(), pool.get().await.unwrap()) });
    drop(first);
    drop(lease);
    assert_eq!(probe.dropped(), 1);
    // Another runtime takes over, with the full capacity.
    other.complete();
    runtime().block_on(async {
        assert_full_capacity(&pool, 2).await;
        let report = pool.close().await;
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.dropped, 1);
    });
    probe.assert_all_closed(2);
}

#[test]
fn law_a_runtime_that_dies_with_everything_out_loses_nothing_silently() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    probe.always(Op::Reset, 0, Act::Hang).always(Op::Close, 0, Act::Hang);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // One lent, one in a reset that hangs, one in a close that hangs, one get that waits.
        let lent = pool.get().await.unwrap();
        let (reset, closed) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        drop(reset);
        Lease::invalidate(closed);
        let get = pool.get_owned();
        tokio::spawn(async move {
            let _lent = lent;
            let _ = get.await;
        });
        settle().await;
        assert_eq!(pool.status().waiting, 1);
    });
    drop(runtime);
    drop(pool);
    assert_eq!(probe.dropped(), 3);
    probe.assert_all_closed(3);
}

#[tokio::test]
async fn a_lease_can_be_held_by_the_hub() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let mut held: Held<_> = tenure::hold(pool.get()).await.unwrap();
    held.touch();
    held.close().await.unwrap();
    assert!(pool.try_get().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_waits_for_itself_is_told_so_at_once() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let began = tokio::time::Instant::now();
    let kind = pool
        .scope(async |_| {
            pool.scope(async |_| {
                let error = pool.get().await.unwrap_err();
                Ok::<_, Scoped>(error.kind())
            })
            .await
        })
        .await
        .unwrap();
    assert_eq!(kind, tenure_pool::GetErrorKind::SelfDeadlock);
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Where another task holds one, nothing is sure, and the get waits.
    let lease = pool.get().await.unwrap();
    let result = pool.scope(async |_| {
        let mut waiting = tokio_test_poll(pool.get());
        assert!(waiting.poll().is_none());
        Ok::<_, Scoped>(())
    });
    result.await.unwrap();
    drop(lease);
}

#[derive(Debug)]
struct Scoped;

impl From<GetError> for Scoped {
    fn from(_: GetError) -> Self {
        Self
    }
}

impl From<tenure::Stopped> for Scoped {
    fn from(_: tenure::Stopped) -> Self {
        Self
    }
}

#[tokio::test]
async fn errors_of_the_pool_can_be_those_of_a_body() {
    let pool = Probe::new().pool().max_size(1).build().unwrap();
    let result = with(pool, async |pool| {
        let _held = pool.get().await?;
        pool.get().timeout(Duration::ZERO).await?.complete();
        Ok::<_, PoolError>(())
    });
    assert!(matches!(result.await, Err(PoolError::Get(_))));
}
