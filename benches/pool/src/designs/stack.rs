//! The design that won, as bare as the others: a stack linked by index, whose head is one word with a tag and with the
//! bit that somebody waits.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::queue::Queue;
use crate::peers::{Peer, Server};

const NONE: u64 = (1 << 20) - 1;
const WAITERS: u64 = 1 << 20;
const TAG: u64 = 1 << 21;

#[repr(align(128))]
struct Head(AtomicU64);

#[derive(Clone)]
pub(crate) struct Stack(&'static Core);

struct Slot {
    next: AtomicU32,
    number: AtomicU64,
}

struct Core {
    head: Head,
    slots: Box<[Slot]>,
    queue: Mutex<Queue>,
}

fn with_index(head: u64, index: u64) -> u64 {
    (head.wrapping_add(TAG) & !NONE) | index
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Puts a slot on the stack; with `open`, also while somebody waits.
    fn try_put(&self, slot: u32, open: bool) -> bool {
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

    /// Sets the bit of the waiters, unless a slot is idle.
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
}

pub(crate) struct Lease {
    core: &'static Core,
    slot: u32,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.core.try_put(self.slot, false) {
            return;
        }
        let mut queue = self.core.lock();
        let waker = queue.serve(self.slot);
        if waker.is_none() {
            self.core.try_put(self.slot, true);
        } else if queue.is_empty() {
            self.core.head.0.fetch_and(!WAITERS, Ordering::AcqRel);
        }
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Peer for Stack {
    const NAME: &'static str = "design: tagged stack (chosen)";
    const CREATES: bool = false;
    const CANCELS: bool = false;
    type Lease = Lease;
    type Error = Infallible;

    fn new(size: usize, _: Arc<Server>, _: bool) -> Self {
        let slot = |_| Slot { next: AtomicU32::new(0), number: AtomicU64::new(0) };
        let slots: Box<[Slot]> = (0..size).map(slot).collect();
        let head = Head(AtomicU64::new(NONE));
        let core = Core { head, slots, queue: Mutex::default() };
        for slot in 0..size {
            core.try_put(slot as u32, false);
        }
        Self(Box::leak(Box::new(core)))
    }

    async fn get(&self) -> Result<Lease, Infallible> {
        let core = self.0;
        if let Some(slot) = core.try_take() {
            return Ok(Lease { core, slot });
        }
        let mut ticket = None;
        let slot = poll_fn(|cx| {
            let mut queue = core.lock();
            if let Some(ticket) = ticket {
                return queue.look(ticket).map_or(Poll::Pending, Poll::Ready);
            }
            loop {
                if let Some(slot) = core.try_take() {
                    return Poll::Ready(slot);
                }
                if core.close_if_empty() {
                    ticket = Some(queue.join(cx));
                    return Poll::Pending;
                }
            }
        })
        .await;
        Ok(Lease { core, slot })
    }

    fn touch(lease: &mut Lease) {
        let cell = &lease.core.slots[lease.slot as usize].number;
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
