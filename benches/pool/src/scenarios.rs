//! What is measured: one function for each question.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;

use crate::alloc::counted;
use crate::peers::{Peer, Server};

/// The runtime: 0 workers is the current thread.
fn runtime(workers: usize) -> Runtime {
    let mut builder = if workers == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().expect("a runtime can be made")
}

/// Opens all resources of a pool, before anything is measured.
async fn fill<P: Peer>(pool: &P, size: usize) {
    let mut leases = Vec::new();
    for _ in 0..size {
        leases.push(pool.get().await.expect("the server is up"));
    }
}

/// What does one get, touch and return cost, when nobody else is there? In nanoseconds.
pub(crate) fn alone<P: Peer>(workers: usize, check: bool, rounds: u32) -> f64 {
    runtime(workers).block_on(async move {
        let task = tokio::spawn(async move {
            let pool = P::new(8, Server::instant(), check);
            fill(&pool, 8).await;
            let began = Instant::now();
            for _ in 0..rounds {
                let mut lease = pool.get().await.expect("the server is up");
                P::touch(&mut lease);
            }
            per(began.elapsed(), rounds)
        });
        task.await.expect("the task does not panic")
    })
}

/// What does it cost, when two tasks on two workers do so at once and there is enough for both?
pub(crate) fn two_at_once<P: Peer>(rounds: u32) -> f64 {
    runtime(2).block_on(async move {
        let pool = P::new(8, Server::instant(), false);
        fill(&pool, 8).await;
        let start = Arc::new(Barrier::new(2));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let (pool, start) = (pool.clone(), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    let began = Instant::now();
                    for _ in 0..rounds {
                        let mut lease = pool.get().await.expect("the server is up");
                        P::touch(&mut lease);
                    }
                    (began, Instant::now())
                })
            })
            .collect();
        let mut spans = Vec::new();
        for task in tasks {
            spans.push(task.await.expect("the task does not panic"));
        }
        // From the first one's begin to the last one's end: two that ran one after the other, for want of a processor,
        // take twice as long. Noted by themselves, since this thread may come too late for that.
        let began = spans.iter().map(|&(began, _)| began).min().expect("there are two");
        let ended = spans.iter().map(|&(_, ended)| ended).max().expect("there are two");
        per(ended - began, rounds)
    })
}

/// How 64 tasks fare with 8 resources on two workers, held over one yield.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) ops_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    /// The operations of the task that had least, to those of the one that had most.
    pub(crate) fairness: f64,
}

/// Runs the crowd twice: once for the throughput, once with every wait measured.
pub(crate) fn crowd<P: Peer>(time: Duration) -> Crowd {
    let (ops, fairness, _) = crowd_once::<P>(time, false);
    let (_, _, mut waits) = crowd_once::<P>(time, true);
    waits.sort_unstable();
    let at = |share: f64| {
        let place = ((waits.len() as f64 * share) as usize).min(waits.len() - 1);
        Duration::from_nanos(waits[place])
    };
    Crowd {
        ops_per_second: ops as f64 / time.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        fairness,
    }
}

fn crowd_once<P: Peer>(time: Duration, measured: bool) -> (u64, f64, Vec<u64>) {
    runtime(2).block_on(async move {
        let pool = P::new(8, Server::instant(), false);
        fill(&pool, 8).await;
        let stop = Arc::new(AtomicBool::new(false));
        let start = Arc::new(Barrier::new(65));
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (pool, stop, start) = (pool.clone(), Arc::clone(&stop), Arc::clone(&start));
                tokio::spawn(async move {
                    let mut waits = Vec::with_capacity(if measured { 100_000 } else { 0 });
                    let mut ops = 0_u64;
                    start.wait().await;
                    while !stop.load(Ordering::Relaxed) {
                        let began = measured.then(Instant::now);
                        let mut lease = pool.get().await.expect("the server is up");
                        if let Some(began) = began {
                            waits.push(nanos(began.elapsed()));
                        }
                        P::touch(&mut lease);
                        tokio::task::yield_now().await;
                        drop(lease);
                        ops += 1;
                    }
                    (ops, waits)
                })
            })
            .collect();
        start.wait().await;
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        let (mut all, mut each) = (Vec::new(), Vec::new());
        for task in tasks {
            let (ops, waits) = task.await.expect("the task does not panic");
            each.push(ops);
            all.extend(waits);
        }
        let (least, most) = (each.iter().min(), each.iter().max());
        let fairness = least.copied().unwrap_or(0) as f64 / most.copied().unwrap_or(1).max(1) as f64;
        (each.iter().sum(), fairness, all)
    })
}

/// From the release to the last served, with this many waiters on 4 resources: nanoseconds for each.
pub(crate) fn queue<P: Peer>(workers: usize, waiters: u32) -> f64 {
    runtime(workers).block_on(async move {
        let pool = P::new(4, Server::instant(), false);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(pool.get().await.expect("the server is up"));
        }
        let parked = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..waiters)
            .map(|_| {
                let (pool, parked) = (pool.clone(), Arc::clone(&parked));
                tokio::spawn(async move {
                    let mut get = pin!(pool.get());
                    let mut asked = false;
                    let mut lease = poll_fn(|cx| {
                        let polled = get.as_mut().poll(cx);
                        if !asked {
                            asked = true;
                            parked.fetch_add(1, Ordering::Relaxed);
                        }
                        polled
                    })
                    .await
                    .expect("the server is up");
                    P::touch(&mut lease);
                })
            })
            .collect();
        while parked.load(Ordering::Relaxed) < waiters {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        drop(held);
        for task in tasks {
            task.await.expect("the task does not panic");
        }
        per(began.elapsed(), waiters)
    })
}

/// Allocations of a get and return, bytes of the future of a get, bytes of heap of one that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) allocations: f64,
    pub(crate) future: usize,
    pub(crate) heap: f64,
}

pub(crate) fn memory<P: Peer>() -> Memory {
    const COUNT: usize = 10_000;
    runtime(0).block_on(async move {
        let pool = P::new(4, Server::instant(), false);
        fill(&pool, 4).await;
        let mut held = Vec::new();
        for _ in 0..100 {
            drop(pool.get().await.expect("the server is up"));
            tokio::task::yield_now().await;
        }
        let mut allocations = 0;
        for _ in 0..1_000 {
            let mut get = Box::pin(pool.get());
            let mut context = Context::from_waker(Waker::noop());
            let (calls, _) = counted(|| {
                let polled = get.as_mut().poll(&mut context);
                assert!(polled.is_ready(), "nobody else is there");
                drop(polled);
            });
            allocations += calls;
            // Those that return in a task of their own.
            tokio::task::yield_now().await;
        }
        for _ in 0..4 {
            held.push(pool.get().await.expect("the server is up"));
        }
        let mut gets: Vec<_> = (0..COUNT).map(|_| Box::pin(pool.get())).collect();
        let mut context = Context::from_waker(Waker::noop());
        let (_, bytes) = counted(|| {
            for get in &mut gets {
                assert!(get.as_mut().poll(&mut context).is_pending(), "all are held");
            }
        });
        let heap = bytes as f64 / COUNT as f64;
        Memory { allocations: allocations as f64 / 1_000.0, future: pool.future_size(), heap }
    })
}

/// 50 requests at once on 5 idle ones, connecting takes 150 ms, a use 2 ms: how long, how many new ones?
pub(crate) fn spike<P: Peer>() -> (Duration, u32) {
    runtime(2).block_on(async move {
        let server = Server::instant();
        let pool = P::new(50, Arc::clone(&server), false);
        fill(&pool, 5).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.set_connect_time(Duration::from_millis(150));
        let before = server.attempts.load(Ordering::Relaxed);
        let began = Instant::now();
        serve_all(&pool, 50).await;
        let took = began.elapsed();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (took, server.attempts.load(Ordering::Relaxed) - before)
    })
}

/// 64 callers, at most 8 resources, connecting fails for half a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Herd {
    pub(crate) served: u32,
    pub(crate) failed: u32,
    pub(crate) attempts: u32,
    pub(crate) took: Duration,
}

pub(crate) fn herd<P: Peer>() -> Herd {
    runtime(2).block_on(async move {
        let server = Server::down_for(Duration::from_millis(500));
        let pool = P::new(8, Arc::clone(&server), false);
        let began = Instant::now();
        let (served, failed) = serve_all(&pool, 64).await;
        let took = began.elapsed();
        Herd { served, failed, attempts: server.attempts.load(Ordering::Relaxed), took }
    })
}

async fn serve_all<P: Peer>(pool: &P, callers: u32) -> (u32, u32) {
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let Ok(mut lease) = pool.get().await else { return false };
                P::touch(&mut lease);
                tokio::time::sleep(Duration::from_millis(2)).await;
                true
            })
        })
        .collect();
    let (mut served, mut failed) = (0, 0);
    for task in tasks {
        match tokio::time::timeout(Duration::from_secs(5), task).await {
            Ok(Ok(true)) => served += 1,
            _ => failed += 1,
        }
    }
    (served, failed)
}

/// 4,000 gets on 4 resources, dropped at many moments: how many can be taken afterwards?
pub(crate) fn storm<P: Peer>() -> usize {
    runtime(2).block_on(async move {
        let pool = P::new(4, Server::instant(), false);
        fill(&pool, 4).await;
        let tasks: Vec<_> = (0..4_000_u64)
            .map(|number| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let limit = Duration::from_micros(number % 13 * 300);
                    let work = async {
                        let lease = pool.get().await;
                        tokio::time::sleep(Duration::from_micros(number % 5 * 200)).await;
                        drop(lease);
                    };
                    drop(tokio::time::timeout(limit, work).await);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task does not panic");
        }
        let held = Mutex::new(Vec::new());
        loop {
            let get = tokio::time::timeout(Duration::from_millis(300), pool.get());
            match get.await {
                Ok(Ok(lease)) => held.lock().expect("nothing panics with it").push(lease),
                _ => break,
            }
        }
        held.into_inner().expect("nothing panics with it").len()
    })
}

fn per(time: Duration, count: u32) -> f64 {
    time.as_nanos() as f64 / f64::from(count)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
