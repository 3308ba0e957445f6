//! A pool whose last handle is dropped: what waits for what, and that nothing waits for itself.

use std::future::{pending, ready};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use tenure::{AsyncExit, Held, Outcome, counters, drain, hold, with};
use tenure_pool::{GetError, Lease, Pool};
use tokio::time::{Instant, timeout};

use crate::support::{Act, Op, Probe, settle};

type Oops = Box<dyn std::error::Error + Send + Sync>;

/// How long a close takes. Whatever waits for longer waits for a time limit.
const CLOSE: Duration = Duration::from_millis(100);
const AT_ONCE: Duration = Duration::from_millis(500);

/// A pool of three, with two idle resources.
async fn pool_of(probe: &Probe) -> Pool<Probe> {
    probe.always(Op::Close, 100, Act::Succeed);
    let pool = probe.pool().max_size(3).min_idle(2).build().unwrap();
    pool.open().await.unwrap();
    pool
}

async fn held_lease(pool: &Pool<Probe>) -> Held<Lease<Probe>> {
    let mut lease = hold(pool.get_owned()).await.unwrap();
    lease.touch();
    lease
}

/// What the resources of a pool are made of: it has to outlive them.
struct Tunnel(Probe);

impl AsyncExit for Tunnel {
    type Error = GetError;

    async fn exit(self, _: Outcome<'_>) -> Result<(), GetError> {
        assert_eq!(self.0.alive(), 0, "the tunnel is closed under what is open");
        Ok(())
    }
}

fn tunnel(probe: &Probe) -> impl Future<Output = Result<Tunnel, GetError>> + use<> {
    ready(Ok(Tunnel(probe.clone())))
}

/// Everything handed over ends at once, and ends well.
#[track_caller]
fn assert_drains(probe: Probe) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        let report = drain(Duration::from_secs(100)).await;
        assert!(report.is_clean(), "{caller}: {report}");
        assert!(began.elapsed() < AT_ONCE, "{caller}: {:?}", began.elapsed());
        probe.assert_all_closed(3);
    }
}

#[tokio::test(start_paused = true)]
async fn law_13_a_lease_exits_beside_the_pool_that_is_dropped_after_it() {
    let probe = Probe::new();
    let pool = pool_of(&probe).await;
    let lease = held_lease(&pool).await;
    drop(pool);
    let began = Instant::now();
    lease.close().await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_drains(probe).await;
}

#[tokio::test(start_paused = true)]
async fn law_13_a_cancelled_body_leaves_its_lease_its_pool_and_what_is_below_in_order() {
    let probe = Probe::new();
    let body = with(tunnel(&probe), async |_| {
        let _sibling = hold(tunnel(&probe)).await?;
        let pool = pool_of(&probe).await;
        let _lease = held_lease(&pool).await;
        pending::<Result<(), Oops>>().await
    });
    assert!(timeout(CLOSE, body).await.is_err());
    assert_drains(probe).await;
}

#[tokio::test(start_paused = true)]
async fn law_13_a_lease_outlives_the_pool_in_a_body_that_goes_on() {
    for is_held in [true, false] {
        let probe = Probe::new();
        let began = Instant::now();
        with(tunnel(&probe), async |_| {
            let pool = pool_of(&probe).await;
            let held = if is_held { Some(held_lease(&pool).await) } else { None };
            let mut bare = pool.get().await?;
            drop(pool);
            tokio::time::sleep(CLOSE).await;
            bare.begin();
            drop(bare);
            drop(held);
            Ok::<_, Oops>(())
        })
        .await
        .unwrap();
        assert!(began.elapsed() < 2 * AT_ONCE, "{:?}", began.elapsed());
        assert_eq!(probe.resets(), 1 + u64::from(is_held));
        assert_drains(probe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn law_13_the_body_of_a_lease_may_drop_the_last_handle() {
    let probe = Probe::new();
    let began = Instant::now();
    with(tunnel(&probe), async |_| {
        let pool = pool_of(&probe).await;
        with(pool.get_owned(), async move |lease| {
            drop(pool);
            lease.touch();
            Ok::<_, Oops>(())
        })
        .await
    })
    .await
    .unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_drains(probe).await;
}

#[tokio::test(start_paused = true)]
async fn law_16_a_drain_waits_for_the_close_of_a_lease_that_has_outlived_its_pool() {
    let probe = Probe::new();
    let pool = pool_of(&probe).await;
    let one = pool.get().await.unwrap();
    let other = pool.get().await.unwrap();
    drop(pool);
    assert_drains_nothing_of(&probe).await;
    one.complete();
    drop(other);
    assert_drains(probe).await;
}

/// Leases that are out are their holders' business.
async fn assert_drains_nothing_of(probe: &Probe) {
    let began = Instant::now();
    assert!(drain(Duration::from_secs(100)).await.is_clean());
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(probe.alive(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_hands_nothing_over() {
    let probe = Probe::new();
    let pool = pool_of(&probe).await;
    let lease = pool.get().await.unwrap();
    let before = counters().handed_over;
    assert!(!pool.close_within(Duration::ZERO).await.is_clean());
    drop(pool);
    settle().await;
    assert_eq!(counters().handed_over, before);
    // Nobody has waited for this one yet.
    lease.complete();
    assert_drains(probe).await;
    assert_eq!(counters().handed_over, before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_close_that_was_given_up_is_waited_for() {
    let probe = Probe::new();
    let pool = pool_of(&probe).await;
    assert!(timeout(CLOSE / 2, pool.close()).await.is_err());
    drop(pool);
    assert_drains(probe).await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_hangs_holds_no_orphan_up() {
    let probe = Probe::new();
    probe.always(Op::Create, 0, Act::Hang);
    let pool = probe.pool().max_size(3).create_timeout(None).build().unwrap();
    assert!(timeout(CLOSE, pool.get_owned()).await.is_err());
    drop(pool);
    let began = Instant::now();
    assert!(drain(Duration::from_secs(100)).await.is_clean());
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    probe.assert_all_closed(3);
}

/// Whichever comes first, one of the two sees that there is something to wait for.
#[test]
fn law_16_a_drain_waits_when_a_lease_and_the_last_handle_go_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for is_closed_before in [true, false].repeat(200) {
            let probe = Probe::new();
            let pool = probe.pool().max_size(3).build().unwrap();
            let lease = pool.get().await.unwrap();
            if is_closed_before {
                assert!(timeout(Duration::ZERO, pool.close()).await.is_err());
            }
            let both = Arc::new(Barrier::new(2));
            let handle = tokio::spawn({
                let both = Arc::clone(&both);
                async move {
                    both.wait();
                    drop(pool);
                }
            });
            let lease = tokio::spawn(async move {
                both.wait();
                lease.complete();
            });
            handle.await.unwrap();
            lease.await.unwrap();
            assert!(drain(Duration::from_secs(20)).await.is_clean());
            probe.assert_all_closed(3);
        }
    });
}
