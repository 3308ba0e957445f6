//! Where a future suspends: what a suspending step tells the [`Countdown`](crate::countdown) that polls it.
//!
//! # Invariants
//! 1. `CURRENT` is set only while a countdown polls its future, on that thread: a step polled by any other
//!    task, an exit that was handed over for example, finds it empty and reports nothing.
//! 2. Nested countdowns restore the outer one's record when they leave.

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A place where a future suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) label: String,
    pub(crate) location: &'static Location<'static>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in \"{}\" at {}", self.label, self.location)
    }
}

/// What the steps said during one poll.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) suspended: Vec<Site>,
    pub(crate) hangs: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Runs `poll` and returns what the steps in it said.
pub(crate) fn listen<T>(poll: impl FnOnce() -> T) -> (T, Heard) {
    struct Restore(Option<Heard>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let restore = Restore(CURRENT.replace(Some(Heard::default())));
    let value = poll();
    let heard = CURRENT.take().unwrap_or_default();
    drop(restore);
    (value, heard)
}

fn tell(f: impl FnOnce(&mut Heard)) {
    CURRENT.with_borrow_mut(|current| current.as_mut().map(f));
}

pub(crate) fn tell_suspended(label: &str, location: &'static Location<'static>) {
    tell(|heard| {
        heard.suspended.push(Site { label: label.to_owned(), location });
    });
}

/// Suspends `times` times, each time waking itself at once.
///
/// The harness names the line that called it. For a suspension that may also fail, see
/// [`Recorder::step`](crate::Recorder::step).
///
/// # Cancel safety
/// Nothing is held; dropping it is free.
#[must_use = "futures do nothing unless awaited"]
#[track_caller]
pub fn suspend(times: u32) -> Suspend {
    Suspend::labelled("suspend", times, Location::caller())
}

/// The future of [`suspend`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Suspend {
    left: u32,
    label: String,
    location: &'static Location<'static>,
}

impl Suspend {
    pub(crate) fn labelled(label: &str, times: u32, location: &'static Location<'static>) -> Self {
        Self { left: times, label: label.to_owned(), location }
    }
}

impl Future for Suspend {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.left == 0 {
            return Poll::Ready(());
        }
        self.left -= 1;
        tell_suspended(&self.label, self.location);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Waits for ever.
///
/// Unlike [`std::future::pending`], it tells the harness so, which then need not wait for its limit on a clock
/// that cannot be paused; and its line is named in messages.
///
/// # Cancel safety
/// Nothing is held; dropping it is the only way out.
#[must_use = "futures do nothing unless awaited"]
#[track_caller]
pub fn hang<T>() -> Hang<T> {
    Hang::labelled("hang", Location::caller())
}

/// The future of [`hang`].
#[must_use = "futures do nothing unless awaited"]
pub struct Hang<T> {
    label: String,
    location: &'static Location<'static>,
    output: std::marker::PhantomData<fn() -> T>,
}

impl<T> Hang<T> {
    pub(crate) fn labelled(label: &str, location: &'static Location<'static>) -> Self {
        Self { label: label.to_owned(), location, output: std::marker::PhantomData }
    }
}

impl<T> fmt::Debug for Hang<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hang").field("location", &self.location).finish_non_exhaustive()
    }
}

impl<T> Future for Hang<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        tell_suspended(&self.label, self.location);
        tell(|heard| heard.hangs = true);
        Poll::Pending
    }
}

/// A future whose suspensions carry a label: see [`Recorder::at`](crate::Recorder::at).
#[must_use = "futures do nothing unless awaited"]
pub struct At<F> {
    label: String,
    location: &'static Location<'static>,
    // Boxed, so that polling it needs no unsafe projection.
    future: Pin<Box<F>>,
}

impl<F> At<F> {
    pub(crate) fn new(label: String, location: &'static Location<'static>, future: F) -> Self {
        Self { label, location, future: Box::pin(future) }
    }
}

impl<F> fmt::Debug for At<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At")
            .field("label", &self.label)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl<F: Future> Future for At<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(cx);
        if polled.is_pending() {
            tell_suspended(&self.label, self.location);
        }
        polled
    }
}
