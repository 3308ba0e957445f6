//! What lies on a stack: an arena that lends each entry out once. The one module with unsafe code.
//!
//! An exit stack gives `&mut R` out of `&self` and moves its list of boxes while those borrows live. A `Box` asserts on
//! each move that it is the only way to its content; a [`Stored`] asserts nothing.
//!
//! # Invariants
//! 1. What [`Loans`] lends is borrowed from it. [`Exits`], which takes entries out, is made of a `Loans` by value, so
//!    no borrow is alive any more.
//! 2. The list is shared with the registry, which reads labels and never touches an entry.
//! 3. A row stays, without its entry, while that entry exits: what is seen as open is open.
#![expect(unsafe_code, reason = "an arena's borrows cannot be expressed in safe code; argued at each block")]

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::Way;
use crate::frame::Label;
use crate::registry::Items;

/// Owns a heap allocation without claiming, when it is moved, that nobody else points into it.
///
/// `pointer` came from a box and is given back to one exactly once: by [`into_box`](Self::into_box) or by `Drop`.
struct Stored<T: ?Sized> {
    pointer: NonNull<T>,
}

// SAFETY: a `Stored<T>` owns a `T` as `Box<T>` does: to send it is to send the `T`. No `Sync` is claimed.
unsafe impl<T: ?Sized + Send> Send for Stored<T> {}

impl<E: 'static> Stored<dyn Way<E>> {
    fn new<W: Way<E>>(entry: W) -> (Self, NonNull<W>) {
        let pointer = NonNull::from(Box::leak(Box::new(entry)));
        (Self { pointer }, pointer)
    }
}

impl<T: ?Sized> Stored<T> {
    fn into_box(self) -> Box<T> {
        let pointer = self.pointer.as_ptr();
        #[expect(clippy::mem_forget, reason = "the box takes over; `Drop` would free a second time")]
        std::mem::forget(self);
        // SAFETY: the pointer came from a box, and `self`, forgotten, will not give it back again. The box is unique:
        // this is called by `Exits` alone, when all that was lent has come back (invariant 1).
        unsafe { Box::from_raw(pointer) }
    }
}

impl<T: ?Sized> Drop for Stored<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box; `into_box` forgets `self`, so this is the only time. Nothing lent is
        // alive: the list that this lies in goes away with the last of `Loans`, `Exits` and the registry's view, and
        // what was lent is borrowed from the first (invariant 1).
        drop(unsafe { Box::from_raw(self.pointer.as_ptr()) });
    }
}

struct Row<E> {
    label: Label,
    entry: Option<Stored<dyn Way<E>>>,
}

struct Rows<E>(Mutex<Vec<Row<E>>>);

impl<E> Rows<E> {
    fn lock(&self) -> MutexGuard<'_, Vec<Row<E>>> {
        // No code of others runs under the lock, so a poisoned list is a whole list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stack that is being filled: it lends out what is put on it.
pub(super) struct Loans<E> {
    rows: Arc<Rows<E>>,
}

impl<E: 'static> Loans<E> {
    pub(super) fn new() -> Self {
        Self { rows: Arc::new(Rows(Mutex::default())) }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.lock().len()
    }

    /// Puts an entry on top and lends it out; says whether it is the only one.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each entry is lent once, as an arena lends")]
    pub(super) fn put<W: Way<E>>(&self, label: Label, entry: W) -> (&mut W, bool) {
        let (stored, pointer) = Stored::new(entry);
        let mut rows = self.rows.lock();
        rows.push(Row { label, entry: Some(stored) });
        let only = rows.len() == 1;
        drop(rows);
        // SAFETY:
        // - It points to a live, aligned, initialised entry: it was just leaked from a box.
        // - It stays live for the borrow of `self`: entries are freed by `Exits`, which is made of `self` by value,
        //   and when the list goes away, which `self` keeps alive.
        // - It is unique for as long: no reference is ever made from a stored pointer but this, and this entry is put
        //   once, since it is taken by value.
        let lent = unsafe { &mut *pointer.as_ptr() };
        (lent, only)
    }

    /// What the registry shows.
    pub(super) fn view(&self) -> Arc<dyn Items>
    where
        E: Send,
    {
        Arc::clone(&self.rows) as _
    }

    /// Ends all loans.
    pub(super) fn into_exits(self) -> Exits<E> {
        Exits { rows: self.rows }
    }
}

/// A stack that is being emptied.
pub(super) struct Exits<E> {
    rows: Arc<Rows<E>>,
}

impl<E: 'static> Exits<E> {
    /// Takes the topmost entry. Its row stays while it exits, until the next one is taken.
    pub(super) fn next(&mut self) -> Option<(Label, Box<dyn Way<E>>)> {
        let mut rows = self.rows.lock();
        // The row of the entry before, if there is one.
        while rows.pop_if(|row| row.entry.is_none()).is_some() {}
        let row = rows.last_mut()?;
        let entry = row.entry.take()?;
        Some((row.label, entry.into_box()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.lock().iter().all(|row| row.entry.is_none())
    }
}

impl<E: 'static> Items for Rows<E> {
    fn labels(&self) -> Vec<Label> {
        self.lock().iter().map(|row| row.label).collect()
    }
}

impl<E> fmt::Debug for Rows<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.lock().len()).finish()
    }
}
