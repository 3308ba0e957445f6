//! Checks, lifetimes, idle limits, invalidation, leaks: what upkeep does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure_pool::{Context, CreateContext, Event, Manager, Order, Pool, Why};
use tokio::time::sleep;

use crate::support::{Act, Op, Probe, Step, assert_full_capacity, settle};

async fn opened(pool: &Pool<Probe>, count: usize) {
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(pool.get().await.unwrap());
    }
    // The first lies on top.
    while let Some(lease) = leases.pop() {
        lease.complete();
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_checked_only_if_it_was_idle_for_long() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    opened(&pool, 1).await;
    for _ in 0..10 {
        sleep(Duration::from_millis(300)).await;
        pool.get().await.unwrap().complete();
    }
    assert_eq!(probe.checks(), 0);
    sleep(Duration::from_millis(700)).await;
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 1);
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 1);
    // Also after a long rest, from which upkeep is roused.
    sleep(Duration::from_secs(120)).await;
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 2);
    sleep(Duration::from_millis(300)).await;
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 2);
    sleep(Duration::from_millis(700)).await;
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 3);
}

#[tokio::test(start_paused = true)]
async fn zero_checks_every_one_and_can_be_changed() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).check_after(Duration::ZERO).build().unwrap();
    opened(&pool, 1).await;
    assert_eq!(probe.checks(), 0, "what was just made is not checked");
    for number in 1..=5 {
        pool.get().await.unwrap().complete();
        assert_eq!(probe.checks(), number);
    }
    pool.set_check_after(None);
    sleep(Duration::from_secs(10)).await;
    pool.get().await.unwrap().complete();
    assert_eq!(probe.checks(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_handed_a_checked_one_too() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).check_after(Duration::ZERO).build().unwrap();
    opened(&pool, 1).await;
    let lease = pool.get().await.unwrap();
    let waiting = tokio::spawn(pool.get_owned());
    settle().await;
    lease.complete();
    waiting.await.unwrap().unwrap().complete();
    assert_eq!(probe.checks(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_failed_check_and_not_one_after_another() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(8).build().unwrap();
    opened(&pool, 8).await;
    sleep(Duration::from_secs(2)).await;
    probe.always(Op::Check, 10, Act::Fail);
    let began = tokio::time::Instant::now();
    let lease = pool.get().await.unwrap();
    assert_eq!(lease.id, 9);
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    lease.complete();
    sleep(Duration::from_millis(100)).await;
    assert_eq!((probe.checks(), pool.counters().closed), (8, 8));
    assert_full_capacity(&pool, 8).await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_resource_does_not_cost_the_good_ones() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(4).build().unwrap();
    opened(&pool, 4).await;
    sleep(Duration::from_secs(2)).await;
    probe
        .script(Op::Check, |id| Step(Duration::from_millis(5), if id == 1 { Act::Fail } else { Act::Succeed }));
    assert_ne!(pool.get().await.unwrap().id, 1);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(pool.counters().closed, 1);
    assert_eq!(probe.creates(), 4);
}

#[tokio::test(start_paused = true)]
async fn law_a_check_that_fails_panics_or_hangs_costs_the_resource_and_no_permit() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        let probe = Probe::new();
        let pool = probe.pool().max_size(2).check_after(Duration::ZERO).build().unwrap();
        opened(&pool, 2).await;
        probe.always(Op::Check, 0, act);
        for _ in 0..3 {
            drop(pool.get().await.unwrap());
            settle().await;
        }
        probe.always(Op::Check, 0, Act::Succeed);
        assert_full_capacity(&pool, 2).await;
        assert!(pool.close().await.is_clean());
        probe.assert_all_closed(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_goes_on_when_its_get_is_cancelled() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).check_after(Duration::ZERO).build().unwrap();
    opened(&pool, 1).await;
    probe.always(Op::Check, 100, Act::Succeed);
    let limit = Duration::from_millis(10);
    assert!(tokio::time::timeout(limit, pool.get()).await.is_err());
    assert_eq!(pool.status().checking, 1);
    sleep(Duration::from_millis(200)).await;
    assert_eq!((pool.status().idle, probe.checks(), probe.creates()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_resource_lives_for_no_longer_than_it_may() {
    let probe = Probe::new();
    let lifetime = Duration::from_secs(100);
    let pool = probe.pool().max_size(4).max_lifetime(lifetime).idle_timeout(None).build().unwrap();
    opened(&pool, 3).await;
    let lent = pool.get().await.unwrap();
    sleep(Duration::from_secs(89)).await;
    assert_eq!(probe.closes(), 0);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(probe.whys(), [Why::Lifetime; 2]);
    // The lent one goes when it comes back.
    lent.complete();
    settle().await;
    assert_eq!(probe.whys(), [Why::Lifetime; 3]);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_end_at_different_times() {
    let probe = Probe::new();
    let lifetime = Duration::from_secs(1_000);
    let builder = probe.pool().max_size(50).max_lifetime(lifetime).idle_timeout(None);
    let pool = builder.build().unwrap();
    opened(&pool, 50).await;
    sleep(Duration::from_secs(950)).await;
    let closed = probe.closes();
    assert!((10..=40).contains(&closed), "{closed} of 50 at half of the jitter");
}

#[tokio::test(start_paused = true)]
async fn a_busy_resource_is_replaced_at_the_end_of_its_life() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).max_lifetime(Duration::from_secs(10)).build().unwrap();
    for _ in 0..200 {
        let lease = pool.get().await.unwrap();
        sleep(Duration::from_millis(100)).await;
        lease.complete();
    }
    assert!((2..=3).contains(&probe.creates()), "{}", probe.creates());
}

#[tokio::test(start_paused = true)]
async fn idle_ones_go_but_the_minimum_stays() {
    let probe = Probe::new();
    let builder = probe.pool().max_size(6).min_idle(2).idle_timeout(Duration::from_secs(60));
    let pool = builder.build().unwrap();
    opened(&pool, 6).await;
    sleep(Duration::from_secs(53)).await;
    assert_eq!(probe.closes(), 0);
    sleep(Duration::from_secs(8)).await;
    assert_eq!((probe.closes(), pool.status().idle), (4, 2));
    sleep(Duration::from_secs(1_000)).await;
    assert_eq!((probe.closes(), probe.creates()), (4, 6), "no churn");
}

#[tokio::test(start_paused = true)]
async fn in_fifo_order_what_is_never_needed_goes_one_by_one() {
    let probe = Probe::new();
    let builder = probe.pool().max_size(4).order(Order::Fifo);
    let pool = builder.idle_timeout(Duration::from_secs(10)).build().unwrap();
    opened(&pool, 4).await;
    for _ in 0..500 {
        let lease = pool.get().await.unwrap();
        sleep(Duration::from_millis(100)).await;
        lease.complete();
    }
    assert_eq!(pool.status().size, 1);
    assert_eq!(probe.closes(), 3);
}

#[tokio::test(start_paused = true)]
async fn idle_ones_are_kept_alive() {
    let probe = Probe::new();
    let builder = probe.pool().max_size(3).keepalive(Duration::from_secs(30));
    let pool = builder.build().unwrap();
    opened(&pool, 3).await;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(probe.checks(), 9);
    probe.always(Op::Check, 0, Act::Fail);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pool.status().size, 0);
}

#[tokio::test(start_paused = true)]
async fn invalidating_replaces_all_whatever_they_do() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(3).build().unwrap();
    opened(&pool, 2).await;
    let lent = pool.get().await.unwrap();
    let waiting = {
        probe.always(Op::Create, 100, Act::Succeed);
        let two = (pool.get().await.unwrap(), tokio::spawn(pool.get_owned()));
        settle().await;
        pool.invalidate_all();
        two
    };
    let (other, get) = waiting;
    lent.complete();
    other.complete();
    // The one under way was begun before.
    let lease = get.await.unwrap().unwrap();
    assert_eq!(lease.id, 4);
    lease.complete();
    assert_eq!(probe.whys(), [Why::Invalidated; 3]);
    probe.assert_sound(3);
}

#[tokio::test(start_paused = true)]
async fn invalidating_can_be_spread() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(10).build().unwrap();
    opened(&pool, 10).await;
    pool.invalidate_all_within(Duration::from_secs(10));
    sleep(Duration::from_millis(5_100)).await;
    let closed = probe.closes();
    assert!((5..=7).contains(&closed), "{closed} of 10 after half of the time");
    sleep(Duration::from_millis(5_200)).await;
    assert_eq!(probe.closes(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_lease_held_for_too_long_is_reported_with_its_place() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let probe = Probe::new();
    let builder = probe.pool().leak_threshold(Duration::from_secs(10)).on_event(move |event| {
        if matches!(event, Event::Overdue { .. } | Event::ReturnedLate { .. }) {
            sink.lock().unwrap().push(event.to_string());
        }
    });
    let pool = builder.build().unwrap();
    let lease = pool.get().await.unwrap();
    sleep(Duration::from_secs(9)).await;
    assert!(events.lock().unwrap().is_empty());
    sleep(Duration::from_secs(20)).await;
    lease.complete();
    pool.get().await.unwrap().complete();
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].starts_with("lease overdue: resource 1 held for 10."), "{}", events[0]);
    assert!(events[0].contains("lifetimes.rs"), "{}", events[0]);
    assert!(events[1].starts_with("overdue lease returned: resource 1 held for 2"), "{}", events[1]);
    assert_eq!(pool.counters().overdue, 1);
}

#[tokio::test(start_paused = true)]
async fn holders_are_seen_with_place_and_age() {
    let probe = Probe::new();
    let pool = probe.pool().build().unwrap();
    let _lease = pool.get().await.unwrap();
    let line = line!() - 1;
    sleep(Duration::from_secs(3)).await;
    let holders = pool.holders();
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].location.line(), holders[0].id), (line, 1));
    assert!(holders[0].held >= Duration::from_secs(3));
    let uses = pool.histograms().usage;
    assert_eq!(uses.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn waits_uses_and_creates_are_measured() {
    let probe = Probe::new();
    probe.always(Op::Create, 20, Act::Succeed);
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    sleep(Duration::from_millis(40)).await;
    lease.complete();
    let histograms = pool.histograms();
    let near = |duration: Duration, millis: u64| {
        let exact = Duration::from_millis(millis);
        assert!(duration >= exact && duration <= exact * 2, "{duration:?} for {millis} ms");
    };
    near(histograms.create.quantile(0.5), 20);
    near(histograms.wait.quantile(0.5), 20);
    near(histograms.usage.quantile(0.5), 40);
}

#[tokio::test(start_paused = true)]
async fn time_limits_can_be_changed_at_run_time() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let _lease = pool.get().await.unwrap();
    pool.set_get_timeout(Duration::from_millis(50));
    let began = tokio::time::Instant::now();
    assert!(pool.get().await.is_err());
    assert!(began.elapsed() < Duration::from_millis(60), "{:?}", began.elapsed());
}

/// What a manager was told, in order.
type Told = Arc<Mutex<Vec<(&'static str, Context)>>>;

/// A manager that connects with a password, and notes what it is told.
struct Connector {
    password: Mutex<&'static str>,
    told: Told,
}

impl Manager for Connector {
    type Resource = &'static str;
    type Error = std::io::Error;

    async fn create(&self, _: CreateContext) -> Result<&'static str, std::io::Error> {
        Ok(*self.password.lock().unwrap())
    }

    async fn check(&self, _: &mut &'static str, context: Context) -> Result<(), std::io::Error> {
        self.told.lock().unwrap().push(("check", context));
        Ok(())
    }

    async fn reset(&self, _: &mut &'static str, context: Context) -> Result<(), std::io::Error> {
        self.told.lock().unwrap().push(("reset", context));
        Ok(())
    }

    async fn close(&self, _: &'static str, context: Context) -> Result<(), std::io::Error> {
        self.told.lock().unwrap().push(("close", context));
        Ok(())
    }
}

fn connector() -> (Pool<Connector>, Told) {
    let told = Told::default();
    let manager = Connector { password: Mutex::new("old"), told: Arc::clone(&told) };
    (Pool::builder(manager).max_size(1).build().unwrap(), told)
}

#[tokio::test(start_paused = true)]
async fn the_manager_is_told_age_idle_time_uses_and_why() {
    let (pool, told) = connector();
    pool.get().await.unwrap().complete();
    sleep(Duration::from_secs(10)).await;
    let lease = pool.get().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    drop(lease);
    settle().await;
    assert!(pool.close().await.is_clean());
    let told = told.lock().unwrap();
    let whys: Vec<_> = told.iter().map(|(what, context)| (*what, context.why)).collect();
    let expected = [("check", Why::Checkout), ("reset", Why::Dropped), ("close", Why::PoolClosed)];
    assert_eq!(whys, expected);
    let [check, reset, close] = [told[0].1, told[1].1, told[2].1];
    assert_eq!((check.uses, reset.uses, close.uses), (1, 2, 2));
    assert_eq!((check.id, close.id), (1, 1));
    let near = |time: Duration, seconds: u64| {
        let exact = Duration::from_secs(seconds);
        assert!(time.abs_diff(exact) <= Duration::from_millis(130), "{time:?} is not {exact:?}");
    };
    near(check.idle, 10);
    near(check.age, 10);
    near(reset.age, 15);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_changed_in_the_manager_and_the_old_resources_replaced() {
    let (pool, _) = connector();
    let lease = pool.get().await.unwrap();
    assert_eq!(*lease, "old");
    lease.complete();
    *pool.manager().password.lock().unwrap() = "new";
    pool.invalidate_all();
    assert_eq!(*pool.get().await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn events_tell_of_creates_failures_and_closes() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let probe = Probe::new();
    probe.script(Op::Create, |call| Step(Duration::ZERO, if call == 1 { Act::Fail } else { Act::Succeed }));
    let builder = probe.pool().on_event(move |event| {
        sink.lock().unwrap().push((event.is_trouble(), event.to_string()));
        panic!("scripted panic of the sink");
    });
    let pool = builder.build().unwrap();
    pool.get().await.unwrap().complete();
    assert!(pool.close().await.is_clean());
    let events = events.lock().unwrap();
    let told: Vec<_> = events.iter().map(|(trouble, text)| (*trouble, &text[..13])).collect();
    assert_eq!(
        told,
        [(true, "create failed"), (false, "resource 2 cr"), (false, "resource 2 cl")],
        "{events:?}"
    );
}
