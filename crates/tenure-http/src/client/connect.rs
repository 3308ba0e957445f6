//! The context: where to connect, how, and within which limits.

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::time::Duration;

use http::Uri;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::connection::Client;
use super::handshake::{Versions, handshake};
use super::requests::Origin;
use super::tls::{self, Trust};
use super::{ClientError, Stage};
use crate::stall::after;
use crate::tcp::{self, PEER_LOST_LIMIT_DEFAULT};

/// How long connecting may take, all its stages together: 10 s.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How long the orderly end of a connection may take: 5 s.
pub const SHUTDOWN_LIMIT_DEFAULT: Duration = Duration::from_secs(5);

/// How long a server may be silent while something is expected of it: 60 s.
pub const SILENCE_LIMIT_DEFAULT: Duration = Duration::from_secs(60);

/// Connects to the server of an `http://` or `https://` URL, as a context for [`tenure::with`] and its like.
///
/// HTTP/1.1 or HTTP/2, as the two agree on in their TLS handshake; without TLS, HTTP/1.1. One connection to one server: for
/// redirects, cookies, and proxies use a client such as reqwest.
///
/// ```no_run
/// use tenure::with;
/// use tenure_http as http;
///
/// # async fn example() -> Result<(), http::ClientError> {
/// let data = with(http::connect("https://example.com"), async |client| {
///     let response = client.get("/data").await?;
///     response.into_body().text(1024 * 1024).await
/// })
/// .await?;
/// # drop(data); Ok(()) }
/// ```
///
/// # Guarantees
/// Leaving it ends the connection in order: what was sent is flushed, HTTP/2 says `GOAWAY`, TLS says `close_notify`. The
/// tasks that drive the connection have ended when the exit has; where that takes longer than
/// [`shutdown_limit`](Connect::shutdown_limit), they are dropped, and the exit fails.
///
/// # Errors
/// A [`ClientError`] that names the stage.
///
/// # Cancel safety
/// Dropped while it connects, it closes what it has opened. Nothing runs on.
pub fn connect(url: impl Into<String>) -> Connect {
    Connect { url: url.into(), versions: Versions::Agreed, trust: Trust::default(), limits: Limits::default() }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) silence: Duration,
    pub(super) peer_lost: Duration,
    pub(super) shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT_DEFAULT,
            silence: SILENCE_LIMIT_DEFAULT,
            peer_lost: PEER_LOST_LIMIT_DEFAULT,
            shutdown: SHUTDOWN_LIMIT_DEFAULT,
        }
    }
}

/// A connection to be entered. Made by [`connect`].
#[derive(Clone)]
#[must_use = "it connects when it is entered"]
pub struct Connect {
    url: String,
    versions: Versions,
    trust: Trust,
    limits: Limits,
}

impl Connect {
    /// Speaks HTTP/1.1 alone. Default: what TLS agrees on.
    pub fn http1_only(mut self) -> Self {
        self.versions = Versions::Http1;
        self
    }

    /// Speaks HTTP/2 alone, without TLS too. Default: what TLS agrees on.
    pub fn http2_only(mut self) -> Self {
        self.versions = Versions::Http2;
        self
    }

    /// Trusts this certificate as a root too, in DER. Default: the roots that browsers trust.
    pub fn trust(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.trust.add(certificate.into());
        self
    }

    /// Sets how long connecting may take, all its stages together. Default: [`CONNECT_TIMEOUT_DEFAULT`].
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// Sets how long the server may be silent: while a request is sent and its response awaited no byte is taken, or none comes
    /// while the response's body is read. For answers that take longer to begin, raise it. Default:
    /// [`SILENCE_LIMIT_DEFAULT`].
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.limits.silence = limit;
        self
    }

    /// Sets how long a server whose system does not answer is taken to be there, between requests too: TCP keep-alive, and
    /// on Linux `TCP_USER_TIMEOUT`. In whole seconds; on Linux no less than the
    /// [`silence_limit`](Self::silence_limit). Default: [`PEER_LOST_LIMIT_DEFAULT`].
    pub fn peer_lost_limit(mut self, limit: Duration) -> Self {
        self.limits.peer_lost = limit;
        self
    }

    /// Sets how long the orderly end may take. Default: [`SHUTDOWN_LIMIT_DEFAULT`].
    pub fn shutdown_limit(mut self, limit: Duration) -> Self {
        self.limits.shutdown = limit;
        self
    }

    #[cfg(feature = "pool")]
    pub(super) fn shutdown_limit_set(&self) -> Duration {
        self.limits.shutdown
    }

    async fn enter(self) -> Result<Client, ClientError> {
        let Target { origin, host, port } = Target::of(&self.url)?;
        let limits = self.limits;
        let time = Time { deadline: after(Instant::now(), limits.connect), limit: limits.connect };
        let found = time.within(Stage::Resolve, lookup_host((&*host, port))).await?;
        let found: Vec<_> = found.collect();
        let stream = time.within(Stage::Connect, TcpStream::connect(&*found)).await?;
        tcp::prepare(&stream, limits.peer_lost, limits.silence);
        if !origin.is_secure() {
            let two = self.versions == Versions::Http2;
            let shaken = Box::pin(handshake(stream, two, origin, limits));
            return time.within(Stage::Handshake, shaken).await;
        }
        let stream = tls::connect(&self.trust, self.versions, &host, stream);
        let stream = time.within(Stage::Tls, stream).await?;
        let two = tls::agreed_on_two(&stream, self.versions)?;
        time.within(Stage::Handshake, Box::pin(handshake(stream, two, origin, limits))).await
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client, ClientError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.enter())
    }
}

impl Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("url", &self.url)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

/// What is left of the time to connect.
struct Time {
    deadline: Instant,
    limit: Duration,
}

impl Time {
    async fn within<T, E: Into<super::error::Cause>>(
        &self,
        stage: Stage,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ClientError> {
        match timeout_at(self.deadline, attempt).await {
            Ok(attempted) => attempted.map_err(|error| ClientError::new(stage, error)),
            Err(_) => Err(ClientError::timed_out(stage, self.limit)),
        }
    }
}

pub(super) struct Target {
    origin: Origin,
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn of(url: &str) -> Result<Self, ClientError> {
        let wrong = |message: &str| ClientError::new(Stage::Url, format!("{url:?} {message}"));
        let uri: Uri = url.parse().map_err(|error| ClientError::new(Stage::Url, error))?;
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(wrong("begins neither with http:// nor with https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(default_port);
        let origin = Origin::of(&uri).ok_or_else(|| wrong("names no host"))?;
        Ok(Self { origin, host, port })
    }

    /// The same for all URLs of an origin: its scheme, host and port, as a URL.
    #[cfg(feature = "pool")]
    pub(super) fn key(&self) -> String {
        let scheme = if self.origin.is_secure() { "https" } else { "http" };
        let host = self.host.to_ascii_lowercase();
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{host}{close}:{}", self.port)
    }
}
