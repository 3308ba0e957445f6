//! Where the resources live: slots that never move, in chunks that are only added.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32 as StdU32, AtomicU64 as StdU64, Ordering};

use crate::loom::AtomicU32;

/// Slots in the first chunk; the others double what there is.
#[cfg(not(all(test, tenure_loom)))]
const FIRST: usize = 32;
#[cfg(all(test, tenure_loom))]
const FIRST: usize = 4;
const CHUNKS: usize = 15;
/// The most slots there can be, and the index that means "none".
pub(super) const NONE: u32 = (1 << 20) - 1;

/// One place for one resource.
pub(crate) struct Slot<R> {
    /// The slot below this one in the stack of idle ones; meaningful only there.
    pub(super) next: AtomicU32,
    pub(super) index: u32,
    pub(super) meta: Meta,
    /// Touched by the owner of the claim alone (invariant 1).
    pub(super) resource: UnsafeCell<Option<R>>,
}

/// What is known of the resource in a slot.
///
/// Written by the owner of the claim (flags: by anybody), read by anybody, always relaxed: these are
/// observations, and what must be exact is checked by the owner or under the lock.
#[derive(Debug)]
pub(crate) struct Meta {
    /// Reasons to leave the fast path; see the constants of [`Meta`].
    pub(crate) flags: StdU32,
    /// Nanoseconds of the pool's coarse clock when the slot was last taken or put back.
    pub(crate) stamp: StdU64,
    /// How many times the resource was lent.
    pub(crate) uses: StdU64,
    /// Who holds the resource: where `get` was called, or null.
    holder: AtomicPtr<Location<'static>>,
    /// When the resource was created, when its life ends, when it last passed a check (nanoseconds).
    pub(crate) created: StdU64,
    pub(crate) expires: StdU64,
    pub(crate) checked: StdU64,
    /// The precise start of a use that is measured, else 0.
    pub(crate) measured: StdU64,
    /// The generation in which its creation began, for `invalidate_all`.
    pub(crate) generation: StdU64,
    /// What goes on in the slot while it is neither idle nor lent.
    pub(crate) phase: StdU32,
    /// The number of the resource, unique in the pool.
    pub(crate) id: StdU64,
    /// When the create, check or reset that goes on in the slot was begun (nanoseconds).
    pub(crate) began: StdU64,
    /// The runtime the resource belongs to, or 0.
    pub(crate) home: StdU32,
}

impl Meta {
    fn new() -> Self {
        Self {
            flags: StdU32::new(0),
            stamp: StdU64::new(0),
            uses: StdU64::new(0),
            holder: AtomicPtr::new(ptr::null_mut()),
            created: StdU64::new(0),
            expires: StdU64::new(0),
            checked: StdU64::new(0),
            measured: StdU64::new(0),
            generation: StdU64::new(0),
            phase: StdU32::new(0),
            id: StdU64::new(0),
            began: StdU64::new(0),
            home: StdU32::new(0),
        }
    }

    /// Where the present holder called `get`.
    pub(crate) fn holder(&self) -> Option<&'static Location<'static>> {
        let holder = self.holder.load(Ordering::Relaxed);
        // SAFETY: the pointer is null or was made from a `&'static Location<'static>` in `set_holder`.
        unsafe { holder.as_ref() }
    }

    /// Notes the holder.
    #[inline]
    pub(crate) fn set_holder(&self, holder: Option<&'static Location<'static>>) {
        let pointer = holder.map_or(ptr::null(), ptr::from_ref);
        self.holder.store(pointer.cast_mut(), Ordering::Relaxed);
    }
}

impl<R> Slot<R> {
    fn new(index: usize) -> Self {
        Self {
            next: AtomicU32::new(NONE),
            index: u32::try_from(index).unwrap_or(NONE),
            meta: Meta::new(),
            resource: UnsafeCell::new(None),
        }
    }
}

impl<R> fmt::Debug for Slot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("index", &self.index).field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// All slots of a pool.
pub(super) struct Slots<R> {
    first: Box<[Slot<R>]>,
    more: [OnceLock<Box<[Slot<R>]>>; CHUNKS],
}

// SAFETY: a `&Slots` gives access to the atomics of a slot, which are `Sync`, and, to the one owner of the
// claim, to the resource, which thereby moves between threads: `R: Send` is what that needs. Two threads
// never see the same resource through here (invariant 1).
unsafe impl<R: Send> Sync for Slots<R> {}

impl<R> Slots<R> {
    pub(super) fn new() -> Self {
        Self { first: chunk(0, FIRST), more: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The slot of an index that was handed out by [`Slots::ensure`] before.
    #[inline]
    pub(super) fn at(&self, index: u32) -> &Slot<R> {
        let index = index as usize;
        match self.first.get(index) {
            Some(slot) => slot,
            None => self.further(index),
        }
    }

    #[cold]
    fn further(&self, index: usize) -> &Slot<R> {
        let (place, start) = place(index);
        let chunk = self.more[place].get().expect("an index is used only after its chunk was made");
        &chunk[index - start]
    }

    /// Makes room for `index`.
    pub(super) fn ensure(&self, index: u32) {
        let index = index as usize;
        if index >= FIRST {
            let (place, start) = place(index);
            self.more[place].get_or_init(|| chunk(start, start));
        }
    }
}

/// The place of the chunk of an index beyond the first chunk, and where it starts: chunk `n` has the
/// indices from `FIRST << n` to `FIRST << (n + 1)`.
fn place(index: usize) -> (usize, usize) {
    let place = (index / FIRST).ilog2();
    (place as usize, FIRST << place)
}

fn chunk<R>(start: usize, count: usize) -> Box<[Slot<R>]> {
    (start..start + count).map(Slot::new).collect()
}
