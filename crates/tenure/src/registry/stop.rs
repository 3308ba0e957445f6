//! Asking what is held to stop, when the process ends.
//!
//! A body that is the outermost of its task can be dropped by the tenure that polls it; all that is entered inside goes
//! with it, in order. So the outermost ones leave their wakers here when they suspend. A guard outside of any body is in
//! the hands of code that nobody polls on its behalf: it cannot be asked.
//!
//! # Invariants
//! 1. Wakers are cloned, called and dropped behind the locks.
//! 2. Whoever has been asked stops at its next poll. One that can be stopped, by its options, is stopped as by a request, and
//!    returns. Another one hands its exit over and is pending from then on: there is no result that its caller could be given.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::{Phase, Registry};
use crate::label::Id;

impl Registry {
    /// Whether it is worth to look whether this or that was asked.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        // Relaxed: whoever is asked is woken afterwards, and then looks again under a lock.
        self.stopping.load(Ordering::Relaxed)
    }

    /// Asks every outermost body that is held now to stop, but for those of these ids.
    #[cfg_attr(not(feature = "signal"), expect(dead_code, reason = "`run` calls it"))]
    pub(crate) fn ask_to_stop(&self, except: &HashSet<Id>) {
        self.stopping.store(true, Ordering::Relaxed);
        let mut wakers = Vec::new();
        self.held.each(|entry| {
            if entry.phase == Phase::Held && !except.contains(&entry.id) {
                wakers.extend(entry.ask_to_stop());
            }
        });
        wakers.into_iter().for_each(Waker::wake);
    }
}
