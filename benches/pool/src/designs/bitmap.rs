//! A bitmap of at most 63 slots, the lowest first, taken by one compare-and-swap; the last bit says that somebody
//! waits, and leads to the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::gated::Slots;

const WAITERS: u64 = 1 << 63;

#[repr(align(128))]
struct Map(AtomicU64);

pub(crate) struct Bitmap {
    map: Map,
    numbers: Box<[AtomicU64]>,
}

impl Slots for Bitmap {
    const NAME: &'static str = "design: bitmap";

    fn new(size: usize) -> Self {
        assert!(size < 63, "one word");
        let numbers = (0..size).map(|_| AtomicU64::new(0)).collect();
        Self { map: Map(AtomicU64::new((1 << size) - 1)), numbers }
    }

    fn try_take(&self) -> Option<u32> {
        let mut map = self.map.0.load(Ordering::Relaxed);
        while map & WAITERS == 0 && map != 0 {
            let slot = map.trailing_zeros();
            let taken = map & !(1 << slot);
            let swap = self.map.0.compare_exchange_weak(map, taken, Ordering::Acquire, Ordering::Relaxed);
            match swap {
                Ok(_) => return Some(slot),
                Err(now) => map = now,
            }
        }
        None
    }

    fn try_put(&self, slot: u32) -> bool {
        let mut map = self.map.0.load(Ordering::Relaxed);
        while map & WAITERS == 0 {
            let put = map | 1 << slot;
            let swap = self.map.0.compare_exchange_weak(map, put, Ordering::Release, Ordering::Relaxed);
            match swap {
                Ok(_) => return true,
                Err(now) => map = now,
            }
        }
        false
    }

    fn close_if_empty(&self) -> bool {
        let swap = self.map.0.compare_exchange(0, WAITERS, Ordering::AcqRel, Ordering::Acquire);
        swap.is_ok() || swap == Err(WAITERS)
    }

    fn put_locked(&self, slot: u32) {
        self.map.0.fetch_or(1 << slot, Ordering::Release);
    }

    fn open(&self) {
        self.map.0.store(0, Ordering::Release);
    }

    fn number(&self, slot: u32) -> &AtomicU64 {
        &self.numbers[slot as usize]
    }
}
