//! A bitmap of at most 63 slots, the lowest first, taken by one compare-and-swap; the last bit says that somebody
//! waits, and leads to the lock.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::queue::Queue;
use crate::peers::{Peer, Server};

const WAITERS: u64 = 1 << 63;

#[repr(align(128))]
struct Map(AtomicU64);

#[derive(Clone)]
pub(crate) struct Bitmap(&'static Core);

struct Core {
    map: Map,
    slots: Box<[AtomicU64]>,
    queue: Mutex<Queue>,
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Sets the bit of the waiters, unless a slot is idle.
    fn close_if_empty(&self) -> bool {
        let swap = self.map.0.compare_exchange(0, WAITERS, Ordering::AcqRel, Ordering::Acquire);
        swap.is_ok() || swap == Err(WAITERS)
    }
}

pub(crate) struct Lease {
    core: &'static Core,
    slot: u32,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.core.try_put(self.slot) {
            return;
        }
        let mut queue = self.core.lock();
        let waker = queue.serve(self.slot);
        if waker.is_none() {
            // Meanwhile the last waiter was served, and the map is open again.
            self.core.map.0.fetch_or(1 << self.slot, Ordering::Release);
        } else if queue.is_empty() {
            self.core.map.0.store(0, Ordering::Release);
        }
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Peer for Bitmap {
    const NAME: &'static str = "design: bitmap";
    const CREATES: bool = false;
    const CANCELS: bool = false;
    type Lease = Lease;
    type Error = Infallible;

    fn new(size: usize, _: Arc<Server>, _: bool) -> Self {
        assert!(size < 63, "one word");
        let slots = (0..size).map(|_| AtomicU64::new(0)).collect();
        let map = Map(AtomicU64::new((1 << size) - 1));
        Self(Box::leak(Box::new(Core { map, slots, queue: Mutex::default() })))
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
        let cell = &lease.core.slots[lease.slot as usize];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
