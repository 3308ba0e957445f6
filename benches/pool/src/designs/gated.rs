//! What the designs without a lock on the fast path have in common: a word with a bit that says that somebody waits, and
//! behind it the queue and its lock.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::queue::Queue;
use crate::peers::{Peer, Server};

/// The idle slots and the bit.
pub(crate) trait Slots: Send + Sync + 'static {
    const NAME: &'static str;

    fn new(size: usize) -> Self;

    /// Takes a slot, unless none is idle or the bit is set.
    fn try_take(&self) -> Option<u32>;

    /// Puts a slot back, unless the bit is set.
    fn try_put(&self, slot: u32) -> bool;

    /// Sets the bit, unless a slot is idle.
    fn close_if_empty(&self) -> bool;

    /// Puts a slot back under the lock, when nobody waits.
    fn put_locked(&self, slot: u32);

    /// Clears the bit, under the lock.
    fn open(&self);

    /// What lies in a slot.
    fn number(&self, slot: u32) -> &AtomicU64;
}

/// A pool over such slots.
pub(crate) struct Gated<S: 'static>(&'static Core<S>);

struct Core<S> {
    slots: S,
    queue: Mutex<Queue>,
}

impl<S> Core<S> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Lease<S: Slots> {
    core: &'static Core<S>,
    slot: u32,
}

impl<S: Slots> Drop for Lease<S> {
    fn drop(&mut self) {
        let Self { core, slot } = *self;
        if core.slots.try_put(slot) {
            return;
        }
        let mut queue = core.lock();
        let waker = queue.serve(slot);
        if waker.is_none() {
            // Meanwhile the last waiter was served, and the bit is cleared.
            core.slots.put_locked(slot);
        } else if queue.is_empty() {
            core.slots.open();
        }
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<S> Clone for Gated<S> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S: Slots> Peer for Gated<S> {
    const NAME: &'static str = S::NAME;
    const CREATES: bool = false;
    const CANCELS: bool = false;
    type Lease = Lease<S>;
    type Error = Infallible;

    fn new(size: usize, _: Arc<Server>, _: bool) -> Self {
        Self(Box::leak(Box::new(Core { slots: S::new(size), queue: Mutex::default() })))
    }

    async fn get(&self) -> Result<Lease<S>, Infallible> {
        let core = self.0;
        if let Some(slot) = core.slots.try_take() {
            return Ok(Lease { core, slot });
        }
        let mut ticket = None;
        let slot = poll_fn(|cx| {
            let mut queue = core.lock();
            if let Some(ticket) = ticket {
                return queue.look(ticket).map_or(Poll::Pending, Poll::Ready);
            }
            loop {
                if let Some(slot) = core.slots.try_take() {
                    return Poll::Ready(slot);
                }
                if core.slots.close_if_empty() {
                    ticket = Some(queue.join(cx));
                    return Poll::Pending;
                }
            }
        })
        .await;
        Ok(Lease { core, slot })
    }

    fn touch(lease: &mut Lease<S>) {
        let cell = lease.core.slots.number(lease.slot);
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
