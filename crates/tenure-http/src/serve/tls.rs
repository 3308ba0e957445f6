//! TLS: certificates that can be changed while a server runs.

use std::error::Error;
use std::fmt::{self, Debug};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Stream;

/// The server's side of TLS, given to a listener by [`Listener::tls`](super::Listener::tls). Clones share the certificate:
/// changed in one, new connections of all get the new one. Connections that are open keep what they have.
///
/// ```no_run
/// use tenure_http::{Listener, Tls, serve};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let router = axum::Router::<()>::new();
/// let tls = Tls::from_pem(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
/// let listener = tokio::net::TcpListener::bind("[::]:443").await?;
/// let server = serve(Listener::from(listener).tls(&tls), router);
/// // Whenever the certificate has been renewed:
/// tls.reload_pem(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
/// # drop(server);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Creates it from a chain of certificates, the server's first, and its private key, both in PEM. Clients are not asked
    /// for certificates; HTTP/2 and HTTP/1.1 are offered.
    ///
    /// # Errors
    /// If there is no certificate, no key, or they do not fit each other.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        config_of(chain, key).map(Self::with_config)
    }

    /// Creates it from a configuration of rustls, for what else there is to configure. What protocols it offers by ALPN is
    /// for the configuration to say: `h2` and `http/1.1`, or none.
    #[must_use]
    pub fn with_config(config: Arc<ServerConfig>) -> Self {
        Self { config: Arc::new(RwLock::new(config)) }
    }

    /// Changes the certificate for connections to come.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem). The certificate stays what it was then.
    pub fn reload_pem(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.reload(config_of(chain, key)?);
        Ok(())
    }

    /// Changes the configuration for connections to come.
    pub fn reload(&self, config: Arc<ServerConfig>) {
        let mut current = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let previous = std::mem::replace(&mut *current, config);
        drop(current);
        // User code may be in it.
        drop(previous);
    }

    pub(super) async fn accept(&self, stream: Stream) -> io::Result<TlsStream<Stream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn config_of(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| TlsError::Certificate(error.into()))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.into()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| TlsError::Certificate(error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a private key nothing is printed.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Why a certificate or a key cannot be used; the cause is its [`source`](Error::source).
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain of certificates cannot be read or used.
    Certificate(Box<dyn Error + Send + Sync>),
    /// The private key cannot be read.
    Key(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) => "the chain of certificates cannot be used",
            Self::Key(_) => "the private key cannot be read",
        })
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Certificate(error) | Self::Key(error) => Some(&**error),
        }
    }
}
