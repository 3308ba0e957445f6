//! The context: a listener, a service, and the limits.

use std::error::Error;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::limits::Limits;
use super::{Listener, RequestBody, ServeError, Server};

/// Serves `service` on `listener`, as a context: entering it accepts connections, leaving it ends them in order.
///
/// HTTP/1.1 and HTTP/2, told apart by what the client says first, or by ALPN over TLS. A listener is one of TCP or of a unix
/// socket; [`Listener::tls`] gives it a certificate, [`Serve::listener`] adds another one. A [`Router`] of axum is a service;
/// so is everything else of tower. For a server that is not a block, use `axum::serve` or hyper; the
/// [`RequestScopeLayer`](crate::RequestScopeLayer) works there too, and [`tenure::drain`] awaits its exits.
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response};
/// use tenure_http::{RequestBody, ServeError, serve};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), ServeError> {
/// let hello = async |_: Request<RequestBody>| Ok::<_, Infallible>(Response::new("hello".to_owned()));
/// let hello = tower::service_fn(move |request| hello(request));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(ServeError::Listener)?;
///
/// tenure::with(serve(listener, hello), async |server| {
///     println!("on http://{}", server.local_addr());
///     // … until it is time to stop.
///     Ok::<_, ServeError>(())
/// })
/// .await
/// # }
/// ```
///
/// # Guarantees
/// Leaving it, however its body ended,
/// 1. it is [not ready](crate::RequestScope::is_server_ready) any more, and answers say that their connection closes; it goes
///    on to accept and to answer for the [`lame_duck`](Serve::lame_duck) time, which is zero unless it was set;
/// 2. then the listeners are closed; connections that the system had accepted before are served;
/// 3. handlers are told by [`RequestScope::stopping`](crate::RequestScope::stopping); requests in flight and upgraded
///    connections have the [`grace_limit`](Serve::grace_limit), 10 s, to finish; connections that are not in use are closed;
/// 4. then everything is cut off: handlers that are left are dropped, those that were to run on without their client
///    included; guards that are held elsewhere lose their place in their scope; upgraded connections are closed;
/// 5. the exits of what was cut off are awaited for the [`cut_timeout`](Serve::cut_timeout), 1 s.
///
/// Where the process stops, by [`tenure::run`] or `#[tenure::main]`, the deadline of its exits shortens these times: the grace
/// ends when three quarters of the time from the signal have passed, at the latest, and the lame duck time at half of that.
///
/// It takes no longer, whatever handlers, guards and exits do, unless they block their thread. Where no limit was reached,
/// every exit of every request has been awaited, and no task of the server is left. What is left otherwise exits in the
/// background, where [`tenure::drain`] and [`tenure::run`] await and report it.
///
/// No request stays unanswered that came on an open connection before its client was told to close it: a connection of
/// HTTP/1.1 in use is told in its next answer, one that is not in use is closed when it has been quiet for 100 ms; a
/// connection of HTTP/2 is sent `GOAWAY` twice.
///
/// # What is noticed, and when
/// Clients that go away in any manner, and servers that are left: [the table](crate::noticed).
///
/// [`Router`]: https://docs.rs/axum/0.8/axum/struct.Router.html
pub fn serve<S: HttpService>(listener: impl Into<Listener>, service: S) -> Serve<S> {
    Serve { listeners: vec![listener.into()], service, limits: Limits::default() }
}

/// A service that can be served: of requests with a [`RequestBody`], cloneable, and sent between threads. Implemented for every
/// service of tower that is one, and by nobody else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be served",
    label = "not a service of HTTP that can be served",
    note = "pass a `Router` as it is, without `into_make_service…()`; for the clients' addresses there is `Serve::connect_info`",
    note = "give a `Router` its state by `with_state`, so that it is a `Router<()>`",
    note = "a service has to be a `tower::Service<http::Request<tenure_http::RequestBody>>` that responds with \
            `http::Response<B>`, and `Clone + Send + Sync + 'static`"
)]
pub trait HttpService: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

impl<S, B> sealed::Sealed for S
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
}

impl<S: sealed::Sealed> HttpService for S {}

/// A server to be entered. Made by [`serve()`].
#[must_use = "it serves when it is entered"]
pub struct Serve<S> {
    listeners: Vec<Listener>,
    service: S,
    limits: Limits,
}

impl<S> Serve<S> {
    /// Sets how long a client may take for the head of a request, and for the TLS handshake before the first one. Default:
    /// 30 s.
    ///
    /// An HTTP/2 connection is asked for a sign of life (`PING`) at this interval, and closed if it gives none for as
    /// long again.
    pub fn header_read_timeout(mut self, limit: Duration) -> Self {
        self.limits.header_read_timeout = limit;
        self
    }

    /// Sets how long a client may send nothing of a request's body while a handler waits for it; then the request is cancelled:
    /// its connection is closed, or over HTTP/2 its stream. However little comes counts as progress. Default:
    /// 30 s.
    pub fn body_read_timeout(mut self, limit: Duration) -> Self {
        self.limits.body_read_timeout = limit;
        self
    }

    /// Sets how long a client may take nothing of a response that is ready to be sent; then the request is cancelled: its
    /// connection is closed, or over HTTP/2, if the client still takes what others send, its stream. However little is
    /// taken counts as progress. A handler may take as long as it likes. Default: 60 s.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.limits.write_timeout = limit;
        self
    }

    /// Sets how long a client whose system does not answer is taken to be there, while a handler runs too: TCP keep-alive,
    /// and on Linux `TCP_USER_TIMEOUT`. In whole seconds; on Linux no less than the
    /// [`write_timeout`](Self::write_timeout). Default: 60 s.
    ///
    /// It is also how long a handler may leave a body unread that is larger than what the system takes in, for the client's
    /// end would not be seen behind it: 32 KiB or more are waiting then. Such a request is cancelled.
    pub fn peer_lost_limit(mut self, limit: Duration) -> Self {
        self.limits.peer_lost_limit = limit;
        self
    }

    /// Sets the most bytes of a request's head; more are answered with status 431. At least 8 KiB. Default:
    /// 64 KiB.
    pub fn header_bytes_max(mut self, limit: u32) -> Self {
        self.limits.header_bytes_max = limit.max(8 * 1024);
        self
    }

    /// Sets the most connections at a time, at least one, upgraded ones included. Others wait in the listener's queue. Default:
    /// 10,000.
    pub fn max_connections(mut self, limit: u32) -> Self {
        // Tokio's semaphores count less far on systems of 32 bits.
        let countable = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        self.limits.max_connections = limit.clamp(1, countable);
        self
    }

    /// Adds a listener. All share the limits, and are left together.
    pub fn listener(mut self, listener: impl Into<Listener>) -> Self {
        self.listeners.push(listener.into());
        self
    }

    /// Puts the client's address into the extensions of each request, where axum's
    /// [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo) finds it. Over a unix socket there is none.
    #[cfg(feature = "connect-info")]
    pub fn connect_info(mut self) -> Self {
        self.limits.connect_info = true;
        self
    }

    /// Sets how long a kept connection of HTTP/1.1 may go without a request; then it is closed. Default: the
    /// [`header_read_timeout`](Self::header_read_timeout) if that was set, else 75 s, which is more than load balancers
    /// keep their idle connections for: the one to close is the one who sends.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle_timeout = Some(limit);
        self
    }

    /// Sets whether a client may close its side of a connection of HTTP/1.1 and still wait for its answer. Default:
    /// `false`: a client that has closed its side is gone, which is what most mean by it. If `true`, a client that is gone
    /// is noticed when something is sent to it, or when its system says that it knows of no connection.
    pub fn half_close(mut self, allowed: bool) -> Self {
        self.limits.half_close = allowed;
        self
    }

    /// Sets for how long a server that is left goes on to accept and to answer, before it stops: the time in which load
    /// balancers learn that it is [not ready](crate::RequestScope::is_server_ready). Each answer says `connection: close`,
    /// and clients of HTTP/2 are told to go elsewhere. Default: zero. The [`grace_limit`](Self::grace_limit) begins after
    /// it.
    pub fn lame_duck(mut self, time: Duration) -> Self {
        self.limits.lame_duck = time;
        self
    }

    /// Sets how long leaving the server awaits the exits of what was cut off at the end of the grace. Those that have not
    /// ended by then go on in the background, where [`tenure::drain`] and [`tenure::run`] await and report them. Default:
    /// 1 s.
    pub fn cut_timeout(mut self, limit: Duration) -> Self {
        self.limits.cut_timeout = limit;
        self
    }

    /// Sets how long requests in flight, and upgraded connections, may take to finish when the server is left, after its
    /// [`lame_duck`](Self::lame_duck) time. Default: 10 s.
    pub fn grace_limit(mut self, limit: Duration) -> Self {
        self.limits.grace_limit = limit;
        self
    }
}

impl<S, B> IntoFuture for Serve<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Output = Result<Server, ServeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { listeners, service, limits } = self;
        Box::pin(async move { Server::begin(listeners, service, limits) })
    }
}

impl<S> Debug for Serve<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listeners", &self.listeners)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
