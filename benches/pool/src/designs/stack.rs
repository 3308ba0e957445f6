//! The design that won, as bare as the others: a stack linked by index, whose head is one word with a tag and with the
//! bit that somebody waits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::gated::Slots;

const NONE: u64 = (1 << 20) - 1;
const WAITERS: u64 = 1 << 20;
const TAG: u64 = 1 << 21;

#[repr(align(128))]
struct Head(AtomicU64);

pub(crate) struct Stack {
    head: Head,
    slots: Box<[Slot]>,
}

struct Slot {
    next: AtomicU32,
    number: AtomicU64,
}

fn with_index(head: u64, index: u64) -> u64 {
    (head.wrapping_add(TAG) & !NONE) | index
}

impl Stack {
    /// Puts a slot on the stack; with `open`, also while somebody waits.
    fn push(&self, slot: u32, open: bool) -> bool {
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            if head & WAITERS != 0 && !open {
                return false;
            }
            self.slots[slot as usize].next.store((head & NONE) as u32, Ordering::Relaxed);
            let new = with_index(head, u64::from(slot));
            match self.head.0.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }
}

impl Slots for Stack {
    const NAME: &'static str = "design: tagged stack (chosen)";

    fn new(size: usize) -> Self {
        let slot = |_| Slot { next: AtomicU32::new(0), number: AtomicU64::new(0) };
        let stack = Self { head: Head(AtomicU64::new(NONE)), slots: (0..size).map(slot).collect() };
        for slot in 0..size {
            stack.push(slot as u32, false);
        }
        stack
    }

    fn try_take(&self) -> Option<u32> {
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            let index = head & NONE;
            if head & WAITERS != 0 || index == NONE {
                return None;
            }
            let next = self.slots[index as usize].next.load(Ordering::Relaxed);
            let new = with_index(head, u64::from(next));
            match self.head.0.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(index as u32),
                Err(now) => head = now,
            }
        }
    }

    fn try_put(&self, slot: u32) -> bool {
        self.push(slot, false)
    }

    fn close_if_empty(&self) -> bool {
        let mut head = self.head.0.load(Ordering::Acquire);
        while head & NONE == NONE {
            let new = head | WAITERS;
            match self.head.0.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
        false
    }

    fn put_locked(&self, slot: u32) {
        self.push(slot, true);
    }

    fn open(&self) {
        self.head.0.fetch_and(!WAITERS, Ordering::AcqRel);
    }

    fn number(&self, slot: u32) -> &AtomicU64 {
        &self.slots[slot as usize].number
    }
}
