//! TLS, by rustls.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Cause;
use super::handshake::Versions;
use super::{ClientError, Stage};

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Whom to trust, beside the roots that browsers trust.
#[derive(Clone, Default)]
pub(super) struct Trust {
    roots: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub(super) fn add(&mut self, certificate: Vec<u8>) {
        self.roots.push(certificate.into());
    }

    fn config(&self, versions: Versions) -> Result<Arc<ClientConfig>, Cause> {
        static USUAL: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> =
            LazyLock::new(|| new_config(&[], Versions::Agreed).map(Arc::new));
        if self.roots.is_empty() && versions == Versions::Agreed {
            // Shared, and with it the tickets by which sessions are resumed.
            return USUAL.clone().map_err(Cause::from);
        }
        Ok(Arc::new(new_config(&self.roots, versions)?))
    }
}

fn new_config(roots: &[CertificateDer<'static>], versions: Versions) -> Result<ClientConfig, rustls::Error> {
    let mut trusted = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for root in roots {
        trusted.add(root.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = match versions {
        Versions::Agreed => vec![HTTP_2.to_vec(), HTTP_1.to_vec()],
        Versions::Http1 => vec![HTTP_1.to_vec()],
        Versions::Http2 => vec![HTTP_2.to_vec()],
    };
    Ok(config)
}

pub(super) async fn connect(
    trust: &Trust,
    versions: Versions,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Cause> {
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(trust.config(versions)?).connect(name, stream).await?)
}

/// Whether to speak HTTP/2.
pub(super) fn agreed_on_two(stream: &TlsStream<TcpStream>, versions: Versions) -> Result<bool, ClientError> {
    let (_, session) = stream.get_ref();
    match (session.alpn_protocol(), versions) {
        (Some(HTTP_2), _) => Ok(true),
        (_, Versions::Http2) => {
            let error = io::Error::new(io::ErrorKind::Unsupported, "the server does not speak HTTP/2");
            Err(ClientError::new(Stage::Tls, error))
        }
        // A server that does not know of the question speaks HTTP/1.1.
        (_, Versions::Agreed | Versions::Http1) => Ok(false),
    }
}
