//! A great many tenures, cancelled at once.

use std::future::pending;
use std::mem::size_of_val;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tenure::{counters, drain, with};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::memory;
use crate::resource::{Resource, Trouble, enter};

/// How the tenures are held, and in which order they are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// Futures of one task, dropped in the order they were entered in, as a `Vec` drops.
    InOrder,
    /// Futures of one task, dropped in reverse, as a stack of guards unwinds.
    InReverse,
    /// A task each, aborted all at once.
    Tasks,
}

/// What it took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// From the first drop until the last exit has ended.
    pub drained: Duration,
    /// The part of it that the caller spends dropping.
    pub dropping: Duration,
    /// Allocated for each tenure while it is held, beyond its future. Without a counting allocator, 0.
    pub held_bytes: i64,
    /// Allocated for each tenure when it is handed over and its exit has not begun.
    pub handed_over_bytes: i64,
}

/// Holds so many tenures, cancels them at once, and waits until all exits have ended.
///
/// # Panics
/// If an exit is missing.
#[must_use]
pub fn cancel(runtime: &Runtime, crowd: Crowd, tenures: u64) -> Taken {
    let taken = async move {
        match crowd {
            Crowd::Tasks => tasks(tenures).await,
            Crowd::InOrder | Crowd::InReverse => futures(tenures, crowd).await,
        }
    };
    runtime.block_on(async { tokio::spawn(taken).await }).expect("no exit is missing")
}

/// The size of the future of a `with`, less its resource and its body's own future.
#[must_use]
pub fn future_bytes() -> usize {
    let mut resource = Resource(0);
    size_of_val(&tenure(0)) - size_of_val(&for_ever(&mut resource)) - size_of::<Resource>()
}

fn tenure(number: u64) -> impl Future<Output = Result<u64, Trouble>> + Send + 'static {
    with(enter(number), for_ever)
}

async fn for_ever(resource: &mut Resource) -> Result<u64, Trouble> {
    pending::<()>().await;
    Ok(resource.0)
}

async fn futures(tenures: u64, crowd: Crowd) -> Taken {
    let exited_before = counters().exited;
    let mut held: Vec<Pin<Box<_>>> = (0..tenures).map(|number| Box::pin(tenure(number))).collect();
    memory::begin();
    for future in &mut held {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let held_bytes = memory::so_far().live_bytes / tenures.cast_signed();
    if crowd == Crowd::InReverse {
        held.reverse();
    }
    let futures_bytes = held.iter().map(|future| size_of_val(&**future)).sum::<usize>() + size_of_val(&*held);
    let begin = Instant::now();
    drop(held);
    let dropping = begin.elapsed();
    let live_bytes = memory::end().live_bytes + futures_bytes.cast_signed() as i64;
    let drained = until_drained(begin, exited_before, tenures).await;
    Taken { drained, dropping, held_bytes, handed_over_bytes: live_bytes / tenures.cast_signed() }
}

async fn tasks(tenures: u64) -> Taken {
    let before = counters();
    let mut held = JoinSet::new();
    for number in 0..tenures {
        held.spawn(tenure(number));
    }
    while counters().entered < before.entered + tenures {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    held.shutdown().await;
    let dropping = begin.elapsed();
    let drained = until_drained(begin, before.exited, tenures).await;
    Taken { drained, dropping, held_bytes: 0, handed_over_bytes: 0 }
}

async fn until_drained(begin: Instant, exited_before: u64, tenures: u64) -> Duration {
    let report = drain(Duration::from_secs(600)).await;
    let drained = begin.elapsed();
    assert!(report.is_clean(), "{report}");
    assert_eq!(counters().exited - exited_before, tenures, "each tenure exits once");
    drained
}
