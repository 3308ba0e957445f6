//! A waker that notes who takes it: the only `unsafe` of the crate.
//!
//! A future that suspends has stored a clone of its waker, or of one like it, somewhere: in a timer, a queue, a
//! socket. At the moment of that clone the whole chain of awaits is on the stack. The spy takes a backtrace
//! there, so the harness can name the await in the user's own code without a label. Only the poll at which a
//! run is to be dropped is spied upon, and a backtrace is resolved only when a proof fails.
//!
//! # Invariants
//! 1. The data pointer of every spy is `Arc::into_raw` of an `Arc<Spy>` that owns one count.
//! 2. All four functions of the table are safe to call from any thread: `Spy` is `Send + Sync`.

use std::backtrace::Backtrace;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::thread::{self, ThreadId};

/// Clones beyond this many in one poll are not noted: they are the branches of one large `join`.
const BACKTRACES_MAX: usize = 4;

/// What the spy shares with its clones.
struct Spy {
    waker: Waker,
    notes: Arc<Notes>,
}

/// The backtraces of those who took the waker, or woke it, on the thread that polls.
pub(crate) struct Notes {
    closed: AtomicBool,
    poller: ThreadId,
    backtraces: Mutex<Vec<Backtrace>>,
}

impl Notes {
    /// Takes no more notes, and gives those taken. Clones made after the poll are of no interest.
    pub(crate) fn close(&self) -> Vec<Backtrace> {
        // Relaxed: a clone that races with the end of the poll may be noted or not; the lock orders the rest.
        self.closed.store(true, Ordering::Relaxed);
        std::mem::take(&mut *self.backtraces.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self) {
        if self.closed.load(Ordering::Relaxed) || thread::current().id() != self.poller {
            return;
        }
        let mut backtraces = self.backtraces.lock().unwrap_or_else(PoisonError::into_inner);
        if backtraces.len() < BACKTRACES_MAX {
            backtraces.push(Backtrace::force_capture());
        }
    }
}

/// A waker that wakes `waker`, and notes each clone of it.
pub(crate) fn spy(waker: Waker) -> (Waker, Arc<Notes>) {
    let notes = Arc::new(Notes {
        closed: AtomicBool::new(false),
        poller: thread::current().id(),
        backtraces: Mutex::default(),
    });
    let spy = Arc::new(Spy { waker, notes: Arc::clone(&notes) });
    // SAFETY:
    // - the pointer comes from `Arc::into_raw` and owns one count (invariant 1);
    // - the table upholds the contract of `RawWakerVTable`: see each function.
    let waker = unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(spy).cast(), &TABLE)) };
    (waker, notes)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_spy);

/// # Safety
/// `data` is the pointer of a live spy (invariant 1).
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: invariant 1; `ManuallyDrop` leaves the caller's count with the caller.
    let spy = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Spy>()) });
    spy.notes.take();
    let cloned = Arc::clone(&spy);
    RawWaker::new(Arc::into_raw(cloned).cast(), &TABLE)
}

/// # Safety
/// `data` is the pointer of a live spy, whose count the caller gives up.
unsafe fn wake(data: *const ()) {
    // SAFETY: invariant 1; the count is taken over and dropped here, as the contract of `wake` asks.
    let spy = unsafe { Arc::from_raw(data.cast::<Spy>()) };
    spy.waker.wake_by_ref();
}

/// # Safety
/// `data` is the pointer of a live spy.
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: invariant 1; the count stays with the caller, who keeps the spy alive during the call.
    let spy = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Spy>()) });
    // A future that yields wakes itself, and keeps no clone.
    spy.notes.take();
    spy.waker.wake_by_ref();
}

/// # Safety
/// `data` is the pointer of a live spy, whose count the caller gives up.
unsafe fn drop_spy(data: *const ()) {
    // SAFETY: invariant 1; the count is taken over and dropped here.
    drop(unsafe { Arc::from_raw(data.cast::<Spy>()) });
}

/// The innermost frame of the user's own code in a backtrace: `src/transfer.rs:12:9 in bank::transfer`.
pub(crate) fn user_frame(backtrace: &Backtrace) -> Option<String> {
    let text = backtrace.to_string();
    let mut function = "";
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if is_user(function, place) {
                let place = place.strip_prefix("./").unwrap_or(place);
                return Some(format!("{place} in {}", readable(function)));
            }
        } else if let Some((_, name)) = line.split_once(": ") {
            function = name;
        }
    }
    None
}

fn is_user(function: &str, place: &str) -> bool {
    const FOREIGN_CRATES: [&str; 6] = ["std::", "core::", "alloc::", "tokio::", "tenure::", "tenure_test::"];
    const FOREIGN_PLACES: [&str; 3] = ["/rustc/", "/registry/src/", "/library/std/"];
    let owner = function.trim_start_matches(['<', '&']);
    !FOREIGN_CRATES.iter().any(|foreign| owner.starts_with(foreign))
        && !FOREIGN_PLACES.iter().any(|foreign| place.contains(foreign))
}

/// A frame's name without the compiler's `{{closure}}` for the bodies of async functions and blocks.
fn readable(function: &str) -> String {
    function.replace("::{{closure}}", "")
}
