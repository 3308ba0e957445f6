use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use super::{Peer, Server};

/// The least one would write by hand: a semaphore and a stack. It checks nothing and creates nothing later.
#[derive(Clone)]
pub(crate) struct Floor(&'static Parts);

struct Parts {
    permits: Semaphore,
    idle: Mutex<Vec<u64>>,
}

pub(crate) struct FloorLease {
    parts: &'static Parts,
    number: u64,
    _permit: SemaphorePermit<'static>,
}

impl Drop for FloorLease {
    fn drop(&mut self) {
        // Before the permit, so that whoever gets the permit finds it.
        let mut idle = self.parts.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.number);
    }
}

impl Peer for Floor {
    const NAME: &'static str = "floor: Semaphore + Mutex<Vec>";
    const CREATES: bool = false;
    type Lease = FloorLease;
    type Error = AcquireError;

    fn new(size: usize, _: Arc<Server>, _: bool) -> Self {
        let idle = Mutex::new((0..size as u64).collect());
        // Leaked, so that a lease need not count: the least there can be.
        Self(Box::leak(Box::new(Parts { permits: Semaphore::new(size), idle })))
    }

    async fn get(&self) -> Result<FloorLease, AcquireError> {
        let permit = self.0.permits.acquire().await?;
        let popped = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let number = popped.expect("there are as many as permits");
        Ok(FloorLease { parts: self.0, number, _permit: permit })
    }

    fn touch(lease: &mut FloorLease) {
        lease.number += 1;
    }
}
