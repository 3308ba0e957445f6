//! A stack and a queue of waiters behind one mutex.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::queue::Queue;
use crate::peers::{Peer, Server};

#[derive(Clone)]
pub(crate) struct Locked(&'static Core);

struct Core {
    slots: Box<[AtomicU64]>,
    state: Mutex<State>,
}

struct State {
    idle: Vec<u32>,
    queue: Queue,
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Lease {
    core: &'static Core,
    slot: u32,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        let waker = state.queue.serve(self.slot);
        if waker.is_none() {
            state.idle.push(self.slot);
        }
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Peer for Locked {
    const NAME: &'static str = "design: stack behind a mutex";
    const CREATES: bool = false;
    const CANCELS: bool = false;
    type Lease = Lease;
    type Error = Infallible;

    fn new(size: usize, _: Arc<Server>, _: bool) -> Self {
        let count = u32::try_from(size).unwrap_or(u32::MAX);
        let state = State { idle: (0..count).collect(), queue: Queue::default() };
        let slots = (0..size).map(|_| AtomicU64::new(0)).collect();
        Self(Box::leak(Box::new(Core { slots, state: Mutex::new(state) })))
    }

    async fn get(&self) -> Result<Lease, Infallible> {
        let core = self.0;
        let mut ticket = None;
        let slot = poll_fn(|cx| {
            let mut state = core.lock();
            if let Some(ticket) = ticket {
                return state.queue.look(ticket).map_or(Poll::Pending, Poll::Ready);
            }
            if let Some(slot) = state.idle.pop() {
                return Poll::Ready(slot);
            }
            ticket = Some(state.queue.join(cx));
            Poll::Pending
        })
        .await;
        Ok(Lease { core, slot })
    }

    fn touch(lease: &mut Lease) {
        let cell = &lease.core.slots[lease.slot as usize];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
