//! What a client fails with: always with the stage at which it did.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a client was about when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Waiting for a connection of a pool.
    Pool,
    /// Reading the address: it is no `http://` or `https://` URL, or not one of this connection's.
    Url,
    /// Looking up the host's name.
    Resolve,
    /// Connecting to the host.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The handshake of HTTP itself.
    Handshake,
    /// Sending a request, or waiting for the head of its response. Whether the server has acted on it is not known.
    Request,
    /// Reading the body of a response.
    Body,
    /// Ending the connection.
    Shutdown,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "waiting for a connection of the pool",
            Self::Url => "reading the URL",
            Self::Resolve => "looking up the host",
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Handshake => "the HTTP handshake",
            Self::Request => "the request",
            Self::Body => "reading the response's body",
            Self::Shutdown => "ending the connection",
        })
    }
}

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A client connection failed, at this stage; the cause is its [`source`](Error::source).
#[derive(Debug)]
pub struct ClientError {
    stage: Stage,
    cause: Cause,
}

impl ClientError {
    pub(super) fn new(stage: Stage, cause: impl Into<Cause>) -> Self {
        Self { stage, cause: cause.into() }
    }

    pub(super) fn timed_out(stage: Stage, limit: Duration) -> Self {
        Self::new(stage, TimedOut(limit))
    }

    /// Returns what it was about.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns `true` if it ran out of time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        #[cfg(feature = "pool")]
        if super::pool::ran_out_of_time(&*self.cause) {
            return true;
        }
        self.cause.is::<TimedOut>()
    }

    /// Whether to connect once more would fail as well.
    #[cfg(feature = "pool")]
    pub(super) fn is_permanent(&self) -> bool {
        match self.stage {
            Stage::Url => true,
            // What TLS itself says is the inner error; a stream that broke has none.
            Stage::Tls => match self.cause.downcast_ref::<std::io::Error>() {
                Some(error) => {
                    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
                }
                None => !self.is_timeout(),
            },
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.stage)
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

#[derive(Debug)]
struct TimedOut(Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it took longer than its limit of {:?}", self.0)
    }
}

impl Error for TimedOut {}
