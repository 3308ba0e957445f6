//! The memory of a stack: entries of all sizes and alignments, lent at once, exited in their own places, dropped once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tenure::{AsyncExit, Ending, ExitStack, Outcome, open};
use tenure_test::{Fault, both_flavours, suspend};

use crate::support::{drop_at, settled};

/// Counts what is alive.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Small(Alive, u8);

#[repr(align(256))]
struct Aligned(Alive, u8);

struct Large(Alive, [u8; 5_000]);

macro_rules! exits {
    ($($name:ident),*) => {$(
        impl AsyncExit for $name {
            type Error = Fault;

            async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
                suspend(1).await;
                drop(self.0);
                Ok(())
            }
        }
    )*};
}

exits!(Small, Aligned, Large);

const ROUNDS: u8 = 40;

/// Puts many on a stack and writes to all of them when all are there.
fn fill(stack: &ExitStack<Fault>, count: &Arc<AtomicUsize>) {
    let mut small = Vec::new();
    let mut aligned = Vec::new();
    let mut large = Vec::new();
    for _ in 0..ROUNDS {
        small.push(stack.push(Small(Alive::new(count), 0)));
        aligned.push(stack.push(Aligned(Alive::new(count), 0)));
        large.push(stack.push(Large(Alive::new(count), [0; 5_000])));
        stack.defer(|| {});
    }
    for (number, ((small, aligned), large)) in (0..).zip(small.iter_mut().zip(&mut aligned).zip(&mut large)) {
        assert!((&raw const **aligned).is_aligned());
        (small.1, aligned.1) = (number, number);
        large.1.fill(number);
    }
    let intact = |number: usize| {
        let number_u8 = u8::try_from(number).unwrap();
        small[number].1 == number_u8
            && aligned[number].1 == number_u8
            && large[number].1.iter().all(|byte| *byte == number_u8)
    };
    assert!((0..usize::from(ROUNDS)).all(intact));
}

#[test]
fn entries_of_all_sizes_and_alignments_are_lent_at_once_and_dropped_once() {
    both_flavours(|_| async {
        for ending in [Ending::Completed, Ending::Cancelled, Ending::failed("body")] {
            let count = Arc::new(AtomicUsize::new(0));
            let stack = ExitStack::new();
            fill(&stack, &count);
            assert_eq!(count.load(Ordering::Relaxed), 3 * usize::from(ROUNDS));
            stack.close_with(ending).await.unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 0);
        }
    });
}

#[test]
fn entries_of_a_stack_that_is_dropped_at_any_suspension_are_dropped_once() {
    both_flavours(|_| async {
        for suspension in [0, 1, 2, 50, 3 * u32::from(ROUNDS)] {
            let count = Arc::new(AtomicUsize::new(0));
            let stack = ExitStack::new();
            fill(&stack, &count);
            drop_at(suspension, stack.close()).await;
            settled().await;
            assert_eq!(count.load(Ordering::Relaxed), 0, "dropped at {suspension}");
            assert!(open().is_empty());
        }
    });
}

#[test]
fn entries_of_a_stack_without_a_runtime_are_dropped_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let stack = ExitStack::new();
    fill(&stack, &count);
    drop(stack);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
