//! A pool that is used from several runtimes: one after the other, side by side, dying, and alive but not driven.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use tenure::with;
use tenure_pool::{Context, CreateContext, GetErrorKind, Lease, Manager, Pool, PoolError, Why};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::basics::tokio_test_poll;
use crate::support::{Act, Op, Probe, assert_full_capacity, settle};

fn current() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn several() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Connections whose other half is a task: as a socket, they work while their runtime is driven, hang while it is
/// not, and fail once it is gone.
#[derive(Default)]
struct Actors {
    alive: Arc<AtomicUsize>,
    /// Whether a use that went wrong is known of, so that a check need not be.
    unchecked: AtomicBool,
}

struct Actor {
    calls: mpsc::UnboundedSender<oneshot::Sender<()>>,
    _alive: Alive,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Actor {
    async fn call(&self) -> io::Result<()> {
        let gone = || io::Error::other("the runtime of the connection is gone");
        let (answer, answered) = oneshot::channel();
        self.calls.send(answer).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

impl Manager for Actors {
    type Resource = Actor;
    type Error = io::Error;

    async fn create(&self, _: CreateContext) -> io::Result<Actor> {
        let (calls, mut called) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        tokio::spawn(async move {
            while let Some(answer) = called.recv().await {
                tokio::task::yield_now().await;
                let _ = answer.send(());
            }
        });
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Actor { calls, _alive: Alive(Arc::clone(&self.alive)) })
    }

    async fn reset(&self, actor: &mut Actor, _: Context) -> io::Result<()> {
        actor.call().await
    }

    async fn check(&self, actor: &mut Actor, _: Context) -> io::Result<()> {
        if self.unchecked.load(Ordering::SeqCst) { Ok(()) } else { actor.call().await }
    }

    async fn close(&self, actor: Actor, _: Context) -> io::Result<()> {
        actor.call().await
    }
}

fn actors(max_size: usize) -> Pool<Actors> {
    let second = Duration::from_secs(1);
    let builder = Pool::builder(Actors::default()).max_size(max_size).get_timeout(10 * second);
    builder.check_timeout(second).close_timeout(second).reset_timeout(second).build().unwrap()
}

/// A use as a request makes it.
async fn use_one(pool: &Pool<Actors>) -> Result<(), String> {
    let mut lease = pool.get().await.map_err(|error| format!("get: {error}"))?;
    let used = timeout(Duration::from_secs(5), lease.call()).await;
    used.map_err(|_| "the use hangs".to_owned())?.map_err(|error| format!("use: {error}"))?;
    let _: &mut Actor = &mut lease;
    Lease::complete(lease);
    Ok(())
}

#[test]
fn runtimes_one_after_the_other_are_lent_only_what_works() {
    let pool = actors(3);
    for turn in 0..8 {
        let runtime = if turn % 2 == 0 { current() } else { several() };
        runtime.block_on(async {
            // Two at once, so that several are left behind.
            let (one, two) = tokio::join!(use_one(&pool), use_one(&pool));
            one.and(two).unwrap_or_else(|error| panic!("turn {turn}: {error}"));
            use_one(&pool).await.unwrap_or_else(|error| panic!("turn {turn}, again: {error}"));
        });
    }
    current().block_on(async {
        let report = pool.close().await;
        assert!(report.is_clean(), "{report}");
    });
    assert_eq!(pool.manager().alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_runtime_that_ends_leaves_its_leases_and_others_go_on() {
    let pool = actors(2);
    for _ in 0..4 {
        let runtime = current();
        let lease = runtime.block_on(async {
            // One is held beyond the end of its runtime, one is left idle.
            let lease = pool.get().await.unwrap();
            use_one(&pool).await.unwrap();
            lease
        });
        drop(runtime);
        let next = current();
        next.block_on(use_one(&pool)).unwrap();
        drop(lease);
        next.block_on(use_one(&pool)).unwrap();
    }
}

#[test]
fn runtimes_side_by_side_never_meet_a_resource_of_another_that_ends() {
    for size in [1, 3, 8] {
        let pool = actors(size);
        let threads: Vec<_> = (0..8_u64)
            .map(|number| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let runtime = if number % 4 == 3 { several() } else { current() };
                    runtime.block_on(async move {
                        for turn in 0..6 {
                            use_one(&pool).await.map_err(|error| format!("{number}.{turn}: {error}"))?;
                            // So that they end at different times, as tests do.
                            sleep(Duration::from_millis(number)).await;
                        }
                        Ok::<_, String>(())
                    })
                })
            })
            .collect();
        let failed: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap().err()).collect();
        assert!(failed.is_empty(), "size {size}: {failed:#?}");
        current().block_on(async {
            let mut leases = Vec::new();
            for _ in 0..size {
                leases.push(pool.get().await.unwrap());
            }
            drop(leases);
            let report = pool.close().await;
            assert!(report.is_clean(), "size {size}: {report}");
        });
        assert_eq!(pool.manager().alive.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_waiter_outlives_the_runtime_that_used_the_pool_first() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let first = several();
    let lease = first.block_on(pool.get_owned()).unwrap();
    let (second, (told, waits)) = (current(), channel());
    let waiting = {
        let pool = pool.clone();
        thread::spawn(move || {
            second.block_on(async {
                let mut get = Box::pin(pool.get());
                assert!(timeout(Duration::from_millis(20), &mut get).await.is_err());
                told.send(()).unwrap();
                get.await.map(Lease::complete)
            })
        })
    };
    waits.recv().unwrap();
    drop(first);
    thread::sleep(Duration::ZERO);
    lease.complete();
    waiting.join().unwrap().unwrap();
    probe.assert_sound(1);
}

#[test]
fn a_create_that_dies_with_its_runtime_leaves_its_room_to_those_who_wait_elsewhere() {
    let probe = Probe::new();
    probe.script(Op::Create, |call| {
        crate::support::Step(Duration::ZERO, if call == 1 { Act::Hang } else { Act::Succeed })
    });
    let pool = probe.pool().max_size(1).build().unwrap();
    let first = current();
    let mut get = Box::pin(pool.get_owned());
    first.block_on(async {
        assert!(timeout(Duration::from_millis(10), &mut get).await.is_err());
    });
    let second = current();
    second.block_on(async {
        let mut other = tokio_test_poll(pool.get_owned());
        assert!(other.poll().is_none());
        drop(get);
        thread::spawn(move || drop(first)).join().unwrap();
        let lease = pool.get().timeout(Duration::from_secs(5));
        drop(other);
        lease.await.unwrap().complete();
    });
    probe.assert_sound(1);
}

#[test]
fn a_runtime_that_is_not_driven_keeps_no_create_and_no_time_limit_from_another() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(2).build().unwrap();
    let idle = current();
    let held = idle.block_on(pool.get_owned()).unwrap();
    let second = current();
    second.block_on(async {
        let mine = pool.get().timeout(Duration::from_secs(5)).await.unwrap();
        let began = Instant::now();
        let error = pool.get().timeout(Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::Exhausted);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        mine.complete();
    });
    drop(held);
    drop(idle);
    second.block_on(assert_full_capacity(&pool, 2));
    probe.assert_sound(2);
}

#[test]
fn what_an_undriven_runtime_has_left_idle_makes_room_and_is_not_lent_elsewhere() {
    let pool = actors(1);
    pool.set_close_timeout(Duration::from_millis(50));
    let (one, two) = (current(), current());
    // On one thread in turn: what hangs would hang for good.
    for turn in 0..3 {
        for runtime in [&one, &two] {
            runtime.block_on(use_one(&pool)).unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        }
    }
    let closed_for_room = pool.counters().closed;
    assert!(closed_for_room >= 4, "{closed_for_room}");
    assert_eq!(pool.status().size, 1);
}

#[test]
fn runtimes_that_live_on_share_the_room_without_churn() {
    let pool = actors(4);
    let runtimes = [several(), several()];
    for _ in 0..20 {
        for runtime in &runtimes {
            let pool = pool.clone();
            runtime.block_on(runtime.spawn(async move { use_one(&pool).await })).unwrap().unwrap();
        }
    }
    // One for each; or one more, where a machine under load gave a runtime no turn for so long that it counted as gone.
    let counters = pool.counters();
    assert!(counters.opened <= 4 && counters.closed == 0, "{counters:?}");
}

#[test]
fn the_room_of_another_runtime_is_taken_when_nothing_is_alive_here() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let one = several();
    let held = one.block_on(one.spawn(pool.get_owned())).unwrap().unwrap();
    let two = current();
    two.block_on(async {
        let mut get = Box::pin(pool.get());
        assert!(timeout(Duration::from_millis(10), &mut get).await.is_err());
        held.complete();
        get.await.unwrap().complete();
    });
    assert_eq!(probe.whys(), [Why::OtherRuntime]);
    probe.assert_sound(1);
}

#[test]
fn a_resource_that_survives_its_runtime_is_kept() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    for turn in 0..4 {
        current()
            .block_on(async {
                with(pool.get(), async |thing| {
                    thing.touch();
                    Ok::<_, PoolError>(())
                })
                .await
            })
            .unwrap();
        assert_eq!((probe.creates(), probe.checks()), (1, turn));
    }
}

#[test]
fn a_lease_that_is_given_back_to_a_pool_without_runtimes_is_checked_before_it_is_lent() {
    let probe = Probe::new();
    let pool = probe.pool().max_size(1).build().unwrap();
    let lease = {
        let runtime = current();
        runtime.block_on(pool.get_owned()).unwrap()
    };
    lease.complete();
    probe.always(Op::Check, 0, Act::Fail);
    current().block_on(async {
        assert_eq!(pool.get().await.unwrap().id, 2, "the first did not pass");
        settle().await;
        assert_eq!(probe.whys(), [Why::CheckFailed]);
    });
}

/// A reset, a close and a create that were begun on a runtime that nobody drives any more hold no room for good.
#[test]
fn what_an_undriven_runtime_has_begun_is_taken_over() {
    for op in [Op::Reset, Op::Close, Op::Create] {
        for millis in [0, 1] {
            let probe = Probe::new();
            let limit = Duration::from_millis(200);
            let builder = probe.pool().max_size(1).create_timeout(limit).check_timeout(limit);
            let pool = builder.reset_timeout(limit).close_timeout(limit).build().unwrap();
            let idle = current();
            if matches!(op, Op::Create) {
                probe.script(Op::Create, move |call| {
                    let millis = if call == 1 { 1_000 * 1_000 } else { 0 };
                    crate::support::Step(Duration::from_millis(millis), Act::Succeed)
                });
                idle.block_on(async {
                    assert!(timeout(Duration::from_millis(millis), pool.get()).await.is_err());
                });
            } else {
                probe.always(op, 5, Act::Succeed);
                idle.block_on(async {
                    let mut lease = pool.get_owned().await.unwrap();
                    lease.begin();
                    if matches!(op, Op::Reset) {
                        drop(lease);
                    } else {
                        lease.invalidate();
                    }
                    // Not begun, or begun and not ended.
                    sleep(Duration::from_millis(millis)).await;
                });
            }
            let began = Instant::now();
            current().block_on(async {
                pool.get().timeout(Duration::from_secs(20)).await.unwrap().complete();
            });
            assert!(began.elapsed() < Duration::from_secs(4), "{op:?}: {:?}", began.elapsed());
            probe.assert_sound(1);
        }
    }
}
