//! Where connections come from: TCP, unix sockets, with TLS or without.

use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
#[cfg(unix)]
use tokio::net::UnixListener;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

#[cfg(feature = "tls")]
use super::Tls;
use super::conversation::Conversation;
use super::socket::Stream;
use crate::tcp;

/// The pause after an accept that failed for want of something, such as file descriptors, that others may give back.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A source of connections for [`serve`](super::serve()): a listener of TCP or, on Unix, of a unix socket; with TLS if it
/// was given a certificate.
///
/// ```
/// use tenure_http::{Listener, serve};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// # let router = axum::Router::<()>::new();
/// let public = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let internal = Listener::from(tokio::net::TcpListener::bind("127.0.0.1:0").await?);
/// let server = serve(public, router).listener(internal);
/// # drop(server);
/// # Ok(()) }
/// ```
#[must_use = "it accepts connections when a server is entered"]
pub struct Listener {
    kind: Kind,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::new(Kind::Tcp(listener))
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::new(Kind::Unix(listener))
    }
}

impl Listener {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Speaks TLS on the connections of this listener, and agrees on HTTP/1.1 or HTTP/2 by ALPN.
    ///
    /// The handshake counts towards the time for the first head.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.tls = Some(tls.clone());
        self
    }

    /// Takes the listeners that a service manager such as systemd has opened for this process (socket activation,
    /// `LISTEN_FDS`), in its order. Empty if there are none. They are there once: a second call finds none.
    ///
    /// # Errors
    /// If one of them is neither a listener of TCP nor of a unix socket.
    ///
    /// # Panics
    /// Outside of a runtime whose I/O is enabled.
    #[cfg(all(unix, feature = "socket-activation"))]
    pub fn from_service_manager() -> io::Result<Vec<Self>> {
        let mut passed = listenfd::ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..passed.len() {
            if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
                listener.set_nonblocking(true)?;
                listeners.push(TcpListener::from_std(listener)?.into());
            } else if let Some(listener) = passed.take_unix_listener(index)? {
                listener.set_nonblocking(true)?;
                listeners.push(UnixListener::from_std(listener)?.into());
            }
        }
        Ok(listeners)
    }

    /// Where it listens; `None` for a unix socket.
    pub(super) fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().map(Some),
            #[cfg(unix)]
            Kind::Unix(_) => Ok(None),
        }
    }

    /// Waits for the next connection. Cancel safe.
    pub(super) async fn accept(&self) -> Accepted {
        loop {
            let accepted = match &self.kind {
                Kind::Tcp(listener) => {
                    listener.accept().await.map(|(stream, peer)| Connected::Tcp(stream, peer))
                }
                #[cfg(unix)]
                Kind::Unix(listener) => listener.accept().await.map(|(stream, _)| Connected::Unix(stream)),
            };
            match accepted {
                Ok(connected) => return self.accepted(connected),
                Err(error) if is_of_client(&error) => {}
                Err(_) => sleep(ACCEPT_RETRY).await,
            }
        }
    }

    /// A connection that is there already, if there is one.
    ///
    /// The system is asked, not the runtime, which may not have heard of it yet.
    pub(super) fn accept_waiting(&self) -> Option<Accepted> {
        let connected = match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, peer) = SockRef::from(listener).accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Connected::Tcp(TcpStream::from_std(stream.into()).ok()?, peer.as_socket()?)
            }
            #[cfg(unix)]
            Kind::Unix(listener) => {
                let (stream, _) = SockRef::from(listener).accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Connected::Unix(UnixStream::from_std(stream.into()).ok()?)
            }
        };
        Some(self.accepted(connected))
    }

    fn accepted(&self, connected: Connected) -> Accepted {
        Accepted {
            connected,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        }
    }
}

/// Whether one client is to blame, so that the next one need not wait.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// A connection that has come.
pub(super) struct Accepted {
    connected: Connected,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
}

enum Connected {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Accepted {
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match &self.connected {
            Connected::Tcp(_, peer) => Some(*peer),
            #[cfg(unix)]
            Connected::Unix(_) => None,
        }
    }

    pub(super) fn into_stream(self, conversation: &Arc<Conversation>) -> Stream {
        let limits = &conversation.control.limits;
        match self.connected {
            Connected::Tcp(stream, _) => {
                tcp::prepare(&stream, limits.peer_lost_limit, limits.write_timeout);
                Stream::tcp(stream, conversation)
            }
            #[cfg(unix)]
            Connected::Unix(stream) => Stream::unix(stream, conversation),
        }
    }
}
