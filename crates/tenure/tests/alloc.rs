//! Law 20: the way without trouble spawns nothing, opens no channel, and allocates once at most; and the allocations of
//! law 26. In a binary of its own, for its allocator.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tenure::{AsyncExit, ExitStack, Lender, NeverLent, Outcome, context, counters, hold, with};
use tokio::runtime::{Builder, Handle, Runtime};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: it passes all on to the system's allocator; the count is a plain cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer is one of `alloc`, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Self
    }
}

/// Its exit may wait, and holds something across that.
struct Resource([u8; 64]);

impl AsyncExit for Resource {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        assert!(outcome.is_completed());
        tokio::task::consume_budget().await;
        assert_eq!(self.0[0], 1);
        Ok(())
    }
}

async fn enter() -> Result<Resource, Error> {
    Ok(Resource([1; 64]))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The allocations of `work`, once it has run before.
async fn allocations<T, Fut: Future<Output = T>>(work: impl Fn() -> Fut) -> u64 {
    work().await;
    let before = ALLOCATIONS.get();
    work().await;
    ALLOCATIONS.get() - before
}

#[test]
fn law_20_a_tenure_allocates_once_and_spawns_nothing() {
    runtime().block_on(async {
        let count = allocations(|| async {
            with(enter(), async |resource| Ok::<_, Error>(resource.0[1])).await.unwrap();
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        });
        assert_eq!(count.await, 1);
        assert_eq!((counters().entered, counters().handed_over), (2, 0));
    });
}

#[test]
fn law_20_a_body_that_waits_costs_no_more() {
    runtime().block_on(async {
        let count = allocations(|| async {
            let body = async |_: &mut Resource| {
                // A yield of the task's own: tokio's defers its waker into a list that grows.
                let mut polled = false;
                std::future::poll_fn(|task| {
                    task.waker().wake_by_ref();
                    if std::mem::replace(&mut polled, true) {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
                assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
                Ok::<_, Error>(())
            };
            with(enter(), body).await.unwrap();
        });
        assert_eq!(count.await, 1);
    });
}

#[test]
fn law_20_nested_each_allocates_once() {
    runtime().block_on(async {
        let count = allocations(|| async {
            with(enter(), async |_| {
                with(enter(), async |_| with(enter(), async |_| Ok::<_, Error>(())).await).await
            })
            .await
            .unwrap();
        });
        assert_eq!(count.await, 3);
    });
}

#[test]
fn law_20_the_others_stay_within_a_few() {
    runtime().block_on(async {
        let held = allocations(|| async { hold(enter()).await.unwrap().close().await.unwrap() }).await;
        assert_eq!(held, 1, "a guard");
        let generator = allocations(|| async {
            let lending = context(async |lender: Lender<u8>| {
                lender.lend(1).await;
                Ok::<_, Error>(())
            });
            with(lending, async |_| Ok::<_, Error>(())).await.unwrap();
        });
        // The exchange, the function, the exit.
        assert!(generator.await <= 3, "a generator context");
    });
}

#[test]
fn law_26_a_stack_allocates_far_less_often_than_it_has_entries() {
    async fn stack_of(entries: usize) {
        let stack = ExitStack::<Error>::new();
        for _ in 0..entries {
            stack.defer_async(async || Ok(()));
            stack.enter(enter()).await.unwrap();
        }
        stack.close().await.unwrap();
    }
    runtime().block_on(async {
        let few = allocations(|| stack_of(1_000)).await;
        let many = allocations(|| stack_of(10_000)).await;
        // The entries lie in chunks, each twice as large as the one before.
        assert!(few < 32 && many <= few + 4, "{few} for 2,000 entries, {many} for 20,000");
    });
}
