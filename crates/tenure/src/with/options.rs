//! Options: a name, time limits, requests to stop.

use std::any::type_name;
use std::fmt::{self, Debug};
use std::panic::Location;
use std::time::Duration;

use super::body_fn::BodyFn;
use super::core::run;
use super::detailed::{WithError, detailed};
use super::leave::{Plain, Recovering};
use super::recovering::recovered;
use super::simple::result_of;
use super::stop::{Deadline, Request, Requests, StaysWhile, Stopped};
use crate::label::Label;
use crate::{AsyncExit, CancelToken, ErrorValue, Held, RecoverExit, held};

/// Options for entering a context: its name, its time limits, and what may ask it to stop.
///
/// Without any option, use [`with`](crate::with). What stops a body here is cooperative: the body is dropped, the exit
/// is awaited in place, and the caller returns after it (law 14). `tokio::time::timeout` around a `with` returns
/// *before* the exit has run.
///
/// ```
/// use std::time::Duration;
/// use tenure::{Options, Stopped, released};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let context = released(async { Ok::<_, Stopped>("resource") });
/// let result = Options::new()
///     .name("slow query")
///     .body_timeout(Duration::from_millis(50))
///     .exit_limit(Duration::from_secs(5))
///     .with(context, async |_| Ok::<_, Stopped>(std::future::pending::<()>().await))
///     .await;
/// assert_eq!(result, Err(Stopped::BodyTimeout(Duration::from_millis(50))));
/// # }
/// ```
#[must_use = "options do nothing until a tenure runs with them"]
#[derive(Default)]
pub struct Options {
    name: Option<&'static str>,
    enter_timeout: Option<Duration>,
    body_timeout: Option<Duration>,
    timeout: Option<Duration>,
    exit_limit: Option<Duration>,
    requests: Vec<Request>,
    stays_while: Option<StaysWhile>,
}

impl Options {
    /// Creates options with no name, no limit and no request to stop, as [`with`](crate::with) has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name in reports and in [`open`](crate::open). Default: the name of the resource's type.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets how long the enter may run. Default: without limit.
    ///
    /// An enter that is [shielded](crate::shield) is still finished, and exited if it succeeded, before the caller
    /// returns (law 14).
    pub fn enter_timeout(mut self, limit: Duration) -> Self {
        self.enter_timeout = Some(limit);
        self
    }

    /// Sets how long enter and body may run together. Default: without limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limits the time of the body. Default: without limit.
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.body_timeout = Some(limit);
        self
    }

    /// Sets how long the exit may take, inline or handed over, the wait for what the body left behind included. At expiry
    /// its future is dropped, and the resource's own `Drop` is the forceful close (law 15). Default: without limit.
    pub fn exit_limit(mut self, limit: Duration) -> Self {
        self.exit_limit = Some(limit);
        self
    }

    /// Stops the enter or the body when the token is cancelled. If it is cancelled already, nothing is entered. May be
    /// called several times.
    ///
    /// Takes a [`CancelToken`], or with the feature `tokio-util` a `CancellationToken`, by value or by reference.
    pub fn cancel_on(self, token: impl Into<CancelToken>) -> Self {
        let token = token.into();
        self.stop_when(async move { token.cancelled().await })
    }

    /// Stops the enter or the body when this future is ready: any other kind of token, a signal, a closed channel.
    /// May be called several times.
    pub fn stop_when(mut self, request: impl Future<Output = ()> + Send + 'static) -> Self {
        self.requests.push(Box::pin(request));
        self
    }

    /// Keeps the end of the process from asking the body to stop as long as `is_left` says so.
    ///
    /// For adapters whose tasks belong to a resource that is exiting already, and ends them itself. A [`Run`](crate::Run)
    /// asks all other bodies when half of its time has passed. If the function panics, the body is asked.
    pub fn stays_while(mut self, is_left: impl Fn() -> bool + Send + 'static) -> Self {
        self.stays_while = Some(Box::new(is_left));
        self
    }

    /// Runs a body as [`with`](crate::with) does, with these options.
    ///
    /// # Errors
    /// Those of `with`, and [`Stopped`] when a limit or a request stopped it.
    ///
    /// # Panics
    /// As `with`. Time limits need a runtime with its timer enabled.
    ///
    /// # Cancel safety
    /// As `with`.
    #[track_caller]
    pub fn with<C, R, N, T, E, F>(self, context: C, body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
        R: AsyncExit,
        F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
        N: Send,
        T: Send,
        E: From<N> + From<R::Error> + From<Stopped> + Debug + Send + Sync + 'static,
    {
        let (label, stop) = self.parts::<R>(Location::caller());
        run::<Plain<R>, _, _, _, _, _, _, _>(label, context, body, stop, |label, course| {
            result_of(label, course, E::from)
        })
    }

    /// Runs a body as [`with_detailed`](crate::with_detailed) does, with these options.
    ///
    /// # Errors, panics, cancel safety
    /// As `with_detailed`. Time limits need a runtime with its timer enabled.
    #[track_caller]
    pub fn with_detailed<C, R, N, T, E, F>(
        self,
        context: C,
        body: F,
    ) -> impl Future<Output = Result<T, WithError<N, E, R::Error, T>>> + Send
    where
        C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
        R: AsyncExit,
        F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
        N: Send,
        T: Send,
        E: ErrorValue,
    {
        let (label, stop) = self.parts::<R>(Location::caller());
        run::<Plain<R>, _, _, _, _, _, _, _>(label, context, body, stop, detailed)
    }

    /// Runs a body as [`with_recovering`](crate::with_recovering) does, with these options.
    ///
    /// # Errors
    /// Those of `with_recovering`, and [`Stopped`] when a limit or a request stopped it.
    ///
    /// # Panics, cancel safety
    /// As `with_recovering`. Time limits need a runtime with its timer enabled.
    #[track_caller]
    pub fn with_recovering<C, R, N, T, E, F>(
        self,
        context: C,
        body: F,
    ) -> impl Future<Output = Result<Option<T>, E>> + Send
    where
        C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
        R: RecoverExit,
        F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
        N: Send,
        T: Send,
        E: From<N> + From<R::Error> + From<Stopped> + Debug + Send + Sync + 'static,
    {
        let (label, stop) = self.parts::<R>(Location::caller());
        run::<Recovering<R>, _, _, _, _, _, _, _>(label, context, body, stop, |label, course| {
            recovered::<R, _, _, _>(label, course, E::from)
        })
    }

    /// Holds a resource as [`hold`](crate::hold) does, with this name, the limits of the enter and that of the exit. There is no body to time out;
    /// requests to stop count for the enter.
    ///
    /// # Errors
    /// The enter's error, or [`Stopped`] when it was asked to stop.
    ///
    /// # Cancel safety
    /// As `hold`.
    #[track_caller]
    pub fn hold<C, R, N>(self, context: C) -> impl Future<Output = Result<Held<R>, N>>
    where
        C: IntoFuture<Output = Result<R, N>>,
        R: AsyncExit,
        N: From<Stopped>,
    {
        let (label, stop) = self.parts::<R>(Location::caller());
        held::enter(label, context, stop)
    }

    fn parts<R>(self, location: &'static Location<'static>) -> (Label, Requests) {
        let Self { name, enter_timeout, body_timeout, timeout, exit_limit, requests, stays_while } = self;
        let name = name.unwrap_or_else(type_name::<R>);
        let stop = Requests {
            enter: Deadline::new(enter_timeout),
            body: Deadline::new(body_timeout),
            whole: Deadline::new(timeout),
            requests,
            exit_limit,
            stays_while,
        };
        (Label { name, location }, stop)
    }
}

impl Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("enter_timeout", &self.enter_timeout)
            .field("body_timeout", &self.body_timeout)
            .field("timeout", &self.timeout)
            .field("exit_limit", &self.exit_limit)
            .field("requests", &self.requests.len())
            .field("stays_while", &self.stays_while.is_some())
            .finish()
    }
}
