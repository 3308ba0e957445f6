//! A future that is polled only when it was woken.
//!
//! A connection is polled for each request, and has beside it what rarely happens: a stop, a limit, a client that is gone.
//! To ask all of these at each poll would cost a lock for most of them, one of them shared by all connections.
//!
//! # Invariants
//! 1. The task's waker is put in place before `woken` is taken back, and `woken` is set before the task's waker is called:
//!    a wake-up between the two is seen in this poll or causes the next.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

pin_project! {
    pub(super) struct Gated<F> {
        #[pin]
        future: F,
        gate: Arc<Gate>,
        // What the future is polled with.
        inner: Waker,
        // Who polled last.
        outer: Option<Waker>,
    }
}

struct Gate {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the acquire in `poll`, so that the future sees what it was woken for.
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Gated<F> {
    pub(super) fn new(future: F) -> Self {
        let gate = Arc::new(Gate { woken: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future, inner: Waker::from(Arc::clone(&gate)), gate, outer: None }
    }

    /// Puts another future in its place, which is polled next.
    pub(super) fn replace(self: Pin<&mut Self>, future: F) {
        let mut this = self.project();
        this.future.set(future);
        this.gate.woken.store(true, Ordering::Release);
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let woken = this.gate.woken.load(Ordering::Relaxed);
        if woken || !this.outer.as_ref().is_some_and(|outer| outer.will_wake(context.waker())) {
            // A wake-up takes the waker out.
            this.gate.task.register(context.waker());
            *this.outer = Some(context.waker().clone());
        }
        // Acquire: pairs with the release in `wake_by_ref`.
        if !woken || !this.gate.woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        this.future.poll(&mut Context::from_waker(this.inner))
    }
}
