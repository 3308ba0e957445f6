//! The claim: the exclusive right to one slot.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use super::core::Core;
use super::slots::{Meta, Slot};

/// The exclusive right to one slot and its resource, two words wide.
///
/// It keeps the core alive without counting (invariant 2 of the module). Dropping it does nothing: the slot
/// stays claimed for ever. The layers above wrap it in guards that give it back.
#[must_use = "a claim that is dropped loses its slot"]
pub(crate) struct Claim<R, S, X> {
    slot: NonNull<Slot<R>>,
    core: NonNull<Core<R, S, X>>,
    owns: PhantomData<R>,
}

// SAFETY: a claim is the exclusive access to an `R` (sent with it) and a shared access to a `Core`, which
// is `Sync` under just these bounds; the last claim may drop the core, hence `Send` of its parts.
unsafe impl<R: Send, S: Send, X: Send + Sync> Send for Claim<R, S, X> {}
// SAFETY: a shared claim gives out `&R` and `&Core` only.
unsafe impl<R: Send + Sync, S: Send, X: Send + Sync> Sync for Claim<R, S, X> {}

impl<R, S, X> Claim<R, S, X> {
    /// The claim on `slot` of `core`.
    ///
    /// # Safety
    /// The slot belongs to the core, is not vacant (so that it owns a strong count of the core, which is in
    /// an `Arc`), and the caller has taken it off the stack, out of a waiter, or out of the vacant ones, so
    /// that no other claim on it exists.
    #[inline]
    pub(super) unsafe fn new(core: &Arc<Core<R, S, X>>, slot: &Slot<R>) -> Self {
        // The pointer of the `Arc` itself, not one made from a reference to what is in it: `arc` reaches the
        // counts through it, which lie in front.
        // SAFETY: the pointer of an `Arc` is not null.
        let core = unsafe { NonNull::new_unchecked(Arc::as_ptr(core).cast_mut()) };
        Self { slot: NonNull::from(slot), core, owns: PhantomData }
    }

    #[inline]
    pub(super) fn slot(&self) -> &Slot<R> {
        // SAFETY: slots are freed with the core only, and the core is alive while a claim exists
        // (invariant 2).
        unsafe { self.slot.as_ref() }
    }

    /// The core the slot belongs to.
    #[inline]
    pub(crate) fn core(&self) -> &Core<R, S, X> {
        // SAFETY: the claimed slot is not vacant and owns a strong count of the core (invariant 2). The
        // borrow of `self` keeps the claim, and with it the count, where they are.
        unsafe { self.core.as_ref() }
    }

    /// A counted reference to the core.
    pub(crate) fn arc(&self) -> Arc<Core<R, S, X>> {
        // SAFETY: the pointer is that of an `Arc` (contract of `new`), and the slot owns a strong count, so
        // that the count is at least one during the call; the new count is the returned one's.
        unsafe {
            Arc::increment_strong_count(self.core.as_ptr());
            Arc::from_raw(self.core.as_ptr())
        }
    }

    /// What is known of the resource.
    #[inline]
    pub(crate) fn meta(&self) -> &Meta {
        &self.slot().meta
    }

    /// The resource, if the slot has one.
    #[inline]
    pub(crate) fn resource(&self) -> Option<&R> {
        // SAFETY: only the owner of the claim touches the cell (invariant 1), and a shared borrow of the
        // claim gives out shared borrows only.
        unsafe { (*self.slot().resource.get()).as_ref() }
    }

    /// The resource, if the slot has one.
    #[inline]
    pub(crate) fn resource_mut(&mut self) -> Option<&mut R> {
        // SAFETY: only the owner of the claim touches the cell (invariant 1), and it is borrowed here
        // exclusively for as long as the result lives.
        unsafe { (*self.slot().resource.get()).as_mut() }
    }

    /// The core, the meta data and the resource, all at once.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&Core<R, S, X>, &Meta, Option<&mut R>) {
        // SAFETY: as in `core` and `resource_mut`. The three do not overlap: the core's own methods reach
        // the cell of a resource only through a claim, and this one is borrowed; the meta data lie beside it.
        unsafe {
            let slot = self.slot.as_ref();
            (self.core.as_ref(), &slot.meta, (*slot.resource.get()).as_mut())
        }
    }

    /// Puts a resource into the slot and gives back the one that was there.
    pub(crate) fn fill(&mut self, resource: R) -> Option<R> {
        // SAFETY: as in `resource_mut`.
        unsafe { (*self.slot().resource.get()).replace(resource) }
    }

    /// Takes the resource out of the slot.
    pub(crate) fn take(&mut self) -> Option<R> {
        // SAFETY: as in `resource_mut`.
        unsafe { (*self.slot().resource.get()).take() }
    }

    /// Puts the slot back among the idle ones without the lock, or gives the claim back if the slow way
    /// has to be taken.
    #[inline]
    pub(crate) fn try_put_back(self) -> Result<(), Self> {
        // SAFETY: this is the claim on the slot of this core, and it ends with success.
        if unsafe { Core::try_push(self.core.as_ptr(), self.slot.as_ptr()) } { Ok(()) } else { Err(self) }
    }

    /// Whether the slot is one of this core.
    pub(super) fn is_of(&self, core: &Core<R, S, X>) -> bool {
        std::ptr::eq(self.core.as_ptr(), core)
    }
}

impl<R, S, X> fmt::Debug for Claim<R, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slot().fmt(f)
    }
}
