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

/// So many clones of one poll are noted: the first ones and the last. Those between are the branches of one large
/// `join`.
const BACKTRACES_MAX: usize = 4;
/// So many frames of libraries are named, from the user's line inwards.
const LIBRARY_FRAMES_MAX: usize = 6;

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
        // The last is where the poll ended: it is kept in any case.
        backtraces.truncate(BACKTRACES_MAX - 1);
        backtraces.push(Backtrace::force_capture());
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

/// A place in a backtrace.
struct Frame {
    function: String,
    place: String,
}

impl Frame {
    /// `src/transfer.rs:12:9 in bank::transfer`.
    fn readable(&self) -> String {
        let place = self.place.strip_prefix("./").unwrap_or(&self.place);
        // Of a library's file, from the folder that bears its name and version.
        let place = place
            .rsplit_once("/registry/src/")
            .map_or(place, |(_, place)| place.split_once('/').map_or(place, |(_, place)| place));
        // Without the compiler's `{{closure}}` for the bodies of async functions and blocks.
        format!("{place} in {}", self.function.replace("::{{closure}}", ""))
    }

    /// Whether it belongs to the runtime, the standard library or this project.
    fn is_machinery(&self) -> bool {
        const CRATES: [&str; 6] = ["std::", "core::", "alloc::", "tokio::", "tenure::", "tenure_test::"];
        const PLACES: [&str; 2] = ["/rustc/", "/library/std/"];
        let owner = self.function.trim_start_matches(['<', '&']);
        CRATES.iter().any(|machinery| owner.starts_with(machinery))
            || PLACES.iter().any(|machinery| self.place.contains(machinery))
    }

    fn is_library(&self) -> bool {
        self.place.contains("/registry/src/") || self.place.contains("/git/checkouts/")
    }
}

/// The frames of a backtrace that have a place, innermost first, as far as the harness's own poll: what lies beyond, the
/// start of a thread for example, is nobody's await.
fn frames(backtrace: &Backtrace) -> Vec<Frame> {
    let text = backtrace.to_string();
    let mut frames = Vec::new();
    let mut function = "";
    for line in text.lines().map(str::trim) {
        if function.contains("tenure_test::site::listen") || function.contains("tenure_test::countdown::") {
            break;
        }
        if let Some(place) = line.strip_prefix("at ") {
            frames.push(Frame { function: function.to_owned(), place: place.to_owned() });
        } else if let Some((_, name)) = line.split_once(": ") {
            function = name;
        }
    }
    frames
}

/// The innermost frame of the user's own code in a backtrace: `src/transfer.rs:12:9 in bank::transfer`.
pub(crate) fn user_frame(backtrace: &Backtrace) -> Option<String> {
    let frames = frames(backtrace);
    frames.iter().find(|frame| !frame.is_machinery() && !frame.is_library()).map(Frame::readable)
}

/// The frames of libraries between the user's own code and the runtime, from the user's line inwards.
pub(crate) fn library_frames(backtrace: &Backtrace) -> Vec<String> {
    let frames = frames(backtrace);
    let below_user = frames.iter().take_while(|frame| frame.is_machinery() || frame.is_library());
    let mut libraries: Vec<_> =
        below_user.filter(|frame| frame.is_library() && !frame.is_machinery()).map(Frame::readable).collect();
    libraries.reverse();
    libraries.dedup();
    libraries.truncate(LIBRARY_FRAMES_MAX);
    libraries
}
