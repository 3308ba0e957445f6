//! The primitives of the core: those of `std`, or in tests under `cfg(tenure_loom)` those of loom.
//!
//! The name of the configuration is our own because under `cfg(loom)` tokio leaves out what the hub needs.

#[cfg(all(test, tenure_loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(all(test, tenure_loom)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(all(test, tenure_loom))]
use loom::sync as imp;
#[cfg(not(all(test, tenure_loom)))]
use std::sync as imp;

pub(crate) type Guard<'a, T> = imp::MutexGuard<'a, T>;

/// A mutex without poisoning: no code of users runs while it is held.
#[derive(Debug)]
pub(crate) struct Lock<T>(imp::Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}
