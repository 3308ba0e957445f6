//! The code of an exit, from its first poll to its end, in the frame that its carrier has pushed.
//!
//! The carriers are [`InlineExit`](crate::inline_exit), a job, an entry of a stack, and one of several joined resources.
//! Whichever it is, an exit first waits for what its body has left behind, then runs, then waits for what it has itself
//! left behind; it has ended when its scope is empty (law 13e). Its time limit covers all three (law 15).
//!
//! # Invariants
//! 1. It is polled, and dropped, with its own frame as the innermost.
//! 2. Once its code has panicked, it is not polled again (law 12); what panics when it is dropped is caught as well.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::{self, Handle};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};

use crate::fault::{Ended, Expired, Fault, Payload, drop_payload, quietly};
use crate::frame;
use crate::scope::{Scope, Wait};

pin_project! {
    /// Calls, polls what the call has returned to its end or its panic, and drops that at once.
    #[project = CaughtProjection]
    enum Caught<C, F> {
        Uncalled { call: Option<C> },
        Running { #[pin] future: F },
        Over,
    }
}

impl<C, F, V, X> Caught<C, F>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<V, X>>,
{
    /// Drops what is left.
    #[inline]
    fn finish(mut self: Pin<&mut Self>) {
        self.set(Self::Over);
    }

    #[inline]
    fn poll_uncaught(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let CaughtProjection::Uncalled { call } = self.as_mut().project() {
            let call = call.take().expect("a call that has panicked is not polled again");
            self.set(Self::Running { future: call() });
        }
        let CaughtProjection::Running { future } = self.as_mut().project() else {
            unreachable!("an exit is not polled after its end");
        };
        future.poll(context)
    }

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<V, X>> {
        let mut ended = None;
        // One catch around the poll and the drop that follows: it is entered each time.
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if let Poll::Ready(result) = self.as_mut().poll_uncaught(context) {
                ended = Some(result);
                self.as_mut().finish();
            }
        }));
        match (caught, ended) {
            (Ok(()), None) => Poll::Pending,
            (Ok(()), Some(Ok(value))) => Poll::Ready(Ok(value)),
            (Ok(()), Some(Err(error))) => Poll::Ready(failed(Fault::Failed(error))),
            (Err(payload), ended) => Poll::Ready(failed(Fault::Panicked(self.panicked(payload, ended)))),
        }
    }

    /// Drops what is left. The first panic counts: that of the code, else that of its drop.
    #[cold]
    fn panicked(self: Pin<&mut Self>, payload: Payload, ended: Option<Result<V, X>>) -> Payload {
        match ended {
            None => quietly(|| self.finish()),
            // Values and errors are the user's, and nobody's result any more.
            Some(ended) => quietly(|| drop(ended)),
        }
        payload
    }
}

#[cold]
fn failed<V, X>(fault: Fault<X>) -> Ended<V, X> {
    Err(Box::new(fault))
}

/// A time limit. Its clock starts with the first poll.
struct Limit {
    limit: Duration,
    timer: Option<Timer>,
}

/// A timer on one runtime. An exit that goes on elsewhere gets another one, since the first runtime may be gone.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    runtime: Option<runtime::Id>,
    begun: Instant,
}

impl Limit {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let runtime = Handle::try_current().ok().map(|handle| handle.id());
        let timer = match &mut self.timer {
            Some(timer) => timer,
            None => {
                self.timer.insert(Timer { sleep: Box::pin(sleep(self.limit)), runtime, begun: Instant::now() })
            }
        };
        if timer.runtime != runtime {
            timer.runtime = runtime;
            timer.sleep = Box::pin(sleep(self.limit.saturating_sub(timer.begun.elapsed())));
        }
        // Out of tokio's budget, lest an exit that uses it all up is never out of time.
        Pin::new(&mut unconstrained(timer.sleep.as_mut())).poll(context)
    }
}

pin_project! {
    /// An exit, to be polled in its own frame.
    pub(crate) struct Exiting<C, F, V, X> {
        #[pin]
        code: Caught<C, F>,
        stage: Stage,
        ended: Option<Ended<V, X>>,
        // What few exits have.
        rare: Option<Box<Rare>>,
    }
}

#[derive(Clone, Copy)]
enum Stage {
    /// What the body has left behind is waited for.
    Before,
    Running,
    /// What the exit has left behind is waited for.
    After,
}

#[derive(Default)]
struct Rare {
    limit: Option<Limit>,
    wait: Wait,
}

impl<C, F, V, X> Exiting<C, F, V, X>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<V, X>>,
{
    /// The call itself is part of the exit: should it panic, that is the exit's panic.
    #[inline]
    pub(crate) fn new(exit: C) -> Self {
        Self { code: Caught::Uncalled { call: Some(exit) }, stage: Stage::Before, ended: None, rare: None }
    }

    /// As [`new`](Self::new), where the body is known to have left nothing behind.
    #[inline]
    pub(crate) fn alone(exit: C) -> Self {
        Self { stage: Stage::Running, ..Self::new(exit) }
    }

    #[inline]
    pub(crate) fn with_limit(exit: C, limit: Option<Duration>) -> Self {
        Self { rare: limit.map(limited), ..Self::new(exit) }
    }

    /// Where the call is no more than the making of the future, and has been made.
    #[inline]
    pub(crate) fn called(future: F, limit: Option<Duration>) -> Self {
        Self { code: Caught::Running { future }, stage: Stage::Before, ended: None, rare: limit.map(limited) }
    }
}

#[cold]
fn limited(limit: Duration) -> Box<Rare> {
    Box::new(Rare { limit: Some(Limit { limit, timer: None }), wait: Wait::default() })
}

/// Waits until the scope of the innermost frame is empty.
#[inline]
fn poll_children(rare: &mut Option<Box<Rare>>, context: &mut Context<'_>) -> Poll<()> {
    match frame::own_children() {
        None => Poll::Ready(()),
        Some(children) => poll_empty(rare, &children, context),
    }
}

#[cold]
fn poll_empty(rare: &mut Option<Box<Rare>>, children: &Scope, context: &mut Context<'_>) -> Poll<()> {
    rare.get_or_insert_default().wait.poll_empty(children, context)
}

impl<C, F, V, X> Future for Exiting<C, F, V, X>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<V, X>>,
{
    type Output = Ended<V, X>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if let Stage::Before = this.stage
            && frame::has_no_scopes()
        {
            *this.stage = Stage::Running;
        }
        if let Stage::Running = this.stage {
            // The common case by itself, so that it is short.
            match this.code.poll(context) {
                Poll::Ready(ended) if frame::own_children().is_none() => return Poll::Ready(ended),
                Poll::Ready(ended) => {
                    *this.ended = Some(ended);
                    *this.stage = Stage::After;
                }
                Poll::Pending if this.rare.is_none() => return Poll::Pending,
                Poll::Pending => return self.poll_limit(context),
            }
        }
        self.poll_around(context)
    }
}

impl<C, F, V, X> Exiting<C, F, V, X>
where
    C: FnOnce() -> F,
    F: Future<Output = Result<V, X>>,
{
    /// Polls it where it has to wait for children, before its code or behind.
    fn poll_around(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<V, X>> {
        let this = self.as_mut().project();
        match (*this.stage, poll_children(this.rare, context)) {
            (Stage::Before, Poll::Ready(())) => {
                *this.stage = Stage::Running;
                self.poll(context)
            }
            (Stage::Running | Stage::After, Poll::Ready(())) => {
                Poll::Ready(this.ended.take().expect("its code has ended"))
            }
            (_, Poll::Pending) => self.poll_limit(context),
        }
    }

    /// Drops its code if its time is up.
    #[cold]
    fn poll_limit(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<V, X>> {
        let this = self.project();
        let Some(Rare { limit: Some(limit), .. }) = this.rare.as_deref_mut() else { return Poll::Pending };
        let passed = catch_unwind(AssertUnwindSafe(|| limit.poll(context)));
        let fault = match passed {
            Ok(passed) => {
                ready!(passed);
                let waited_for = waited_for(*this.stage);
                Fault::TimedOut(Expired { limit: Some(limit.limit), waited_for })
            }
            // The runtime has no timer.
            Err(payload) => Fault::Panicked(payload),
        };
        // The resource's own `Drop` is the forceful close.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.code.finish())) {
            if let Fault::TimedOut(_) = fault {
                return Poll::Ready(failed(Fault::Panicked(payload)));
            }
            drop_payload(payload);
        }
        match this.ended.take() {
            // Its own error says more than that it then waited for too long.
            Some(Err(own)) => Poll::Ready(Err(own)),
            _ => Poll::Ready(failed(fault)),
        }
    }
}

fn waited_for(stage: Stage) -> String {
    match stage {
        Stage::Before | Stage::After => {
            frame::own_children().map_or_else(String::new, |scope| scope.describe())
        }
        Stage::Running => String::new(),
    }
}
