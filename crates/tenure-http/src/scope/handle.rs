//! The handle by which handlers reach the stack of their request.
//!
//! # Invariants
//! 1. The stack is there from the first use until the scope is closed; whoever closes it takes it out, once, with what
//!    was said of the request before: that its handler was dropped, or that it failed.
//! 2. A place is put on the stack before its enter begins: the stack's order is the order of the calls, and a scope
//!    that closes meanwhile waits for the enter to end or to be dropped.

use std::any::type_name;
use std::fmt::{self, Debug};
use std::future::Future;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure::{AsyncExit, Ending, ErrorValue, ExitFuture, ExitStack, Outcome};
use tokio::sync::oneshot;

use super::scoped::OfRequest;
use super::{EnterError, ExitFailed, Scoped};
use crate::stop::OfServer;

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
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    server: OfServer,
}

enum State {
    /// With the place of its first use.
    Open {
        stack: Option<(Stack, &'static Location<'static>)>,
        word: Option<Word>,
    },
    Closed,
}

/// What was said of a request before its response has ended.
pub(crate) enum Word {
    /// By the handler: that it failed.
    Failed(Box<dyn ErrorValue>),
    /// By whoever watched the handler: that it was dropped before its end.
    CutOff,
}

impl Word {
    pub(crate) fn into_ending(self) -> Ending {
        match self {
            Self::Failed(error) => Ending::Failed(error),
            Self::CutOff => Ending::Cancelled,
        }
    }
}

/// A scope that was closed.
pub(crate) struct Closed {
    pub(crate) stack: Stack,
    pub(crate) word: Option<Word>,
    /// Where it was first used.
    pub(crate) location: &'static Location<'static>,
}

impl RequestScope {
    pub(crate) fn new(server: OfServer) -> Self {
        let state = Mutex::new(State::Open { stack: None, word: None });
        Self { shared: Arc::new(Shared { state, server }) }
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
        let server = self.server().clone();
        let reserved = self.push(OfRequest { back: place, location, server });
        async move {
            reserved.map_err(|IsClosed| EnterError::Closed)?;
            let resource = context.into_future().await.map_err(EnterError::Enter)?;
            Ok(Scoped::new(resource, back, location))
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

    /// Fails the request: whatever the answer is, the exits on the stack are told that it failed with this very error,
    /// which they can downcast. The first call counts.
    ///
    /// ```
    /// use tenure_http::RequestScope;
    ///
    /// #[derive(Debug)]
    /// struct SoldOut;
    ///
    /// async fn handler(scope: RequestScope) -> &'static str {
    ///     // Answered with status 200, and rolled back.
    ///     let _ = scope.fail(SoldOut);
    ///     "we are sorry"
    /// }
    /// # let _ = handler;
    /// ```
    ///
    /// # Errors
    /// If the request is over, or was failed before: the error is given back.
    pub fn fail<E: ErrorValue>(&self, error: E) -> Result<(), E> {
        match &mut *self.lock() {
            State::Open { word: word @ None, .. } => {
                *word = Some(Word::Failed(Box::new(error)));
                Ok(())
            }
            State::Open { .. } | State::Closed => Err(error),
        }
    }

    /// Returns whether the request is over: the response body has ended, or nobody wants it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.lock(), State::Closed)
    }

    /// Returns the address of the client, or of the proxy before it. `None` over a unix socket, and on another server than
    /// [`serve`](crate::serve())'s.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.shared.server.0.as_ref()?.peer
    }

    /// Returns whether the server wants more requests: what `/readyz` answers. `false` from the moment in which the server
    /// is left, before its [lame duck time](crate::Serve::lame_duck). `true` on another server than
    /// [`serve`](crate::serve())'s.
    #[must_use]
    pub fn is_server_ready(&self) -> bool {
        !self.shared.server.stages().is_some_and(|stages| stages.closing.is_cancelled())
    }

    /// Waits until the server stops: for responses without an end, such as streams of events, long polls and web sockets,
    /// which end then by themselves. What has not ended within the [grace limit](crate::Serve::grace_limit) is cut off.
    ///
    /// It begins after the [lame duck time](crate::Serve::lame_duck). On another server than [`serve`](crate::serve())'s it
    /// waits for ever. It works after the scope has closed, too. The future borrows nothing.
    ///
    /// ```
    /// use tenure_http::RequestScope;
    ///
    /// async fn long_poll(scope: RequestScope) -> &'static str {
    ///     # async fn news() -> &'static str { "news" }
    ///     tokio::select! {
    ///         news = news() => news,
    ///         () = scope.stopping() => "nothing new",
    ///     }
    /// }
    /// # let _ = long_poll;
    /// ```
    ///
    /// # Cancel safety
    /// Cancel safe: a stop, once begun, stays.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let server = self.shared.server.clone();
        async move { server.stopping().await }
    }

    /// Returns whether the server stops, as [`stopping`](Self::stopping) waits for it.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.server.stages().is_some_and(|stages| stages.stopping.is_cancelled())
    }

    pub(super) fn server(&self) -> &OfServer {
        &self.shared.server
    }

    #[track_caller]
    fn push<R: AsyncExit>(&self, place: OfRequest<R>) -> Result<(), IsClosed> {
        let mut open = self.open();
        let stack = open.as_mut().ok_or(IsClosed)?;
        // Reports name what the handler has entered, and where.
        stack.push_as(type_name::<R>(), place.location, place);
        Ok(())
    }

    /// Notes that the handler was dropped before its end.
    pub(crate) fn cut_off(&self) {
        let earlier = match &mut *self.lock() {
            State::Open { word, .. } => word.replace(Word::CutOff),
            State::Closed => None,
        };
        // User code, not to be run under the lock.
        drop(earlier);
    }

    /// Closes the scope; the stack, if there is one, is the caller's to exit.
    pub(crate) fn close(&self) -> Option<Closed> {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        match state {
            State::Open { stack: Some((stack, location)), word } => Some(Closed { stack, word, location }),
            State::Open { stack: None, .. } | State::Closed => None,
        }
    }

    #[track_caller]
    fn open(&self) -> Open<'_> {
        let mut state = self.lock();
        if let State::Open { stack: stack @ None, .. } = &mut *state {
            *stack = Some((Stack::new(), Location::caller()));
        }
        Open(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct IsClosed;

struct Open<'s>(MutexGuard<'s, State>);

impl Open<'_> {
    fn as_mut(&mut self) -> Option<&mut Stack> {
        match &mut *self.0 {
            State::Open { stack, .. } => stack.as_mut().map(|(stack, _)| stack),
            State::Closed => None,
        }
    }
}

impl Debug for RequestScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = match &*self.lock() {
            State::Open { stack, .. } => Some(stack.as_ref().map_or(0, |(stack, _)| stack.len())),
            State::Closed => None,
        };
        f.debug_struct("RequestScope").field("open", &len).finish()
    }
}
