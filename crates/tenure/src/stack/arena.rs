//! What lies on a stack: an arena that lends each entry out once. The one module with unsafe code.
//!
//! An exit stack gives `&mut R` out of `&self` and moves its list of boxes while those borrows live. A `Box` asserts on
//! each move that it is the only way to its content; a [`Stored`] asserts nothing.
//!
//! # Invariants
//! 1. What [`Loans`] lends is borrowed from it. [`Exits`], which takes entries out, is made of a `Loans` by value, so
//!    no borrow is alive any more.
//! 2. The rows are shared with the registry, which reads labels and never touches an entry.
//! 3. A label is shown until its entry has exited: what is seen as open is open.
#![expect(unsafe_code, reason = "an arena's borrows cannot be expressed in safe code; argued at each block")]

use std::fmt;
use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        mem::forget(self);
        // SAFETY: the pointer came from a box, and `self`, forgotten, will not give it back again. The box is unique:
        // this is called by `Exits` alone, when all that was lent has come back (invariant 1).
        unsafe { Box::from_raw(pointer) }
    }
}

impl<T: ?Sized> Drop for Stored<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box; `into_box` forgets `self`, so this is the only time. Nothing lent is
        // alive: the list that this lies in goes away with `Exits`, or with the last of `Loans` and the registry's view,
        // and what was lent is borrowed from `Loans` (invariant 1).
        drop(unsafe { Box::from_raw(self.pointer.as_ptr()) });
    }
}

/// All that was put on a stack.
struct Rows<E> {
    filled: Mutex<Filled<E>>,
    /// How many of the labels are of entries that have not exited: all, until the exits begin.
    open: AtomicUsize,
}

struct Filled<E> {
    labels: Vec<Label>,
    /// Until the exits begin, the entry of each label; then none.
    entries: Vec<Stored<dyn Way<E>>>,
}

impl<E> Rows<E> {
    fn lock(&self) -> MutexGuard<'_, Filled<E>> {
        // No code of others runs under the lock, so a poisoned list is a whole list.
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stack that is being filled: it lends out what is put on it.
pub(super) struct Loans<E> {
    rows: Arc<Rows<E>>,
}

impl<E: 'static> Loans<E> {
    pub(super) fn new() -> Self {
        let filled = Mutex::new(Filled { labels: Vec::new(), entries: Vec::new() });
        Self { rows: Arc::new(Rows { filled, open: AtomicUsize::new(usize::MAX) }) }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.lock().entries.len()
    }

    /// Puts an entry on top and lends it out; says whether it is the only one.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each entry is lent once, as an arena lends")]
    pub(super) fn put<W: Way<E>>(&self, label: Label, entry: W) -> (&mut W, bool) {
        let (stored, pointer) = Stored::new(entry);
        let mut rows = self.rows.lock();
        rows.labels.push(label);
        rows.entries.push(stored);
        let only = rows.entries.len() == 1;
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
        let entries = mem::take(&mut self.rows.lock().entries);
        Exits { entries, rows: self.rows }
    }
}

/// A stack that is being emptied.
pub(super) struct Exits<E> {
    entries: Vec<Stored<dyn Way<E>>>,
    rows: Arc<Rows<E>>,
}

impl<E: 'static> Exits<E> {
    /// Takes the topmost entry. It is seen as open while it exits, until the next one is taken.
    pub(super) fn next(&mut self) -> Option<Box<dyn Way<E>>> {
        // Relaxed: the number publishes nothing. Without a lock, for nobody else stores.
        self.rows.open.store(self.entries.len(), Ordering::Relaxed);
        self.entries.pop().map(Stored::into_box)
    }

    /// The label of the entry that was taken last.
    pub(super) fn label(&self) -> Label {
        self.rows.lock().labels[self.entries.len()]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<E: 'static> Items for Rows<E> {
    fn labels(&self) -> Vec<Label> {
        let open = self.open.load(Ordering::Relaxed);
        self.lock().labels.iter().take(open).copied().collect()
    }
}

impl<E> fmt::Debug for Rows<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.lock().labels.len()).finish()
    }
}
