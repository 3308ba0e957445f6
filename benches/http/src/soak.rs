//! Does a server that runs for long keep what it needs no more? Memory and file descriptors after the first tenth of the
//! time and at its end, with clients that are answered, that go amid a handler, amid an upload and amid a response.
//!
//! `cargo run --release -p tenure-http-bench -- --soak 300`

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::noop::noop;

/// Clients of each kind.
const CLIENTS: usize = 8;

/// Figures that are printed at each look.
struct Look {
    resident_kib: u64,
    descriptors: usize,
    open: usize,
}

impl Look {
    /// # Errors
    /// If the system does not tell (it is not Linux).
    fn now() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
        Ok(Self { resident_kib: resident.unwrap_or(0), descriptors, open: tenure::open().len() })
    }

    fn print(&self, when: &str, requests: u64) {
        let Self { resident_kib, descriptors, open } = self;
        println!("| {when} | {requests} | {resident_kib} | {descriptors} | {open} |");
    }
}

/// Runs it for so many seconds.
///
/// # Errors
/// If that is no number, or the system refuses something.
pub(crate) fn soak(seconds: &str) -> io::Result<()> {
    let seconds: u64 = seconds.parse().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(runtime.spawn(run(Duration::from_secs(seconds)))).map_err(io::Error::other)?
}

fn router() -> Router {
    Router::new()
        .route(
            "/hello",
            get(async |scope: RequestScope| {
                let _held = scope.enter(noop(true)).await.ok();
                "hello"
            }),
        )
        .route(
            "/for-ever",
            get(async |scope: RequestScope| {
                let _held = scope.enter(noop(true)).await.ok();
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/upload",
            post(async |scope: RequestScope, body: Bytes| {
                let _held = scope.enter(noop(true)).await.ok();
                body.len().to_string()
            }),
        )
        .route(
            "/stream",
            get(async |scope: RequestScope| {
                let held = scope.enter(noop(true)).await.ok();
                let chunk = Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 4096]));
                Body::from_stream(stream::unfold(held, move |held| {
                    let chunk =
                        chunk.as_ref().map(Bytes::clone).map_err(|error| io::Error::other(error.to_string()));
                    async move { Some((chunk, held)) }
                }))
            }),
        )
        .layer(RequestScopeLayer::new())
}

/// One client, again and again: sends this, reads so much, and goes.
async fn client(
    address: SocketAddr,
    sent: &'static str,
    reads: usize,
    end: Instant,
    count: Arc<AtomicU64>,
) -> io::Result<()> {
    while Instant::now() < end {
        let mut stream = TcpStream::connect(address).await?;
        for _ in 0..16 {
            stream.write_all(sent.as_bytes()).await?;
            let mut read = 0;
            while read < reads {
                let length = stream.read(&mut [0; 4096]).await?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                read += length;
            }
            count.fetch_add(1, Relaxed);
            // Only one that is answered in full can ask again.
            if !sent.starts_with("GET /hello") {
                break;
            }
        }
        // So that there are ports to be had.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn run(time: Duration) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let count = Arc::new(AtomicU64::new(0));
    println!("| when | requests | resident KiB | descriptors | held |\n|---|---:|---:|---:|---:|");
    let served = tenure::with(serve(listener, router()), async |server| {
        let (address, began) = (server.local_addr(), Instant::now());
        let mut clients = JoinSet::new();
        for (sent, reads) in [
            ("GET /hello HTTP/1.1\r\nhost: test\r\n\r\n", 80),
            ("GET /for-ever HTTP/1.1\r\nhost: test\r\n\r\n", 0),
            ("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf.", 0),
            ("GET /stream HTTP/1.1\r\nhost: test\r\n\r\n", 20_000),
        ] {
            for _ in 0..CLIENTS {
                clients.spawn(client(address, sent, reads, began + time, Arc::clone(&count)));
            }
        }
        for tenth in 1..10 {
            tokio::time::sleep_until((began + time / 10 * tenth).into()).await;
            Look::now()
                .map_err(ServeError::Listener)?
                .print(&format!("{:?}", time / 10 * tenth), count.load(Relaxed));
        }
        while let Some(ended) = clients.join_next().await {
            if let Ok(Err(error)) = ended {
                eprintln!("a client: {error}");
            }
        }
        let stats = server.stats();
        while stats.open() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Look::now().map_err(ServeError::Listener)?.print("the end, all gone", count.load(Relaxed));
        Ok::<_, ServeError>(())
    });
    served.await.map_err(io::Error::other)?;
    let report = tenure::drain(Duration::from_secs(10)).await;
    println!("\nafter it: {report}, lost: {}", tenure::counters().lost);
    Ok(())
}
