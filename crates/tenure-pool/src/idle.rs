//! A look at the idle resources of a pool, and the choice of those to keep.
//!
//! # Invariants
//! 1. The predicate runs without the lock, on resources that are taken out. Whatever it does, a panic included, each goes
//!    back or is closed.

use std::sync::atomic::Ordering;

use crate::manager::{Context, Manager, Why};
use crate::pool::Pool;
use crate::shared::{Claimed, phase};
use crate::work::{give_back, retire};

/// Resources that are taken out; dropped, they go back.
struct TakenOut<M: Manager>(Vec<Claimed<M>>);

impl<M: Manager> Drop for TakenOut<M> {
    fn drop(&mut self) {
        // The top of the stack was taken out first.
        while let Some(claim) = self.0.pop() {
            give_back(claim);
        }
    }
}

/// One that the predicate looks at; dropped, it is closed, for the predicate has not said that it may stay.
struct LookedAt<M: Manager>(Option<Claimed<M>>);

impl<M: Manager> Drop for LookedAt<M> {
    fn drop(&mut self) {
        if let Some(claim) = self.0.take() {
            retire(claim, Why::NotRetained);
        }
    }
}

impl<M: Manager> Pool<M> {
    /// Shows each idle resource to the predicate, and closes those for which it returns `false`. Returns how many those
    /// were.
    ///
    /// Resources that are lent, checked or reset are not shown. Those that are shown are not lent meanwhile, so the
    /// predicate should be quick; gets wait for them in the queue. To replace lent ones as well, use
    /// [`invalidate_all`](Self::invalidate_all).
    ///
    /// # Panics
    /// If the predicate panics; the resource it was shown is closed then, and the others are kept.
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Resource, Context) -> bool) -> usize {
        self.shared.ext.clock.now();
        let mut taken = TakenOut(self.shared.lock().pop_all_idle());
        let (mut kept, mut closed) = (TakenOut(Vec::new()), 0);
        taken.0.reverse();
        while let Some(claim) = taken.0.pop() {
            let mut looked_at = LookedAt(Some(claim));
            let is_kept = looked_at.0.as_mut().is_some_and(|claim| {
                let (core, meta, cargo) = claim.parts();
                let context = core.ext.context(meta, Why::NotRetained);
                cargo.is_some_and(|cargo| keep(&mut cargo.resource, context))
            });
            if is_kept {
                // It was not used, so its idle time goes on.
                kept.0.extend(looked_at.0.take());
            } else {
                closed += 1;
            }
        }
        drop(taken);
        self.put_back(std::mem::take(&mut kept.0));
        closed
    }

    /// Puts idle resources back in their order, or gives them to those who wait.
    fn put_back(&self, claims: Vec<Claimed<M>>) {
        let mut locked = self.shared.lock();
        let is_open = !locked.state.closed && !locked.state.has_excess();
        if is_open && locked.queue.is_empty() {
            locked.restore(claims);
            return;
        }
        drop(locked);
        drop(TakenOut::<M>(claims));
    }

    /// Returns what is known of each idle resource, in no particular order.
    #[must_use]
    pub fn idle(&self) -> Vec<Context> {
        let ext = &self.shared.ext;
        ext.clock.now();
        let metas = self.shared.lock().metas();
        let is_idle = |meta: &&crate::raw::Meta| {
            meta.phase.load(Ordering::Relaxed) == phase::READY && meta.holder().is_none()
        };
        metas.filter(is_idle).map(|meta| ext.context(meta, Why::Idle)).collect()
    }
}
