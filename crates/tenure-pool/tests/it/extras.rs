//! Hooks, several at once, a look at the idle ones, handles that do not count, contexts without a manager, figures.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::{AsyncExit, Outcome, with};
use tenure_pool::{
    AddErrorKind, BoxError, Context, CreateContext, GetErrorKind, Hooks, Lease, LeaseEnd, Manager, Next, Order,
    Pool, PoolError, Why,
};
use tokio::time::{Instant, sleep};

use crate::basics::tokio_test_poll;
use crate::support::{Probe, assert_full_capacity, settle};

const SECOND: Duration = Duration::from_secs(1);

/// Writes down what is called, in order; steps named in `fails` fail once.
#[derive(Default)]
struct Hooked {
    hooks: Hooks,
    keeps: bool,
    calls: Mutex<Vec<&'static str>>,
    fails: Mutex<Option<&'static str>>,
}

impl Hooked {
    fn call(&self, what: &'static str) -> io::Result<()> {
        self.calls.lock().unwrap().push(what);
        let mut fails = self.fails.lock().unwrap();
        if *fails == Some(what) {
            *fails = None;
            return Err(io::Error::other(what));
        }
        Ok(())
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Manager for Hooked {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, _: CreateContext) -> io::Result<()> {
        self.call("create")
    }
    async fn check(&self, (): &mut (), _: Context) -> io::Result<()> {
        self.call("check")
    }
    async fn reset(&self, (): &mut (), _: Context) -> io::Result<()> {
        self.call("reset")
    }
    async fn close(&self, (): (), _: Context) -> io::Result<()> {
        self.call("close")
    }
    fn assess(&self, (): &mut (), _: LeaseEnd<'_>) -> Next {
        if self.keeps { Next::Keep } else { Next::Reset }
    }
    fn hooks(&self) -> Hooks {
        self.hooks
    }
    async fn on_get(&self, (): &mut (), _: Context) -> io::Result<()> {
        tokio::task::yield_now().await;
        self.call("on_get")
    }
    async fn on_return(&self, (): &mut (), _: Context) -> io::Result<()> {
        tokio::task::yield_now().await;
        self.call("on_return")
    }
}

fn hooked(hooks: Hooks, keeps: bool) -> Pool<Hooked> {
    Pool::builder(Hooked { hooks, keeps, ..Hooked::default() }).max_size(1).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn hooks_run_at_every_get_and_every_return() {
    let pool = hooked(Hooks::default().on_get(true).on_return(true), false);
    let calls = || pool.manager().take();
    // The first use, too.
    let lease = pool.get().await.unwrap();
    assert_eq!(calls(), ["create", "on_get"]);
    lease.complete();
    assert!(pool.try_get().is_none(), "it is not lent before its hook has run");
    let lease = pool.get().await.unwrap();
    assert_eq!(calls(), ["on_return", "on_get"]);
    drop(lease);
    let lease = pool.get().await.unwrap();
    assert_eq!(calls(), ["reset", "on_return", "on_get"]);
    lease.complete();
    settle().await;
    sleep(SECOND).await;
    let lease = pool.get().await.unwrap();
    assert_eq!(calls(), ["on_return", "check", "on_get"]);
    lease.invalidate();
    settle().await;
    assert_eq!(calls(), ["close"], "what leaves the pool is not given back");
}

#[tokio::test(start_paused = true)]
async fn a_use_that_did_not_complete_and_is_kept_meets_the_hook_of_its_return() {
    let pool = hooked(Hooks::default().on_return(true), true);
    drop(pool.get().await.unwrap());
    settle().await;
    assert_eq!(pool.manager().take(), ["create", "on_return"]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_costs_the_resource_and_no_get() {
    for what in ["on_get", "on_return"] {
        let pool = hooked(Hooks::default().on_get(true).on_return(true), false);
        *pool.manager().fails.lock().unwrap() = Some(what);
        pool.get().await.unwrap().complete();
        pool.get().await.unwrap().complete();
        settle().await;
        let counters = pool.counters();
        assert_eq!((counters.hook_failures, counters.opened, counters.closed), (1, 2, 1), "{what}");
        assert_eq!(pool.closed_for(Why::HookFailed), 1);
        assert!(pool.close().await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn without_hooks_nothing_is_called() {
    let pool = hooked(Hooks::default(), true);
    pool.get().await.unwrap().complete();
    drop(pool.get().await.unwrap());
    settle().await;
    assert_eq!(pool.manager().take(), ["create"]);
}

#[tokio::test(start_paused = true)]
async fn several_are_taken_all_or_none_and_without_a_circle() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(4).build().unwrap();
    // Each pair needs more than is left when the other has begun.
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut leases = pool.get_many(3).await.unwrap();
                leases.iter_mut().for_each(|lease| lease.touch());
                sleep(Duration::from_millis(10)).await;
                leases.complete();
            })
        })
        .collect();
    let began = Instant::now();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(began.elapsed() <= 20 * Duration::from_millis(11), "{:?}", began.elapsed());
    assert_eq!(pool.get_many(5).await.unwrap_err().kind(), GetErrorKind::TooMany);
    assert_eq!(pool.get_many(0).await.unwrap().len(), 0);
    assert_full_capacity(&pool, 4).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_collected_in_vain_goes_back_unused() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    let held = pool.get().await.unwrap();
    let error = pool.get_many(3).timeout(SECOND).await.unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Exhausted);
    // Dropped half-way, and in the queue behind one that collects.
    let mut first = Box::pin(pool.get_many(3).into_future());
    let mut second = Box::pin(pool.get_many(2).into_future());
    assert!(tokio::time::timeout(SECOND, &mut first).await.is_err());
    assert!(tokio::time::timeout(SECOND, &mut second).await.is_err());
    drop(first);
    let two = second.await.unwrap();
    assert_eq!(two.len(), 2);
    two.complete();
    held.complete();
    assert_full_capacity(&pool, 3).await;
    assert_eq!(probe.resets(), 0);
}

#[tokio::test(start_paused = true)]
async fn several_are_a_context_that_is_told_the_outcome() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let failed = with(pool.get_many(2), async |leases| {
        assert_eq!(leases.len(), 2);
        leases[0].begin();
        Err::<(), _>(PoolError::from(pool.get_many(9).await.unwrap_err()))
    });
    assert!(failed.await.is_err());
    settle().await;
    assert_eq!(probe.resets(), 2);
    assert_full_capacity(&pool, 2).await;
}

#[tokio::test(start_paused = true)]
async fn retain_closes_what_is_not_kept_and_keeps_the_order() {
    for order in [Order::Lifo, Order::Fifo] {
        let probe = Probe::new();
        let pool = probe.pool().max_size(5).order(order).build().unwrap();
        let leases = pool.get_many(5).await.unwrap();
        leases.complete();
        let mut seen = Vec::new();
        let closed = pool.retain(|thing, info| {
            assert_eq!((thing.id, info.uses), (info.id, 1));
            seen.push(thing.id);
            thing.id % 2 == 1
        });
        settle().await;
        assert_eq!((closed, probe.whys()), (2, vec![Why::NotRetained; 2]));
        let mut left: Vec<_> = pool.idle().iter().map(|info| info.id).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 3, 5]);
        let expected: Vec<_> = seen.into_iter().filter(|id| id % 2 == 1).collect();
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.push(pool.try_get().unwrap());
        }
        let order_of: Vec<_> = leases.iter().map(Lease::id).collect();
        assert_eq!(order_of, expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_panics_costs_one_resource() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    pool.get_many(3).await.unwrap().complete();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.retain(|thing, _| {
            // It may look at the pool.
            assert!(pool.status().size == 3 && thing.id != 2, "scripted panic");
            true
        })
    }));
    assert!(panicked.is_err());
    settle().await;
    assert_eq!(probe.closes(), 1);
    assert_full_capacity(&pool, 3).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_retain_looks_is_served_after_it() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    let mut waiting = tokio_test_poll(pool.get_owned());
    pool.retain(|_, _| {
        assert!(waiting.poll().is_none());
        true
    });
    waiting.poll().unwrap().unwrap().complete();
}

#[tokio::test(start_paused = true)]
async fn gets_and_waits_are_counted_by_what_became_of_them() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).measure_all(true).build().unwrap();
    pool.get().await.unwrap().complete();
    let held = pool.get().await.unwrap();
    assert!(pool.get().timeout(SECOND).await.is_err());
    let mut dropped = tokio_test_poll(pool.get());
    assert!(dropped.poll().is_none());
    drop(dropped);
    let waiting = tokio::spawn(pool.get_owned());
    let pending = tokio::spawn(pool.get_owned());
    sleep(2 * SECOND).await;
    held.complete();
    let lease = waiting.await.unwrap().unwrap();
    let counters = pool.counters();
    // The first had to wait for its create.
    assert_eq!((counters.gets, counters.lent, counters.get_failures), (6, 3, 1));
    assert_eq!((counters.waited, counters.waits_served, counters.cancelled), (5, 2, 1));
    assert_eq!(counters.timed_out, 1);
    assert_eq!(pool.histograms().wait.count(), 2);
    assert!(counters.wait_time.abs_diff(2 * SECOND) < SECOND / 4, "{:?}", counters.wait_time);
    lease.invalidate();
    pending.await.unwrap().unwrap().complete();
    assert_eq!(pool.closed_for(Why::Invalidated), 1);
}

#[tokio::test(start_paused = true)]
async fn waits_are_sampled_evenly() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    for limit in [SECOND, 60 * SECOND].repeat(32) {
        let held = pool.get().await.unwrap();
        let mut waiting = tokio_test_poll(pool.get().timeout(limit));
        assert!(waiting.poll().is_none());
        held.complete();
        waiting.poll().unwrap().unwrap().complete();
    }
    // 65 with the one that waited for the create.
    assert_eq!(pool.counters().waits_served, 65);
    assert_eq!(pool.histograms().wait.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_lease_knows_its_pool_and_the_life_of_its_resource() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    sleep(SECOND / 4).await;
    let lease = pool.get().await.unwrap();
    sleep(3 * SECOND).await;
    let info = Lease::info(&lease);
    assert_eq!((info.id, info.uses), (1, 2));
    assert!(info.age.abs_diff(3 * SECOND + SECOND / 4) < SECOND / 4, "{info:?}");
    assert!(info.idle.abs_diff(3 * SECOND) < SECOND / 4, "{info:?}");
    assert_eq!(Lease::pool(&lease).unwrap().status().in_use, 1);
    drop(pool);
    assert!(Lease::pool(&lease).is_none());
    lease.complete();
}

#[tokio::test(start_paused = true)]
async fn a_weak_handle_keeps_no_pool_open() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let weak = pool.downgrade();
    pool.get().await.unwrap().complete();
    weak.upgrade().unwrap().get().await.unwrap().complete();
    drop(pool);
    assert!(weak.upgrade().is_none());
    assert!(tenure::drain(SECOND).await.is_clean());
    probe.assert_all_closed(1);
}

#[tokio::test(start_paused = true)]
async fn what_is_added_is_asked_whether_it_is_broken() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    lease.begin();
    let mut broken = Lease::detach(lease);
    let refused = pool.add(broken).unwrap_err();
    assert_eq!(refused.kind, AddErrorKind::Broken);
    broken = refused.resource;
    broken.end();
    pool.add(broken).unwrap();
}

#[tokio::test(start_paused = true)]
async fn leak_suspects_are_counted_switched_and_marked_while_the_pool_runs() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    let leases = pool.get_many(3).await.unwrap().into_inner();
    Lease::mark_long_running(&leases[0]);
    sleep(60 * SECOND).await;
    assert!(pool.leak_suspects().is_empty(), "it is off by default");
    pool.set_leak_threshold(10 * SECOND);
    sleep(SECOND).await;
    let mut suspects: Vec<_> = pool.leak_suspects().iter().map(|holder| holder.id).collect();
    suspects.sort_unstable();
    assert_eq!(suspects, [Lease::id(&leases[1]), Lease::id(&leases[2])]);
    assert_eq!(pool.counters().overdue, 2);
    // The mark ends with its lease.
    leases.into_iter().for_each(Lease::complete);
    let again = pool.get_many(3).await.unwrap();
    sleep(20 * SECOND).await;
    assert_eq!((pool.leak_suspects().len(), pool.counters().overdue), (3, 5));
    pool.set_leak_threshold(None);
    assert!(pool.leak_suspects().is_empty());
    again.complete();
}

static ENTERED: AtomicUsize = AtomicUsize::new(0);
static EXITED: AtomicUsize = AtomicUsize::new(0);

struct Room {
    uses: AtomicU32,
}

impl AsyncExit for Room {
    type Error = BoxError;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), BoxError> {
        assert!(outcome.is_completed());
        EXITED.fetch_add(1, Ordering::SeqCst);
        if self.uses.load(Ordering::SeqCst) == 99 { Err("the exit failed".into()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_any_context_enters_and_exits_each_once() {
    async fn room() -> io::Result<Room> {
        tokio::task::yield_now().await;
        ENTERED.fetch_add(1, Ordering::SeqCst);
        Ok(Room { uses: AtomicU32::new(0) })
    }
    let failures = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&failures);
    let pool = Pool::of(room)
        .good_while(|room: &Room| room.uses.load(Ordering::SeqCst) < 3)
        .max_size(2)
        .on_event(move |event| {
            if matches!(event, tenure_pool::Event::CloseFailed { .. }) {
                told.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build()
        .unwrap();
    with(pool, async |pool| {
        for _ in 0..3 {
            with(pool.get(), async |room| {
                room.uses.fetch_add(1, Ordering::SeqCst);
                Ok::<_, PoolError>(())
            })
            .await?;
        }
        settle().await;
        assert_eq!(
            (ENTERED.load(Ordering::SeqCst), EXITED.load(Ordering::SeqCst)),
            (1, 1),
            "not good any more"
        );
        // Merely dropped: closed, for nobody knows how to clean it.
        drop(pool.get().await?);
        settle().await;
        assert_eq!(pool.counters().closed, 2);
        pool.get().await?.uses.store(99, Ordering::SeqCst);
        Ok::<_, PoolError>(())
    })
    .await
    .unwrap();
    assert_eq!(ENTERED.load(Ordering::SeqCst), EXITED.load(Ordering::SeqCst));
    assert_eq!(failures.load(Ordering::SeqCst), 1);
}

#[cfg(feature = "metrics")]
#[test]
fn figures_are_reported_under_the_names_of_opentelemetry() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let probe = Probe::new();
            let builder = probe.pool().name("orders").max_size(2);
            let pool = builder.metrics(tenure_pool::MetricNames::Database).build().unwrap();
            let held = pool.get_many(2).await.unwrap();
            assert!(pool.get().timeout(SECOND).await.is_err());
            sleep(SECOND).await;
            held.complete();
            sleep(SECOND).await;
        });
    });
    let mut found = Vec::new();
    let mut units = Vec::new();
    for (key, unit, description, value) in snapshots.snapshot().into_vec() {
        assert!(description.is_some(), "{key:?} has a description");
        units.push((key.key().name().to_owned(), unit));
        let (kind, key) = key.into_parts();
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(value) => value.to_string(),
            DebugValue::Gauge(value) => value.to_string(),
            // In seconds: each use took one.
            DebugValue::Histogram(values) if key.name().ends_with("use_time") => {
                assert!(values.iter().all(|took| (1.0..3.0).contains(&took.0)), "{values:?}");
                format!("{} values", values.len())
            }
            DebugValue::Histogram(values) => format!("{} values", values.len()),
        };
        found.push(format!("{kind:?} {} {} {value}", key.name(), labels.join(",")));
    }
    found.sort();
    let pool = "db.client.connection.pool.name=orders";
    for line in [
        format!("Counter db.client.connection.timeouts {pool} 1"),
        format!("Gauge db.client.connection.count {pool},db.client.connection.state=idle 2"),
        format!("Gauge db.client.connection.count {pool},db.client.connection.state=used 0"),
        format!("Gauge db.client.connection.max {pool} 2"),
        format!("Gauge db.client.connection.idle.max {pool} 2"),
        format!("Gauge db.client.connection.idle.min {pool} 0"),
        format!("Gauge db.client.connection.pending_requests {pool} 0"),
        format!("Counter tenure.pool.overdue {pool} 0"),
        format!("Histogram db.client.connection.create_time {pool} 2 values"),
        format!("Histogram db.client.connection.use_time {pool} 2 values"),
        format!("Histogram db.client.connection.wait_time {pool} 2 values"),
    ] {
        assert!(found.contains(&line), "{line} is not in {found:#?}");
    }
    for (name, unit) in units {
        let expected = if name.ends_with("_time") { metrics::Unit::Seconds } else { metrics::Unit::Count };
        assert_eq!(unit, Some(expected), "{name}");
    }
}
