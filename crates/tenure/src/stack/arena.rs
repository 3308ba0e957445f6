//! What lies on a stack: an arena that lends each entry out once. The one module with unsafe code.
//!
//! An exit stack gives `&mut R` out of `&self`, and counts and lists what it holds while those borrows live. Its entries
//! are of many types, each exits in its own place, and all go within a short time. So they lie one behind the other in a
//! few chunks of memory, each with a link to the one below.
//!
//! # Invariants
//! 1. What [`Loans`] lends is borrowed from it. [`Exits`], which exits and drops entries, is made of a `Loans` by value, so
//!    no borrow is alive any more.
//! 2. A node never moves. Its entry is dropped once, by the one [`Chain`] or [`Stored`] that owns it, and that goes before
//!    the chunk does: [`Loans`] and [`Exits`] name the owner of the chunks last. Leaked, they leak the chunks as well.
//! 3. A node's label and link are written before it is linked, and never again; its id is atomic. The registry, which shares
//!    the nodes, reads these three and never touches an entry.
//! 4. A label is shown until its entry has exited: what is seen as open is open.
#![expect(unsafe_code, reason = "an arena's borrows cannot be expressed in safe code; argued at each block")]

use std::fmt;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::entry::Way;
use super::stops::Stops;
use crate::exit::{StopBody, StopSource};
use crate::fault::quietly;
use crate::label::{Id, Label, next_id};
use crate::registry::{Item, Items};

/// Enough for a few small entries. Each further chunk is twice as large, so that there are few, and at most half is spare.
const FIRST_CHUNK_BYTES: usize = 512;

/// Memory that is freed with it. Unlike a `Box` it does not assert, when it is moved, that nobody else points into it.
struct Chunk {
    memory: NonNull<[MaybeUninit<u8>]>,
    used: usize,
}

// SAFETY: bytes without a meaning of their own; what lies in them is owned, and sent, by its `Chain` or `Stored`.
unsafe impl Send for Chunk {}

impl Chunk {
    fn new(bytes: usize) -> Self {
        Self { memory: NonNull::from(Box::leak(Box::new_uninit_slice(bytes))), used: 0 }
    }

    /// Sets aside the room for a `T` behind what lies here, if there is enough.
    #[inline]
    fn room_for<T>(&mut self) -> Option<NonNull<T>> {
        let begin = self.memory.cast::<MaybeUninit<u8>>();
        // SAFETY: `used` is at most the length, see below, so the result is within the chunk or at its end.
        let free = unsafe { begin.add(self.used) };
        let used = self.used.checked_add(free.align_offset(align_of::<T>()))?;
        let end = used.checked_add(size_of::<T>()).filter(|end| *end <= self.memory.len())?;
        self.used = end;
        // SAFETY: `used..end` is within the chunk.
        let room = unsafe { begin.add(used) };
        Some(room.cast())
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box and is given back once. Nothing points into it any more: who owns entries is
        // gone (invariant 2), and so is the registry's view, which shares what owns the chunks.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

struct Node<E, W: ?Sized> {
    label: Label,
    /// Given when someone asks for it; 0 before.
    id: AtomicU64,
    below: Option<Link<E>>,
    entry: W,
}

fn allotted(id: &AtomicU64) -> Id {
    // Relaxed: the number is all there is to it.
    match id.load(Ordering::Relaxed) {
        0 => {
            let new = next_id();
            let stored = id.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed);
            stored.map_or_else(|other| other, |_| new)
        }
        id => id,
    }
}

type Link<E> = NonNull<Node<E, dyn Way<E>>>;

/// Owns the entry of one node.
struct Stored<E> {
    node: Link<E>,
}

// SAFETY: it owns an entry, and entries are `Send`; the rest of a node is plain data. No `Sync` is claimed.
unsafe impl<E> Send for Stored<E> {}

impl<E> Stored<E> {
    fn entry(&mut self) -> Pin<&mut (dyn Way<E> + 'static)> {
        // SAFETY: the entry is live, since it is dropped by `Drop` alone. The reference is unique: this is called by `Exits`
        // alone, when all that was lent has come back (invariant 1), and covers the entry alone, which the registry does
        // not read (invariant 3). The entry never moves, and is dropped before its memory is freed (invariant 2), so it may
        // be pinned.
        unsafe { Pin::new_unchecked(&mut (*self.node.as_ptr()).entry) }
    }

    fn label(&self) -> Label {
        // SAFETY: the node is there (invariant 2), and its label is never written again (invariant 3).
        unsafe { (*self.node.as_ptr()).label }
    }

    /// The id, if one was given.
    fn id_if_any(&self) -> Id {
        // SAFETY: the node is there (invariant 2). The reference covers the id alone, which is atomic (invariant 3).
        unsafe { &(*self.node.as_ptr()).id }.load(Ordering::Relaxed)
    }
}

impl<E> Drop for Stored<E> {
    fn drop(&mut self) {
        // SAFETY: the entry is live, its chunk is still there, and it is dropped here alone (invariant 2). Nothing lent is
        // alive: this lies in an `Exits`, or in a `Loans` that is dropped (invariant 1).
        unsafe { ptr::drop_in_place(&raw mut (*self.node.as_ptr()).entry) };
    }
}

/// Owns the entries of this node and of all below.
struct Chain<E> {
    top: Option<Link<E>>,
}

// SAFETY: as that of `Stored`.
unsafe impl<E> Send for Chain<E> {}

impl<E> Chain<E> {
    fn pop(&mut self) -> Option<Stored<E>> {
        let node = self.top?;
        // SAFETY: the node is there (invariant 2), and its link is never written again (invariant 3).
        self.top = unsafe { (*node.as_ptr()).below };
        Some(Stored { node })
    }
}

impl<E> Drop for Chain<E> {
    fn drop(&mut self) {
        while let Some(entry) = self.pop() {
            // What never exited is reported as lost by the job it lay in, entry by entry. Should one panic here as well, the
            // panic hook has told; this is no place to let it out, and the others are to be dropped too.
            quietly(|| drop(entry));
        }
    }
}

/// All that was put on a stack.
struct Rows<E> {
    filled: Mutex<Filled<E>>,
    /// How many have not exited: all, until the exits begin.
    open: AtomicUsize,
    /// The id of the entry that exits, once it has suspended; else 0.
    exiting: AtomicU64,
    /// Entries that may stop the body around the stack.
    stops: Stops,
}

struct Filled<E> {
    /// The topmost node, whether its entry is still there or not.
    newest: Option<Link<E>>,
    len: usize,
    chunks: Vec<Chunk>,
}

// SAFETY: the link is used for what may be shared, which is plain data (invariant 3).
unsafe impl<E> Send for Filled<E> {}

impl<E> Filled<E> {
    #[inline]
    fn put<W: Way<E>>(&mut self, label: Label, entry: W) -> NonNull<Node<E, W>> {
        let room = self.chunks.last_mut().and_then(Chunk::room_for::<Node<E, W>>);
        let node = room.unwrap_or_else(|| self.room_in_new_chunk());
        // SAFETY: the room is aligned, large enough, in a chunk that is still there, and nobody else was given it: what a
        // chunk has in use only grows.
        unsafe { node.write(Node { label, id: AtomicU64::new(0), below: self.newest, entry }) };
        self.newest = Some(node);
        self.len += 1;
        node
    }

    #[cold]
    fn room_in_new_chunk<T>(&mut self) -> NonNull<T> {
        let bytes = self.chunks.last().map_or(FIRST_CHUNK_BYTES, |chunk| 2 * chunk.memory.len());
        self.chunks.push(Chunk::new(bytes.max(size_of::<T>() + align_of::<T>())));
        let room = self.chunks.last_mut().and_then(Chunk::room_for);
        room.expect("the chunk was made large enough")
    }
}

impl<E> Rows<E> {
    fn lock(&self) -> MutexGuard<'_, Filled<E>> {
        // No code of others runs under the lock, so a poisoned list is a whole list.
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stack that is being filled: it lends out what is put on it.
pub(super) struct Loans<E> {
    // There until the exits begin.
    rows: Option<Arc<Rows<E>>>,
}

const FILLED: &str = "the rows are there until the exits begin";

impl<E> Loans<E> {
    pub(super) fn new() -> Self {
        let filled = Mutex::new(Filled { newest: None, len: 0, chunks: Vec::new() });
        let (open, exiting) = (AtomicUsize::new(usize::MAX), AtomicU64::new(0));
        Self { rows: Some(Arc::new(Rows { filled, open, exiting, stops: Stops::default() })) }
    }

    fn rows(&self) -> &Arc<Rows<E>> {
        self.rows.as_ref().expect(FILLED)
    }

    pub(super) fn len(&self) -> usize {
        self.rows().lock().len
    }

    /// Puts an entry on top and lends it out; says how many are below it.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "each entry is lent once, as an arena lends")]
    pub(super) fn put<W: Way<E>>(&self, label: Label, entry: W) -> (&mut W, usize) {
        let mut filled = self.rows().lock();
        let node = filled.put(label, entry);
        let below = filled.len - 1;
        drop(filled);
        // SAFETY:
        // - It points to a live, aligned, initialised entry: it was just stored.
        // - It stays live for the borrow of `self`: entries are dropped by `Exits`, which is made of `self` by value,
        //   and when `self` is dropped.
        // - It is unique for as long: no reference to an entry is made but this and by `Exits`, and this entry is put once,
        //   since it is taken by value.
        let lent = unsafe { &mut (*node.as_ptr()).entry };
        (lent, below)
    }

    /// What the registry shows.
    pub(super) fn view(&self) -> Arc<dyn Items>
    where
        E: Send + 'static,
    {
        Arc::clone(self.rows()) as _
    }

    /// By which entries may stop the body around the stack.
    pub(super) fn stop_body(&self) -> StopBody
    where
        E: Send + 'static,
    {
        Arc::clone(self.rows()) as _
    }

    /// Those of the entries that may stop the body around the stack.
    pub(super) fn stops(&self) -> &Stops {
        &self.rows().stops
    }

    /// Ends all loans.
    pub(super) fn into_exits(mut self) -> Exits<E> {
        Exits::new(self.rows.take().expect(FILLED))
    }
}

impl<E> Drop for Loans<E> {
    fn drop(&mut self) {
        drop(self.rows.take().map(Exits::new));
    }
}

/// A stack that is being emptied.
pub(super) struct Exits<E> {
    /// The entry that exits.
    current: Option<Stored<E>>,
    rest: Chain<E>,
    /// How many have not been taken out by [`next`](Self::next).
    open: usize,
    // Behind the entries, since it owns the chunks that they lie in.
    rows: Arc<Rows<E>>,
}

impl<E> Exits<E> {
    /// To be called once for the rows: from now on this owns the entries.
    fn new(rows: Arc<Rows<E>>) -> Self {
        let filled = rows.lock();
        let (rest, open) = (Chain { top: filled.newest }, filled.len);
        drop(filled);
        Self { current: None, rest, open, rows }
    }

    /// Takes the topmost entry. It is seen as open while it exits, until the next one is taken.
    pub(super) fn next(&mut self) -> Option<Taken<'_, E>> {
        // Relaxed: the number publishes nothing. Without a lock, for nobody else stores.
        self.rows.open.store(self.open, Ordering::Relaxed);
        self.rows.exiting.store(0, Ordering::Relaxed);
        self.current = Some(self.rest.pop()?);
        self.open -= 1;
        Some(Taken {
            current: &mut self.current,
            index: self.open,
            shown: Shown { exiting: &self.rows.exiting },
        })
    }

    /// The number, from below, of the entry that has stopped the body, if one has.
    pub(super) fn stopped_by(&self) -> Option<usize> {
        self.rows.stops.stopped_by()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }
}

/// The entry whose turn it is. Dropped, the entry is dropped.
pub(super) struct Taken<'x, E> {
    current: &'x mut Option<Stored<E>>,
    /// Its number, from below.
    pub(super) index: usize,
    pub(super) shown: Shown<'x>,
}

/// Under which id the registry shows the entry that exits.
#[derive(Clone, Copy)]
pub(super) struct Shown<'x> {
    exiting: &'x AtomicU64,
}

impl Shown<'_> {
    pub(super) fn set(self, id: Id) {
        self.exiting.store(id, Ordering::Relaxed);
    }
}

const TAKEN: &str = "the entry is there until this is dropped";

impl<E> Taken<'_, E> {
    pub(super) fn entry(&mut self) -> Pin<&mut (dyn Way<E> + 'static)> {
        self.current.as_mut().expect(TAKEN).entry()
    }

    pub(super) fn label(&self) -> Label {
        self.current.as_ref().expect(TAKEN).label()
    }

    pub(super) fn id_if_any(&self) -> Id {
        self.current.as_ref().expect(TAKEN).id_if_any()
    }
}

impl<E> Drop for Taken<'_, E> {
    fn drop(&mut self) {
        *self.current = None;
    }
}

impl<E> Items for Rows<E> {
    fn items(&self) -> Vec<Item> {
        let filled = self.lock();
        let open = self.open.load(Ordering::Relaxed);
        let mut items = Vec::with_capacity(filled.len);
        let mut next = filled.newest;
        while let Some(node) = next {
            // SAFETY: the node is there, since `self` owns the chunks, and nobody writes to its label and its link, and its
            // id is atomic (invariant 3). No reference is made to the node as a whole, whose entry may be lent or gone.
            let (label, id, below) =
                unsafe { ((*node.as_ptr()).label, allotted(&(*node.as_ptr()).id), (*node.as_ptr()).below) };
            items.push(Item { id, label });
            next = below;
        }
        items.reverse();
        items.truncate(open);
        let exiting = self.exiting.load(Ordering::Relaxed);
        if let Some(last) = items.last_mut().filter(|_| exiting != 0) {
            last.id = exiting;
        }
        items
    }
}

impl<E> StopSource for Rows<E> {
    fn poll_stop(&self, context: &mut Context<'_>) -> Poll<()> {
        self.stops.poll_stop(context)
    }
}

impl<E> fmt::Debug for Rows<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.lock().len).finish()
    }
}
