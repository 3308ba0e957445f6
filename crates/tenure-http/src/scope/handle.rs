//! The handle by which handlers reach the stack of their request.
//!
//! # Invariants
//! 1. The stack is there from the first use until the scope is closed; whoever closes it takes it out, once.
//! 2. A place is put on the stack before its enter begins: the stack's order is the order of the calls, and a scope
//!    that closes meanwhile waits for the enter to end or to be dropped.

use std::fmt::{self, Debug};
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure::{AsyncExit, ExitFuture, ExitStack, Outcome};
use tokio::sync::oneshot;

use super::scoped::OfRequest;
use super::{EnterError, ExitFailed, Scoped};

pub(crate) type Stack = ExitStack<ExitFailed>;

/// The exit stack of the request that is being handled: FastAPI's `yield` dependencies.
///
/// [`RequestScopeLayer`](crate::RequestScopeLayer) puts it in the extensions of each request; with the feature `axum`
/// it is an extractor. Clones are handles of the same stack.
///
/// What is entered here exits after the response body has ended. For a resource that is done with before the answer
/// begins use [`tenure::with`] in the handler: its errors have a caller, these have none.
///
/// ```
/// use std::convert::Infallible;
/// use tenure::released;
/// use tenure_http::{EnterError, RequestScope};
///
/// async fn handler(scope: RequestScope) -> Result<String, EnterError<Infallible>> {
///     let mut names = scope.enter(released(async { Ok(vec!["lent for the whole request"]) })).await?;
///     names.push("and usable like the value itself");
///     Ok(names.join(", "))
/// }
/// # let _ = handler;
/// ```
///
/// # Guarantees
/// Strict LIFO, each exit once, whatever becomes of the request; each is told how the request ended: completed,
/// failed with a [`RequestFailed`](crate::RequestFailed), panicked, or cancelled when the client went away. An exit
/// that fails makes the later ones see an [`ExitFailed`].
#[derive(Clone)]
pub struct RequestScope {
    shared: Arc<Mutex<State>>,
}

enum State {
    Open(Option<Stack>),
    Closed,
}

impl RequestScope {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::new(Mutex::new(State::Open(None))) }
    }

    /// Enters `context` and lends the resource out; its exit is on the request's stack.
    ///
    /// ```
    /// # use tenure::AsyncExit;
    /// # use tenure_http::{EnterError, RequestScope, Scoped};
    /// // A dependency of handlers: what they all begin with, written once.
    /// async fn transaction<C, T, N>(scope: &RequestScope, begin: C) -> Result<Scoped<T>, EnterError<N>>
    /// where
    ///     C: IntoFuture<Output = Result<T, N>>,
    ///     T: AsyncExit,
    /// {
    ///     scope.enter(begin).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The enter's error; or that the request is over, then nothing is entered.
    ///
    /// # Cancel safety
    /// The enter is dropped where it stands, unless it is shielded; its place on the stack stays empty.
    #[track_caller]
    pub fn enter<C, R, N>(
        &self,
        context: C,
    ) -> impl Future<Output = Result<Scoped<R>, EnterError<N>>> + use<C, R, N>
    where
        C: IntoFuture<Output = Result<R, N>>,
        R: AsyncExit,
    {
        let location = Location::caller();
        let (back, place) = oneshot::channel();
        let reserved = self.push(OfRequest { back: place, location });
        async move {
            reserved.map_err(|Closed| EnterError::Closed)?;
            let resource = context.into_future().await.map_err(EnterError::Enter)?;
            Ok(Scoped::new(resource, back))
        }
    }

    /// Puts a function on the stack.
    ///
    /// # Errors
    /// If the request is over: the error gives the function back.
    #[track_caller]
    pub fn defer<F: FnOnce() + Send + 'static>(&self, callback: F) -> Result<(), F> {
        match self.open().as_mut() {
            Some(stack) => {
                stack.defer(callback);
                Ok(())
            }
            None => Err(callback),
        }
    }

    /// Puts an asynchronous function that is told the outcome on the stack.
    ///
    /// # Errors
    /// If the request is over: the error gives the function back.
    #[track_caller]
    pub fn defer_with_outcome<F>(&self, callback: F) -> Result<(), F>
    where
        F: for<'o> FnOnce(Outcome<'o>) -> ExitFuture<'o, ExitFailed> + Send + 'static,
    {
        match self.open().as_mut() {
            Some(stack) => {
                stack.defer_with_outcome(callback);
                Ok(())
            }
            None => Err(callback),
        }
    }

    /// Whether the request is over: the response body has ended, or nobody wants it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.lock(), State::Closed)
    }

    #[track_caller]
    fn push<R: AsyncExit<Error = ExitFailed>>(&self, resource: R) -> Result<(), Closed> {
        let mut open = self.open();
        let stack = open.as_mut().ok_or(Closed)?;
        stack.push(resource);
        Ok(())
    }

    /// Closes the scope; the stack, if there is one, is the caller's to exit.
    pub(crate) fn close(&self) -> Option<Stack> {
        match std::mem::replace(&mut *self.lock(), State::Closed) {
            State::Open(stack) => stack,
            State::Closed => None,
        }
    }

    #[track_caller]
    fn open(&self) -> Open<'_> {
        let mut state = self.lock();
        if let State::Open(stack @ None) = &mut *state {
            *stack = Some(Stack::new());
        }
        Open(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Closed;

struct Open<'s>(MutexGuard<'s, State>);

impl Open<'_> {
    fn as_mut(&mut self) -> Option<&mut Stack> {
        match &mut *self.0 {
            State::Open(stack) => stack.as_mut(),
            State::Closed => None,
        }
    }
}

impl Debug for RequestScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = match &*self.lock() {
            State::Open(stack) => Some(stack.as_ref().map_or(0, ExitStack::len)),
            State::Closed => None,
        };
        f.debug_struct("RequestScope").field("open", &len).finish()
    }
}
