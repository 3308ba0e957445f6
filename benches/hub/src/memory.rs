//! An allocator that counts, while it is asked to.
//!
//! A program installs it: `#[global_allocator] static ALLOCATOR: CountingAllocator = CountingAllocator;`. Without that,
//! nothing is counted.
//!
//! # Invariants
//! 1. What was allocated while nobody counted and is freed while somebody does makes `live` smaller than it is: count
//!    over spans that free only what they allocate.
#![expect(
    unsafe_code,
    reason = "an allocator cannot be written in safe code; it passes everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, with counts.
#[derive(Debug)]
pub struct CountingAllocator;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static PEAK_BYTES: AtomicI64 = AtomicI64::new(0);

/// What was allocated since the count began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocated {
    /// How often memory was asked for, growing included.
    pub allocations: i64,
    /// The bytes that were asked for and not given back.
    pub live_bytes: i64,
    /// The most that it ever was.
    pub peak_bytes: i64,
}

/// Begins to count, at nothing.
pub fn begin() {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    LIVE_BYTES.store(0, Ordering::Relaxed);
    PEAK_BYTES.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
}

/// The count so far.
#[must_use]
pub fn so_far() -> Allocated {
    // Relaxed: exact where one thread runs, which is where it is used.
    Allocated {
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        live_bytes: LIVE_BYTES.load(Ordering::Relaxed),
        peak_bytes: PEAK_BYTES.load(Ordering::Relaxed),
    }
}

/// Ends the count.
pub fn end() -> Allocated {
    COUNTING.store(false, Ordering::Relaxed);
    so_far()
}

fn count(allocations: i64, freed: usize, allocated: usize) {
    // One load and a branch while nobody counts, so that the allocator can stay where times are measured.
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        let more = allocated.cast_signed() as i64 - freed.cast_signed() as i64;
        let live = LIVE_BYTES.fetch_add(more, Ordering::Relaxed) + more;
        PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: all three pass on to the system's allocator what they were given, unchanged, and return what it returned;
// counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, 0, layout.size());
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size(), 0);
        // SAFETY: the caller's obligations are the same; `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, layout.size(), size);
        // SAFETY: the caller's obligations are the same; `pointer` came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
