//! The exits that lie on a stack, as one kind.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::with::Leave;
use crate::{AsyncExit, ErrorValue, ExitFuture, Outcome, Verdict};

/// One exit. Either method begins it; the other is not called then.
pub(super) trait Way<E>: Send + 'static {
    /// The exit after a body that completed, in the place of the entry itself: no allocation, and the common case.
    fn poll_exit(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Verdict, E>>;

    /// The exit after any body. Its future may borrow from the outcome, so it is not the entry's own.
    fn exit<'o>(self: Pin<&mut Self>, outcome: Outcome<'o>) -> ToldExit<'o, E>;

    /// Whether a failure after a body that failed means that the exit had recovered from the body's error before.
    fn fails_after_recovery(&self) -> bool;
}

pub(super) type ToldExit<'o, E> = Pin<Box<dyn Future<Output = Result<Verdict, E>> + Send + 'o>>;

pin_project! {
    /// A resource, and then its exit. `call` calls it for a body that completed.
    pub(super) struct Entry<L, C, F> {
        #[pin]
        state: State<L, F>,
        call: C,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<L, F> {
        Held { leave: Option<L> },
        Exiting { #[pin] exit: F },
    }
}

const HELD: &str = "an entry holds its resource until its exit begins";

impl<L, C, F> Entry<L, C, F>
where
    L: Leave,
    C: FnOnce(L) -> F,
{
    #[inline]
    pub(super) fn new(leave: L, call: C) -> Self {
        Self { state: State::Held { leave: Some(leave) }, call }
    }

    #[inline]
    pub(super) fn resource(&mut self) -> &mut L::Resource {
        match &mut self.state {
            State::Held { leave: Some(leave) } => leave.resource(),
            State::Held { leave: None } | State::Exiting { .. } => unreachable!("{HELD}"),
        }
    }
}

impl<L, C, F, E> Way<E> for Entry<L, C, F>
where
    L: Leave,
    C: FnOnce(L) -> F + Copy + Send + 'static,
    F: Future<Output = Result<L::Verdict, L::Error>> + Send + 'static,
    E: From<L::Error> + 'static,
{
    fn poll_exit(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Verdict, E>> {
        let this = self.project();
        let mut state = this.state;
        if let StateProjection::Held { leave } = state.as_mut().project() {
            let leave = leave.take().expect(HELD);
            state.set(State::Exiting { exit: (this.call)(leave) });
        }
        let StateProjection::Exiting { exit } = state.project() else {
            unreachable!("the exit was just begun, if not before");
        };
        exit.poll(context).map(|ended| Ok(L::said(ended?)))
    }

    fn exit<'o>(self: Pin<&mut Self>, outcome: Outcome<'o>) -> ToldExit<'o, E> {
        let StateProjection::Held { leave } = self.project().state.project() else {
            unreachable!("{HELD}");
        };
        let leave = leave.take().expect(HELD);
        Box::pin(async move { Ok(L::said(leave.leave(outcome).await?)) })
    }

    fn fails_after_recovery(&self) -> bool {
        L::FAILS_AFTER_RECOVERY
    }
}

/// A function as a resource that does nothing but exit.
pub(super) struct Callback<F, E>(pub(super) F, pub(super) PhantomData<fn() -> E>);

/// The same for an asynchronous function.
pub(super) struct AsyncCallback<F, E>(pub(super) F, pub(super) PhantomData<fn() -> E>);

/// The same for one that is told the outcome.
pub(super) struct OutcomeCallback<F, E>(pub(super) F, pub(super) PhantomData<fn() -> E>);

impl<F, E> AsyncExit for Callback<F, E>
where
    F: FnOnce() + Send + 'static,
    E: ErrorValue,
{
    type Error = E;

    async fn exit(self, _: Outcome<'_>) -> Result<(), E> {
        (self.0)();
        Ok(())
    }
}

impl<F, Fut, E> AsyncExit for AsyncCallback<F, E>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: ErrorValue,
{
    type Error = E;

    async fn exit(self, _: Outcome<'_>) -> Result<(), E> {
        (self.0)().await
    }
}

impl<F, E> AsyncExit for OutcomeCallback<F, E>
where
    F: for<'o> FnOnce(Outcome<'o>) -> ExitFuture<'o, E> + Send + 'static,
    E: ErrorValue,
{
    type Error = E;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), E> {
        (self.0)(outcome).await
    }
}
