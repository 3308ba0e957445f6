//! A server with TLS, which says how each of its connections ended.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::app::listen;
use crate::support::HANG;

pub(crate) struct TlsServer {
    url: String,
    certificate: Vec<u8>,
    ends: Mutex<mpsc::UnboundedReceiver<Result<(), String>>>,
    accepting: JoinHandle<()>,
}

impl TlsServer {
    pub(crate) async fn start() -> Self {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = signed.cert.der().to_vec();
        let key = signed.signing_key.serialize_der().try_into().unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone().into()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = listen().await;
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (ended, ends) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                ended.send(serve(&acceptor, stream).await).unwrap();
            }
        });
        Self { url, certificate, ends: Mutex::new(ends), accepting }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.certificate.clone()
    }

    /// How the next connection ended.
    pub(crate) async fn next_end(&self) -> Result<(), String> {
        timeout(HANG, self.ends.lock().await.recv()).await.expect("the connection does not end").unwrap()
    }

    pub(crate) async fn stop(self) {
        self.accepting.abort();
        assert!(self.accepting.await.unwrap_err().is_cancelled());
    }
}

/// Serves one connection to its end. A stream that is cut without `close_notify` is an error.
async fn serve(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<(), String> {
    let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
    let version = service_fn(async |request: Request<Incoming>| {
        let version = format!("{:?}", request.version());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(version))))
    });
    let shared = Shared(Arc::new(std::sync::Mutex::new(stream)));
    let io = TokioIo::new(shared.clone());
    let served = auto::Builder::new(TokioExecutor::new()).serve_connection(io, version).await;
    served.map_err(|error| error.to_string())?;
    // rustls gives an empty read after `close_notify`, and an error without.
    let mut shared = shared;
    let mut rest = Vec::new();
    shared.read_to_end(&mut rest).await.map_err(|error| error.to_string())?;
    Ok(())
}

/// A stream that can be looked at when hyper has done with it.
#[derive(Clone)]
struct Shared(Arc<std::sync::Mutex<TlsStream<TcpStream>>>);

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_write(context, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_shutdown(context)
    }
}
