//! Connections of several servers, kept for many requests.
//!
//! # Invariants
//! 1. A connection is lent again only if nothing is under way on it: over HTTP/1.1, the request was sent and its response
//!    read to the end; over HTTP/2, where requests do not hinder each other, always.
//! 2. `opened` counts connections, `closed` those that are gone, by whichever way.

use std::error::Error;
use std::fmt::{self, Debug};
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::{AsyncExit, Outcome};
use tenure_pool::{Context, CreateContext, GetError, KeyedPool, LeaseEnd, Manager, Next, PoolError, Status};

use super::connect::Target;
use super::pooled::{Connection, Pooled};
use super::{ClientError, Connect, Stage, connect};

/// The most connections of a pool: 500.
pub const POOL_CONNECTIONS_MAX_DEFAULT: usize = 500;

/// The most connections of a pool to one server: 100. A proxy that streams has one in use for each stream.
pub const POOL_CONNECTIONS_EACH_MAX_DEFAULT: usize = 100;

/// How long one waits for a connection of a pool: 10 s.
pub const POOL_GET_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long a connection of a pool may be idle: 20 s. Less than servers grant as a rule, so that it is not they who close it
/// while a request is on its way.
pub const POOL_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// How long a connection of a pool may live: 10 min. Then a change of a server's addresses is noticed.
pub const POOL_LIFETIME_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// How long a pool that is left waits for connections in use: 10 s.
pub const POOL_DRAIN_LIMIT_DEFAULT: Duration = Duration::from_secs(10);

/// By how much the pool waits longer for a close than that does itself.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// Client connections of several servers, kept for many requests, as a context: entering it opens nothing, leaving it
/// closes them all, in order.
///
/// Connections are kept by origin: scheme, host and port. For one server and one stretch of work use
/// [`connect`](super::connect()); for a client with redirects, cookies and proxies, reqwest.
///
#[cfg_attr(feature = "serve", doc = "```")]
#[cfg_attr(not(feature = "serve"), doc = "```ignore")]
/// use std::convert::Infallible;
/// use tenure::{hold, with};
/// use tenure_http as http;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hello = tower::service_fn(async |_: ::http::Request<http::RequestBody>| {
/// #     Ok::<_, Infallible>(::http::Response::new("hello".to_owned()))
/// # });
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let server = hold(http::serve(listener, hello)).await?;
/// # let url = format!("http://{}", server.local_addr());
/// let opened = with(http::pool(), async |clients| {
///     for _ in 0..3 {
///         let hello = with(clients.get(&url), async |client| {
///             client.get("/").await?.into_body().text(1024).await
///         });
///         assert_eq!(hello.await?, "hello");
///     }
///     Ok::<_, http::ClientError>(clients.stats().opened())
/// })
/// .await?;
/// assert_eq!(opened, 1);
/// # server.close().await?;
/// # Ok(()) }
/// ```
///
/// # Guarantees
/// 1. What one gets is connected and has nothing under way: a connection whose request was dropped, or whose response was
///    not read to its end, is closed instead of lent again (HTTP/1.1; over HTTP/2 it is that request's stream alone).
/// 2. A connection is lent to one at a time, also over HTTP/2, where [`share`](super::Requests::share) sends several requests.
/// 3. A server that refuses connections is tried again, by one for all who wait, until the
///    [`get_timeout`](Pool::get_timeout); a wrong URL or certificate fails at once.
/// 4. Leaving it waits for what is in use, for at most the [`drain_limit`](Pool::drain_limit), and closes all connections
///    as [`connect`](super::connect()) does, side by side.
///
/// It cannot see that a server is just about to close a connection. A request that crosses with that fails, unless
/// [`max_resends`](Pool::max_resends) lets it be sent again.
pub fn pool() -> Pool {
    Pool {
        connect_with: Arc::new(|connect| connect),
        connections_max: POOL_CONNECTIONS_MAX_DEFAULT,
        connections_each_max: POOL_CONNECTIONS_EACH_MAX_DEFAULT,
        max_resends: 0,
        limits: Limits {
            get: POOL_GET_TIMEOUT_DEFAULT,
            idle: POOL_IDLE_TIMEOUT_DEFAULT,
            lifetime: POOL_LIFETIME_DEFAULT,
            drain: POOL_DRAIN_LIMIT_DEFAULT,
        },
    }
}

/// A pool to be entered. Made by [`pool()`].
#[derive(Clone)]
#[must_use = "it is there when it is entered"]
pub struct Pool {
    connect_with: Arc<dyn Fn(Connect) -> Connect + Send + Sync>,
    connections_max: usize,
    connections_each_max: usize,
    max_resends: u32,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    get: Duration,
    idle: Duration,
    lifetime: Duration,
    drain: Duration,
}

impl Pool {
    /// Sets up each connection before it is opened: versions, trust, limits. Default: as [`connect`](super::connect()) does.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = tenure_http::pool().connect_with(|connect| connect.silence_limit(Duration::from_secs(5)));
    /// # let _ = pool;
    /// ```
    pub fn connect_with(mut self, setup: impl Fn(Connect) -> Connect + Send + Sync + 'static) -> Self {
        self.connect_with = Arc::new(setup);
        self
    }

    /// Sets the most connections at a time, at least one. If one more is needed, the one that was idle for longest makes
    /// room. Default: [`POOL_CONNECTIONS_MAX_DEFAULT`].
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count.max(1);
        self
    }

    /// Sets the most connections to one server at a time, at least one. Default: [`POOL_CONNECTIONS_EACH_MAX_DEFAULT`].
    pub fn connections_each_max(mut self, count: usize) -> Self {
        self.connections_each_max = count.max(1);
        self
    }

    /// Sets how often a request that crossed with the end of its connection is sent again, each time on a new connection in
    /// place of the one that has ended. Default: 0, never.
    ///
    /// A server closes a connection that was idle, or is restarted, while a request is on its way. Sent again by
    /// [`Pooled::send`], [`Pooled::get`] and [`Pooled::post`] are
    ///
    /// | request | sent again if |
    /// |---|---|
    /// | any | nothing of it was sent; or, over HTTP/2, the server says that it has not acted on it (`REFUSED_STREAM`, `GOAWAY`) |
    /// | GET, HEAD, OPTIONS, TRACE, PUT, DELETE, or with a header `Idempotency-Key` | its connection was used before, and ended before any part of an answer came |
    ///
    /// A body is sent again with it, unless more than 64 KiB of it had been sent, or it failed. A request that runs out of
    /// time, or is answered by an error, is not sent again.
    pub fn max_resends(mut self, count: u32) -> Self {
        self.max_resends = count;
        self
    }

    /// Sets how long one waits for a connection, connecting included. Default: [`POOL_GET_TIMEOUT_DEFAULT`].
    pub fn get_timeout(mut self, limit: Duration) -> Self {
        self.limits.get = limit;
        self
    }

    /// Sets how long a connection may be idle. Default: [`POOL_IDLE_TIMEOUT_DEFAULT`].
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = limit;
        self
    }

    /// Sets how long a connection may live; one that is in use then is closed after it. Default: [`POOL_LIFETIME_DEFAULT`].
    pub fn lifetime(mut self, limit: Duration) -> Self {
        self.limits.lifetime = limit;
        self
    }

    /// Sets how long leaving it waits for connections in use. Default: [`POOL_DRAIN_LIMIT_DEFAULT`].
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.limits.drain = limit;
        self
    }

    fn enter(self) -> Clients {
        let Self { connect_with, connections_max, connections_each_max, max_resends, limits } = self;
        let stats = ClientsStats::default();
        let counted = stats.clone();
        // What is set for all is set for this one, which is never opened.
        let close_limit = connect_with(connect("")).shutdown_limit_set().saturating_add(CLOSE_MARGIN);
        let origins = KeyedPool::builder(connections_max, move |url: &String| Connections {
            connect: connect_with(connect(url)),
            stats: counted.clone(),
        });
        let origins = origins.each(move |builder| {
            let builder = builder.name("HTTP connections").max_size(connections_each_max);
            // To ask whether a connection is open costs nothing, so each is asked. Connecting and closing have limits of
            // their own, which tell more.
            let builder = builder.check_after(Duration::ZERO).create_timeout(None).close_timeout(close_limit);
            let builder = builder.drain_timeout(limits.drain);
            builder.get_timeout(limits.get).idle_timeout(limits.idle).max_lifetime(limits.lifetime)
        });
        Clients { origins: origins.build(), stats, drain_limit: limits.drain, max_resends }
    }
}

impl IntoFuture for Pool {
    type Output = Result<Clients, ClientError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(Ok(self.enter()))
    }
}

impl Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connections_max", &self.connections_max)
            .field("connections_each_max", &self.connections_each_max)
            .field("max_resends", &self.max_resends)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Client connections of several servers: the resource that [`pool()`] enters. Clones are handles of the same pool.
///
/// When the last handle is dropped without its exit, connections are closed in the background.
#[derive(Clone, Debug)]
#[must_use = "dropped, the connections are closed in the background"]
pub struct Clients {
    origins: KeyedPool<String, Connections>,
    stats: ClientsStats,
    drain_limit: Duration,
    max_resends: u32,
}

impl Clients {
    /// Returns a connection to the server of an `http://` or `https://` URL: an idle one, or a new one. A context for
    /// [`tenure::with`] and its like.
    ///
    /// # Errors
    /// If the URL is none; if no connection came within the [`get_timeout`](Pool::get_timeout): for want of room, or because
    /// connecting failed, and then the error's stage and causes are those of the last attempt; if the pool was left.
    ///
    /// # Cancel safety
    /// A connection that was on its way is kept for the next.
    #[track_caller]
    pub fn get(&self, url: &str) -> impl Future<Output = Result<Pooled, ClientError>> + Send + use<> {
        let got = match Target::of(url) {
            Ok(target) => Ok(self.origins.get(&target.key())),
            Err(error) => Err(error),
        };
        let max_resends = self.max_resends;
        async move {
            match got?.await {
                Ok(lease) => Ok(Pooled::new(lease, max_resends)),
                Err(error) => Err(of_get(error)),
            }
        }
    }

    /// Returns the origins that have connections at present, as URLs, with the state of each.
    #[must_use]
    pub fn status(&self) -> Vec<(String, Status)> {
        self.origins.status()
    }

    /// Figures that go on to count, and can be read when the pool was left.
    #[must_use]
    pub fn stats(&self) -> ClientsStats {
        self.stats.clone()
    }
}

pub(super) fn of_get(error: GetError) -> ClientError {
    let last_attempt = error.cause().and_then(|cause| cause.downcast_ref::<ClientError>());
    let stage = last_attempt.map_or(Stage::Pool, ClientError::stage);
    ClientError::new(stage, error)
}

/// Whether what is behind an error is that no connection came in time.
pub(super) fn ran_out_of_time(cause: &(dyn Error + 'static)) -> bool {
    let got = cause.downcast_ref::<GetError>();
    got.is_some_and(|error| error.kind().is_timeout())
}

impl AsyncExit for Clients {
    type Error = ClientError;

    /// Closes all connections; fails if one is still in use at the [`drain_limit`](Pool::drain_limit), which is closed when
    /// it comes back.
    async fn exit(self, _: Outcome<'_>) -> Result<(), ClientError> {
        let reports = self.origins.close_within(self.drain_limit).await;
        match reports.into_iter().find(|(_, report)| !report.is_clean()) {
            Some((_, report)) => Err(ClientError::new(Stage::Shutdown, PoolError::Close(report))),
            None => Ok(()),
        }
    }
}

/// Figures of a pool. Clones are views of the same. Made by [`Clients::stats`].
#[derive(Clone, Debug, Default)]
pub struct ClientsStats {
    pub(super) counts: Arc<Counts>,
}

// Relaxed throughout: a count publishes nothing.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) resent: AtomicU64,
}

impl ClientsStats {
    /// Connections that were opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.counts.opened.load(Ordering::Relaxed)
    }

    /// Connections that are closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.counts.closed.load(Ordering::Relaxed)
    }

    /// Returns how often requests were sent again. See [`max_resends`](Pool::max_resends).
    #[must_use]
    pub fn resent(&self) -> u64 {
        self.counts.resent.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        // In this order, so that none is taken for closed before it was opened.
        let closed = self.closed();
        self.opened().saturating_sub(closed)
    }
}

/// Makes, checks and closes the connections to one server.
pub(super) struct Connections {
    connect: Connect,
    stats: ClientsStats,
}

impl Manager for Connections {
    type Resource = Connection;
    type Error = ClientError;

    async fn create(&self, _: CreateContext) -> Result<Connection, ClientError> {
        Connection::open(self.connect.clone(), self.stats.clone()).await
    }

    async fn reset(&self, connection: &mut Connection, _: Context) -> Result<(), ClientError> {
        connection.as_good_as_new()
    }

    async fn check(&self, connection: &mut Connection, _: Context) -> Result<(), ClientError> {
        connection.as_good_as_new()
    }

    async fn close(&self, connection: Connection, _: Context) -> Result<(), ClientError> {
        connection.close(Outcome::Completed).await
    }

    fn is_broken(&self, connection: &Connection) -> bool {
        !connection.is_reusable()
    }

    fn assess(&self, connection: &mut Connection, _: LeaseEnd<'_>) -> Next {
        if connection.is_reusable() { Next::Keep } else { Next::Close }
    }

    fn is_permanent(&self, error: &ClientError) -> bool {
        error.is_permanent()
    }
}
