//! Closing: everything, side by side, within its deadline.

use std::future::{pending, ready};
use std::time::Duration;

use tenure::{AsyncExit, IncidentKind, Outcome, Stopped, drain, hold, with};
use tenure_pool::{CloseReport, GetError, GetErrorKind, PoolError, Why};
use tokio::time::{Instant, timeout};

use crate::support::{Act, Op, Probe, settle};

#[derive(Debug, PartialEq)]
enum Oops {
    Get(GetErrorKind),
    Stopped(Stopped),
}

impl From<GetError> for Oops {
    fn from(error: GetError) -> Self {
        Self::Get(error.kind())
    }
}

impl From<Stopped> for Oops {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_a_pool_closes_what_it_opened_side_by_side() {
    let probe = Probe::new();
    probe.always(Op::Close, 100, Act::Succeed);
    let pool = probe.pool().max_size(8).min_idle(6).build().unwrap();
    let mut began = None;
    with(pool, async |pool| {
        assert_eq!(pool.status().idle, 6);
        began = Some(Instant::now());
        Ok::<_, PoolError>(())
    })
    .await
    .unwrap();
    assert!(began.unwrap().elapsed() < Duration::from_millis(150));
    assert_eq!(probe.whys(), [Why::PoolClosed; 6]);
    probe.assert_all_closed(8);
}

#[tokio::test(start_paused = true)]
async fn a_closing_pool_waits_for_its_leases() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let lease = pool.get().await.unwrap();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    settle().await;
    let error = pool.get().await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Closed);
    assert!(pool.try_get().is_none());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!closing.is_finished());
    lease.complete();
    let report = closing.await.unwrap();
    assert!(report.is_clean(), "{report}");
    probe.assert_all_closed(2);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_failed_by_a_close() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let waiting = tokio::spawn(pool.get_owned());
    settle().await;
    let (report, ()) = tokio::join!(pool.close(), async {
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::Closed);
        lease.complete();
    });
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn law_close_ends_within_its_deadline_and_names_who_holds_on() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    let lease = pool.get().await.unwrap();
    pool.get().await.unwrap().complete();
    let began = Instant::now();
    let report = pool.close_within(Duration::from_secs(2)).await;
    assert!(began.elapsed() <= Duration::from_secs(2 + 5 + 5), "{:?}", began.elapsed());
    assert!(!report.is_clean());
    assert_eq!(report.held.len(), 1);
    assert!(report.held[0].location.file().ends_with("closing.rs"));
    assert!(report.held[0].held >= Duration::from_secs(2));
    assert!(report.to_string().contains("closing.rs"), "{report}");
    // Marked, it is closed when it comes back after all.
    lease.complete();
    settle().await;
    probe.assert_all_closed(3);
    assert!(pool.close().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_cancelled_when_the_drain_is_over() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).drain_timeout(Duration::from_secs(3)).build().unwrap();
    let scope = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.scope(async |thing| {
                thing.begin();
                pending::<Result<(), Oops>>().await
            })
            .await
        }
    });
    settle().await;
    let began = Instant::now();
    let report = pool.close().await;
    assert!(report.is_clean(), "{report}");
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
    assert_eq!(scope.await.unwrap(), Err(Oops::Stopped(Stopped::Cancelled)));
    probe.assert_all_closed(1);
}

#[tokio::test(start_paused = true)]
async fn law_closes_that_fail_panic_or_hang_end_and_are_counted() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        let probe = Probe::new();
        probe.always(Op::Close, 0, act);
        let pool = probe.pool().max_size(4).min_idle(4).build().unwrap();
        pool.open().await.unwrap();
        let began = Instant::now();
        let report = pool.close().await;
        assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!((report.opened, report.closed, report.close_failures), (4, 4, 4));
        assert_eq!(probe.dropped(), 4);
        probe.assert_all_closed(4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_hangs_does_not_hold_up_a_close() {
    let probe = Probe::new();
    probe.always(Op::Create, 0, Act::Hang);
    let pool = probe.pool().max_size(4).create_timeout(None).build().unwrap();
    let get = tokio::spawn(pool.get_owned());
    settle().await;
    let began = Instant::now();
    let report = pool.close_within(Duration::from_secs(1)).await;
    assert!(report.is_clean());
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert!(get.await.unwrap().is_err());
    probe.assert_all_closed(4);
}

#[tokio::test(start_paused = true)]
async fn what_is_created_for_a_closed_pool_is_closed() {
    let probe = Probe::new();
    probe.always(Op::Create, 500, Act::Succeed);
    let pool = probe.pool().max_size(4).build().unwrap();
    let get = tokio::spawn(pool.get_owned());
    settle().await;
    let report = pool.close().await;
    assert!(report.is_clean());
    assert_eq!((report.opened, probe.closes()), (1, 1));
    assert!(get.await.unwrap().is_err());
    probe.assert_all_closed(4);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_pool_in_the_background() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let lease = pool.get().await.unwrap();
    pool.get().await.unwrap().complete();
    let other = pool.clone();
    drop(pool);
    settle().await;
    assert_eq!(probe.closes(), 0);
    drop(other);
    settle().await;
    assert_eq!(probe.closes(), 1);
    lease.complete();
    settle().await;
    probe.assert_all_closed(2);
}

#[tokio::test(start_paused = true)]
async fn two_closes_wait_for_the_same_end() {
    let probe = Probe::new();
    probe.always(Op::Close, 100, Act::Succeed);
    let pool = probe.pool().min_idle(2).build().unwrap();
    pool.open().await.unwrap();
    let (one, two) = tokio::join!(pool.close(), pool.close());
    assert!(one.is_clean() && two.is_clean());
    assert_eq!(probe.closes(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_leaves_something_open_is_an_error() {
    let probe = Probe::new();
    let pool = probe.pool().drain_timeout(Duration::from_millis(10)).build().unwrap();
    let lease = pool.get().await.unwrap();
    let error = pool.exit(Outcome::Completed).await.unwrap_err();
    assert!(matches!(&error, PoolError::Close(report) if report.held.len() == 1), "{error}");
    drop(lease);
    settle().await;
    probe.assert_all_closed(10);
}

/// The drain timeout of the pools below, and how long their close may take with a lease out.
const DRAIN: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(3 + 5 + 5);

/// The report names the lease that was taken on this line.
#[track_caller]
fn assert_names(report: &CloseReport, line: u32) {
    assert_eq!(report.held.len(), 1, "{report}");
    assert!(report.to_string().contains(&format!("closing.rs:{line}")), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_close_by_the_holder_of_a_lease_ends_within_its_deadline_and_names_him() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).drain_timeout(DRAIN).build().unwrap();
    let began = Instant::now();
    let line = line!() + 1;
    let report = with(pool.get(), async |lease| {
        lease.touch();
        Ok::<_, GetError>(pool.close().await)
    })
    .await
    .unwrap();
    assert!(began.elapsed() >= DRAIN && began.elapsed() <= LONGEST, "{:?}", began.elapsed());
    assert_names(&report, line);
    settle().await;
    probe.assert_all_closed(2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_left_inside_the_body_of_its_lease_ends_within_its_deadline_and_names_it() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).drain_timeout(DRAIN).build().unwrap();
    let began = Instant::now();
    let line = line!() + 1;
    let left = with(pool.get_owned(), async move |lease| {
        lease.touch();
        with(pool, async |_| Ok::<_, PoolError>(())).await
    })
    .await;
    assert!(began.elapsed() >= DRAIN && began.elapsed() <= LONGEST, "{:?}", began.elapsed());
    match left {
        Err(PoolError::Close(report)) => assert_names(&report, line),
        other => panic!("{other:?}"),
    }
    probe.assert_all_closed(2);
}

#[tokio::test(start_paused = true)]
async fn law_13_a_pool_entered_after_a_lease_and_dropped_with_it_exits_first_and_names_it() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).drain_timeout(DRAIN).build().unwrap();
    let line = line!() + 2;
    let body = async {
        let _lease = hold(pool.get_owned()).await?;
        let _pool = hold(ready(Ok::<_, PoolError>(pool))).await?;
        pending::<Result<(), PoolError>>().await
    };
    assert!(timeout(Duration::from_millis(1), body).await.is_err());
    let began = Instant::now();
    let report = drain(2 * LONGEST).await;
    assert!(began.elapsed() >= DRAIN && began.elapsed() <= LONGEST, "{:?}", began.elapsed());
    assert_eq!(report.incidents.len(), 1, "{report}");
    let incident = report.of_kind(IncidentKind::ExitFailed).next().unwrap();
    assert!(incident.message.contains("closing.rs"), "{incident}");
    assert!(incident.message.contains(&format!("line: {line},")), "{incident}");
    probe.assert_all_closed(2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_handed_over_does_not_hold_up_a_close() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).drain_timeout(DRAIN).build().unwrap();
    let began = Instant::now();
    let report = with(ready(Ok::<_, PoolError>(Some(pool.clone()))), async |_| {
        let lease = hold(pool.get_owned()).await?;
        drop(lease);
        Ok::<_, PoolError>(pool.close().await)
    })
    .await
    .unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(drain(DRAIN).await.is_clean());
    probe.assert_all_closed(2);
}
