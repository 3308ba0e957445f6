//! Sending requests.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};

use super::body::Tracked;
use super::connection::is_closed_by_server;
use super::error::Cause;
use super::exchange::{Exchange, Half, is_last, says_close};
use super::{ClientError, ResponseBody, Stage};

pub(super) type RequestBody = UnsyncBoxBody<Bytes, Cause>;

pub(super) enum Sender {
    One(http1::SendRequest<RequestBody>),
    Two(http2::SendRequest<RequestBody>),
}

/// The server of a connection.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let (scheme, authority) = (uri.scheme()?.clone(), uri.authority()?);
        // Names and passwords are not part of the host.
        let host = authority.as_str().rsplit('@').next()?;
        let authority: Authority = host.parse().ok()?;
        let host = HeaderValue::from_str(host).ok()?;
        Some(Self { scheme, authority, host })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    fn is_of(&self, uri: &Uri) -> bool {
        let scheme = uri.scheme().is_none_or(|scheme| *scheme == self.scheme);
        scheme && uri.authority().is_none_or(|authority| *authority == self.authority)
    }
}

/// Sends requests over one connection: what a [`Client`](super::Client) derefs to.
pub struct Requests {
    sender: Sender,
    origin: Origin,
    exchange: Arc<Exchange>,
    silence_limit: Duration,
}

impl Requests {
    pub(super) fn new(
        sender: Sender,
        origin: Origin,
        exchange: Arc<Exchange>,
        silence_limit: Duration,
    ) -> Self {
        Self { sender, origin, exchange, silence_limit }
    }

    /// Whether the connection is as good as a new one.
    #[cfg(feature = "pool")]
    pub(super) fn is_reusable(&self) -> bool {
        !self.is_closed() && (self.version() == Version::HTTP_2 || self.exchange.is_idle())
    }

    /// Returns the version that was agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        match self.sender {
            Sender::One(_) => Version::HTTP_11,
            Sender::Two(_) => Version::HTTP_2,
        }
    }

    /// Returns `true` if the connection has ended, as far as is known: requests would fail.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Another handle of the same connection, for several requests at a time. `None` over HTTP/1.1, which takes one after
    /// the other.
    ///
    /// A handle that outlives the connection's scope delays its end until the
    /// [`shutdown_limit`](super::Connect::shutdown_limit), and can send nothing after it.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::One(_) => None,
            Sender::Two(sender) => Some(Self {
                sender: Sender::Two(sender.clone()),
                origin: self.origin.clone(),
                exchange: Arc::clone(&self.exchange),
                silence_limit: self.silence_limit,
            }),
        }
    }

    /// Gets a path of the server.
    ///
    /// # Errors, cancel safety
    /// As [`send`](Self::send).
    pub async fn get(&mut self, path: &str) -> Result<Response<ResponseBody>, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Posts to a path of the server.
    ///
    /// # Errors, cancel safety
    /// As [`send`](Self::send).
    pub async fn post(
        &mut self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<ResponseBody>, ClientError> {
        self.call(Method::POST, path, body.into()).await
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, ClientError> {
        self.send(request_of(method, path, body)?).await
    }

    /// Sends a request and waits for the head of the response. Its URI is a path of the server, or names the server
    /// too.
    ///
    /// # Errors
    /// If the URI is of another server; if the connection fails or has ended; if the server is silent for longer than the
    /// [`silence_limit`](super::Connect::silence_limit). A response of any status is none.
    ///
    /// # Cancel safety
    /// Dropped after its first poll, the request may have reached the server. An HTTP/1.1 connection is closed then.
    pub async fn send<B>(&mut self, request: Request<B>) -> Result<Response<ResponseBody>, ClientError>
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + 'static,
    {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.try_send(request).await.map_err(|failed| failed.error)
    }

    /// As [`send`](Self::send); of a request that was not answered it says what is known.
    pub(super) async fn try_send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, NotAnswered> {
        let request = self.addressed(request).map_err(NotAnswered::acted_on)?;
        let (sending, answering) = (Half::begin(&self.exchange), Half::begin(&self.exchange));
        let closes = says_close(request.headers());
        let request = request.map(|body| Tracked::new(body, sending).boxed_unsync());
        let (reads, is_http2) = (self.exchange.reads(), self.version() == Version::HTTP_2);
        let has_answered = self.exchange.has_answered();
        let sender = &mut self.sender;
        let sent = async {
            let ready = match sender {
                Sender::One(sender) => sender.ready().await,
                Sender::Two(sender) => sender.ready().await,
            };
            if let Err(error) = ready {
                return Err(Refused { error, unsent: true });
            }
            let sent = match sender {
                Sender::One(sender) => sender.try_send_request(request).await,
                Sender::Two(sender) => sender.try_send_request(request).await,
            };
            sent.map_err(|mut refused| {
                let unsent = refused.take_message().is_some();
                Refused { error: refused.into_error(), unsent }
            })
        };
        let sent = tokio::select! {
            biased;
            sent = sent => sent,
            () = self.exchange.silence(self.silence_limit) => {
                let error = ClientError::timed_out(Stage::Request, self.silence_limit);
                return Err(NotAnswered::acted_on(error));
            }
        };
        let response = sent.map_err(|Refused { error, unsent }| NotAnswered {
            unsent: unsent || is_refused(&error),
            // A connection that has never answered did not close for being idle.
            crossed: has_answered
                && is_closed_by_server(&error)
                && (is_http2 || self.exchange.reads() == reads),
            error: ClientError::new(Stage::Request, error),
        })?;
        self.exchange.answered();
        // Broken off on purpose: nothing comes after the last.
        let answering = (!closes && !is_last(&response)).then_some(answering);
        Ok(response.map(|incoming| ResponseBody::new(incoming, answering, self.silence_limit)))
    }

    /// The request with its URI as its version wants it: HTTP/1.1 has the host in a header, HTTP/2 in the URI.
    fn addressed<B>(&self, mut request: Request<B>) -> Result<Request<B>, ClientError> {
        let uri = request.uri();
        if !self.origin.is_of(uri) {
            let message = format!("{uri} is not of {}://{}", self.origin.scheme, self.origin.authority);
            return Err(ClientError::new(Stage::Url, message));
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = match self.sender {
            Sender::One(_) => {
                request.headers_mut().entry(HOST).or_insert_with(|| self.origin.host.clone());
                Uri::from(path)
            }
            Sender::Two(_) => Uri::builder()
                .scheme(self.origin.scheme.clone())
                .authority(self.origin.authority.clone())
                .path_and_query(path)
                .build()
                .map_err(|error| ClientError::new(Stage::Url, error))?,
        };
        Ok(request)
    }
}

/// A request of a path, with a body that is there.
pub(super) fn request_of(method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
    let request = Request::builder().method(method).uri(path).body(Full::new(body));
    request.map_err(|error| ClientError::new(Stage::Url, error))
}

/// A request that was not answered.
#[cfg_attr(not(feature = "pool"), expect(dead_code, reason = "a pool sends again"))]
pub(super) struct NotAnswered {
    pub(super) error: ClientError,
    /// The server has not acted on it: nothing of it was sent, or the server says so.
    pub(super) unsent: bool,
    /// It crossed with the end of its connection: the server has not begun to answer.
    pub(super) crossed: bool,
}

impl NotAnswered {
    /// Of a request that is not to be sent again.
    fn acted_on(error: ClientError) -> Self {
        Self { error, unsent: false, crossed: false }
    }
}

struct Refused {
    error: hyper::Error,
    unsent: bool,
}

/// Returns `true` if a server of HTTP/2 says that it has not acted on the request: it refused the stream, or it goes away without it.
fn is_refused(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return error.is_remote() && (refused || gone);
        }
        source = cause.source();
    }
    false
}

impl Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("origin", &self.origin).field("version", &self.version()).finish()
    }
}
