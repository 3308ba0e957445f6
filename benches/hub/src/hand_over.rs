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

/// How long it took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// From the first drop until the last exit has ended.
    pub drained: Duration,
    /// The part of it that the caller spends dropping.
    pub dropping: Duration,
}

/// Memory allocated for each tenure, beyond the future that its owner allocates.
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// While it is held.
    pub held: i64,
    /// At most, from the first drop until the last exit has ended.
    pub handed_over: i64,
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
            Crowd::InOrder | Crowd::InReverse => {
                let mut held = futures(tenures);
                hold(&mut held);
                drop_and_drain(held, crowd).await
            }
        }
    };
    runtime.block_on(async { tokio::spawn(taken).await }).expect("no exit is missing")
}

/// As [`cancel`] with futures of one task, counted instead of timed: needs a counting allocator.
///
/// # Panics
/// If an exit is missing.
#[must_use]
pub fn bytes(runtime: &Runtime, crowd: Crowd, tenures: u64) -> Bytes {
    let counted = async move {
        let mut held = futures(tenures);
        let owned = held.iter().map(|future| size_of_val(&**future)).sum::<usize>() + size_of_val(&*held);
        memory::begin();
        hold(&mut held);
        let allocated = memory::so_far().live_bytes;
        drop_and_drain(held, crowd).await;
        // What was owned before the count began has been freed in it.
        let before_the_drop = allocated - owned.cast_signed() as i64;
        let peak = memory::end().peak_bytes;
        let each = |bytes: i64| bytes / tenures.cast_signed();
        Bytes { held: each(allocated), handed_over: each(peak.max(before_the_drop)) }
    };
    runtime.block_on(async { tokio::spawn(counted).await }).expect("no exit is missing")
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

type Futures<F> = Vec<Pin<Box<F>>>;

fn futures(tenures: u64) -> Futures<impl Future + Send> {
    (0..tenures).map(|number| Box::pin(tenure(number))).collect()
}

/// Polls each until it waits in its body.
fn hold<F: Future>(futures: &mut Futures<F>) {
    for future in futures {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}

async fn drop_and_drain<F: Future>(mut held: Futures<F>, crowd: Crowd) -> Taken {
    let tenures = held.len() as u64;
    let exited_before = counters().exited;
    if crowd == Crowd::InReverse {
        held.reverse();
    }
    let begin = Instant::now();
    drop(held);
    let dropping = begin.elapsed();
    let drained = until_drained(begin, exited_before, tenures).await;
    Taken { drained, dropping }
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
    Taken { drained, dropping }
}

async fn until_drained(begin: Instant, exited_before: u64, tenures: u64) -> Duration {
    let report = drain(Duration::from_secs(600)).await;
    let drained = begin.elapsed();
    assert!(report.is_clean(), "{report}");
    assert_eq!(counters().exited - exited_before, tenures, "each tenure exits once");
    drained
}
