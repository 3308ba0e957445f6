//! Who waits: pinned nodes on intrusive lists, one list for each class of priority.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::process;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

use super::claim::Claim;
use super::core::{Core, CoreGuard, Slow};
use super::slots::NONE;
use crate::loom::{AtomicU32, Ordering};

/// The result of a waiter that is in no queue and has nothing.
const RESTING: u32 = u32::MAX;
/// The result of a waiter that is in a queue.
const WAITING: u32 = u32::MAX - 1;
/// Results from here on are failures; below [`NONE`] they are slots.
const FAILED: u32 = NONE + 1;

/// The class of a waiter; lower is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    High,
    #[default]
    Normal,
    Low,
}

/// What a waiter has to say of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) class: Class,
    /// When it began to wait, and when it gives up, in nanoseconds of the pool's clock.
    pub(crate) since: u64,
    pub(crate) deadline: u64,
    /// The runtime it waits on, or 0: it is served by what belongs to the same.
    pub(crate) home: u32,
}

/// What a waiter finds when it looks.
#[derive(Debug)]
pub(crate) enum Served<C> {
    Waiting,
    Slot(C),
    Failed(u8),
}

/// One waiter, to be pinned in the future that waits.
pub(crate) struct Waiter {
    /// Leaves [`WAITING`] under the lock only, by the last access of whoever serves.
    result: AtomicU32,
    /// Touched under the lock only, while the result is [`WAITING`]. Written when it is first enqueued: a get
    /// that need not wait does not pay for it.
    node: UnsafeCell<MaybeUninit<Node>>,
    _pinned: PhantomPinned,
}

struct Node {
    /// The core in whose queue it is.
    owner: usize,
    previous: Option<NonNull<Waiter>>,
    next: Option<NonNull<Waiter>>,
    waker: Option<Waker>,
    entry: Entry,
}

// SAFETY: the node is accessed by whoever holds the lock of the queue, one thread at a time; a `Waker` may
// be sent. The pointers are only followed under that lock.
unsafe impl Send for Waiter {}
// SAFETY: as above; what a shared reference offers without the lock is the atomic alone.
unsafe impl Sync for Waiter {}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self {
            result: AtomicU32::new(RESTING),
            node: UnsafeCell::new(MaybeUninit::uninit()),
            _pinned: PhantomPinned,
        }
    }

    /// What came of the wait. A slot or a failure is told once; then the waiter may wait again.
    pub(crate) fn look<R, S, X>(self: Pin<&Self>, core: &Arc<Core<R, S, X>>) -> Served<Claim<R, S, X>> {
        // Acquire: pairs with the release in `finish`; the server is done with the node.
        match self.result.load(Ordering::Acquire) {
            WAITING | RESTING => Served::Waiting,
            result => self.take(core, result),
        }
    }

    fn take<R, S, X>(self: Pin<&Self>, core: &Arc<Core<R, S, X>>, result: u32) -> Served<Claim<R, S, X>> {
        // Only the owner of the waiter gets here (it alone takes results), so a plain store will do.
        self.result.store(RESTING, Ordering::Relaxed);
        if result >= FAILED {
            return Served::Failed(u8::try_from(result - FAILED).unwrap_or(u8::MAX));
        }
        // SAFETY: the waiter is in no queue, so the node is its owner's; it was written when it was enqueued,
        // else there were no result.
        let owner = unsafe { (*self.node.get()).assume_init_ref().owner };
        assert_eq!(owner, CoreGuard::identity(core), "a waiter looks where it is queued");
        // SAFETY: the index came out of this waiter, which was served by this very core, and it is taken
        // once, for the result is `RESTING` now.
        Served::Slot(unsafe { CoreGuard::claim(core, result) })
    }

    /// Ends the wait. The node must be unlinked already: with this store its owner may free it.
    fn finish(&self, result: u32) {
        // Release: pairs with the acquire in `look`.
        self.result.store(result, Ordering::Release);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // The queue holds a pointer to it: going on would be a use after free. The future that holds the
        // waiter cancels it first, so this does not happen.
        if self.result.load(Ordering::Acquire) == WAITING {
            process::abort();
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Default)]
struct List {
    first: Option<NonNull<Waiter>>,
    last: Option<NonNull<Waiter>>,
}

/// The waiters of one core.
pub(crate) struct Queue {
    lists: [List; 3],
    len: usize,
}

// SAFETY: the pointers are followed only by whoever has the queue exclusively, and what they point to is
// `Send` and outlives its place in the queue (see `Drop for Waiter`).
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn new() -> Self {
        Self { lists: [List::default(); 3], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry of the waiter to be served next.
    pub(crate) fn first(&self) -> Option<Entry> {
        let first = self.lists.iter().find_map(|list| list.first)?;
        // SAFETY: what is in a list is alive, pinned and written, and its node belongs to the holder of the
        // queue.
        Some(unsafe { (*first.as_ref().node.get()).assume_init_ref().entry })
    }

    /// Shows the entry of each waiter, in the order of service, until told to break.
    pub(crate) fn visit(&self, mut visit: impl FnMut(&Entry) -> ControlFlow<()>) {
        for list in &self.lists {
            let mut place = list.first;
            while let Some(waiter) = place {
                // SAFETY: what is in a list is alive, pinned and written, and its node belongs to the holder of
                // the queue.
                let node = unsafe { (*waiter.as_ref().node.get()).assume_init_ref() };
                place = node.next;
                if visit(&node.entry).is_break() {
                    return;
                }
            }
        }
    }

    /// The first waiter, in the order of service, that is fit.
    fn find(&self, fit: impl Fn(&Entry) -> bool) -> Option<NonNull<Waiter>> {
        for list in &self.lists {
            let mut place = list.first;
            while let Some(waiter) = place {
                // SAFETY: as in `visit`.
                let node = unsafe { (*waiter.as_ref().node.get()).assume_init_ref() };
                if fit(&node.entry) {
                    return Some(waiter);
                }
                place = node.next;
            }
        }
        None
    }

    /// The node of a waiter in the queue.
    ///
    /// # Safety
    /// The waiter is in this queue.
    unsafe fn node(&mut self, waiter: &NonNull<Waiter>) -> &mut Node {
        // SAFETY: a waiter in the queue is alive and pinned (it aborts rather than be dropped there), its
        // node was written by `enqueue`, and is accessed through the exclusive queue alone, one at a time.
        unsafe { (*waiter.as_ref().node.get()).assume_init_mut() }
    }

    /// # Safety
    /// The waiter is pinned, its node written, in no queue, and stays alive until it is removed.
    unsafe fn link(&mut self, waiter: NonNull<Waiter>, class: Class, front: bool) {
        let list = self.lists[class as usize];
        let (previous, next) = if front { (None, list.first) } else { (list.last, None) };
        // SAFETY: by the contract the node is nobody's but ours.
        let node = unsafe { self.node(&waiter) };
        (node.previous, node.next) = (previous, next);
        match previous {
            // SAFETY: the neighbour is in this queue.
            Some(previous) => unsafe { self.node(&previous).next = Some(waiter) },
            None => self.lists[class as usize].first = Some(waiter),
        }
        match next {
            // SAFETY: the neighbour is in this queue.
            Some(next) => unsafe { self.node(&next).previous = Some(waiter) },
            None => self.lists[class as usize].last = Some(waiter),
        }
        self.len += 1;
    }

    /// # Safety
    /// The waiter is in this queue.
    unsafe fn unlink(&mut self, waiter: NonNull<Waiter>) -> Option<Waker> {
        // SAFETY: by the contract.
        let node = unsafe { self.node(&waiter) };
        let (previous, next) = (node.previous.take(), node.next.take());
        let class = node.entry.class as usize;
        let waker = node.waker.take();
        match previous {
            // SAFETY: the neighbour is in this queue.
            Some(previous) => unsafe { self.node(&previous).next = next },
            None => self.lists[class].first = next,
        }
        match next {
            // SAFETY: the neighbour is in this queue.
            Some(next) => unsafe { self.node(&next).previous = previous },
            None => self.lists[class].last = previous,
        }
        self.len -= 1;
        waker
    }

    /// Changes what waiters have said of themselves; their class stays.
    pub(crate) fn amend(&mut self, amend: impl Fn(&mut Entry)) {
        for class in 0..self.lists.len() {
            let mut place = self.lists[class].first;
            while let Some(waiter) = place {
                // SAFETY: the waiter is in this queue.
                let node = unsafe { self.node(&waiter) };
                place = node.next;
                let class = node.entry.class;
                amend(&mut node.entry);
                node.entry.class = class;
            }
        }
    }

    /// Visits the waiters in the order of service and fails those for which `judge` names a reason.
    /// Returns the wakers, to be woken without the lock.
    pub(crate) fn fail_where(&mut self, mut judge: impl FnMut(&Entry) -> Option<u8>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for class in 0..self.lists.len() {
            let mut place = self.lists[class].first;
            while let Some(waiter) = place {
                // SAFETY: the waiter is in this queue; `next` is read before it may be unlinked.
                let node = unsafe { self.node(&waiter) };
                place = node.next;
                if let Some(reason) = judge(&node.entry) {
                    // SAFETY: it is still in this queue; after `finish` it is not touched any more.
                    unsafe {
                        wakers.extend(self.unlink(waiter));
                        waiter.as_ref().finish(FAILED + u32::from(reason));
                    }
                }
            }
        }
        wakers
    }
}

impl<R, S, X> CoreGuard<'_, R, S, X> {
    /// Puts a waiter at the end of its class, or at the front if it was first already.
    ///
    /// The caller has seen to it that the fast path is closed for [`Slow::WAITERS`].
    ///
    /// # Panics
    /// If the waiter waits already or has an untaken result, or if the fast path is open.
    pub(crate) fn enqueue(&mut self, waiter: Pin<&Waiter>, waker: Waker, entry: Entry, front: bool) {
        assert!(self.is_slow(Slow::WAITERS), "waiters close the fast path");
        assert_eq!(waiter.result.load(Ordering::Relaxed), RESTING, "a waiter waits once at a time");
        let pointer = NonNull::from(waiter.get_ref());
        // SAFETY: the waiter rests, so its node belongs to the caller, who owns the waiter. It is pinned,
        // hence lives until its `Drop`, which does not return while it is queued.
        unsafe {
            // What was there before has no destructor to run: its waker was taken when it was unlinked.
            (*waiter.node.get()).write(Node {
                owner: CoreGuard::identity(self.core()),
                previous: None,
                next: None,
                waker: Some(waker),
                entry,
            });
            self.queue.link(pointer, entry.class, front);
        }
        waiter.result.store(WAITING, Ordering::Relaxed);
    }

    /// Hands a slot to the first waiter that is fit, whose waker is returned to be woken without the lock;
    /// gives the claim back if there is none.
    pub(crate) fn serve_first(
        &mut self,
        claim: Claim<R, S, X>,
        fit: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Waker>, Claim<R, S, X>> {
        let Some(waiter) = self.queue.find(fit) else {
            return Err(claim);
        };
        self.check_home(&claim);
        // SAFETY: the waiter is in this queue; it is unlinked before `finish` and not touched after.
        let waker = unsafe {
            let waker = self.queue.unlink(waiter);
            waiter.as_ref().finish(CoreGuard::into_index(claim));
            waker
        };
        self.settle();
        Ok(waker)
    }

    /// Ends a wait from the waiter's side: takes it out of the queue, or takes what it was served. The waker is
    /// returned to be dropped without the lock.
    pub(crate) fn cancel(&mut self, waiter: Pin<&Waiter>) -> (Served<Claim<R, S, X>>, Option<Waker>) {
        if waiter.result.load(Ordering::Acquire) != WAITING {
            return (waiter.look(self.core()), None);
        }
        self.check_queued(waiter);
        // SAFETY: it waits, and in this queue, as was checked; afterwards it is its owner's again.
        let waker = unsafe {
            let waker = self.queue.unlink(NonNull::from(waiter.get_ref()));
            waiter.finish(RESTING);
            waker
        };
        self.settle();
        (Served::Waiting, waker)
    }

    /// Replaces the waker of a waiter that is still in the queue; returns the one that is left over, to be
    /// dropped without the lock.
    pub(crate) fn renew_waker(&mut self, waiter: Pin<&Waiter>, waker: Waker) -> Option<Waker> {
        if waiter.result.load(Ordering::Acquire) != WAITING {
            return Some(waker);
        }
        self.check_queued(waiter);
        let pointer = NonNull::from(waiter.get_ref());
        // SAFETY: it waits, and in this queue, as was checked.
        let node = unsafe { self.queue.node(&pointer) };
        node.waker.replace(waker)
    }

    fn check_queued(&self, waiter: Pin<&Waiter>) {
        // SAFETY: the owner of a waiter in a queue is written before it is queued and read only.
        let owner = unsafe { (*waiter.node.get()).assume_init_ref().owner };
        assert_eq!(owner, CoreGuard::identity(self.core()), "a waiter is cancelled where it is queued");
    }
}
