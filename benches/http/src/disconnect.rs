//! Many clients at once that go away while their handlers run: how long until the last exit has run?
//!
//! The clients are a process of their own, which is killed: that closes all of its sockets at once, and halves the
//! file descriptors that one process needs.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use crate::noop::{EXITS, noop};

const CLIENTS: u64 = 10_000;

pub(crate) fn measure(share: u32) {
    let clients = CLIENTS / u64::from(share);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let figures = runtime.block_on(runtime.spawn(run(clients)));
    let Figures { to_last_exit, lost, open } = figures.expect("no panic").expect("it is left in order");
    println!("{clients} clients that disconnect at once, while their handlers wait\n");
    println!("| until the last exit | exits lost | open after it |\n|---:|---:|---:|");
    println!("| {:.0} ms | {lost} | {open} |", to_last_exit.as_secs_f64() * 1e3);
}

struct Figures {
    to_last_exit: Duration,
    lost: u64,
    open: usize,
}

async fn run(clients: u64) -> Result<Figures, ServeError> {
    let before = EXITS.load(Ordering::Relaxed);
    let (waiting, mut waits) = mpsc::unbounded_channel();
    let handler = async move |scope: RequestScope| {
        let _held = scope.enter(noop(true)).await.ok();
        // The bench listens as long as it waits for this.
        let _ = waiting.send(());
        std::future::pending::<&'static str>().await
    };
    let router = Router::new().route("/", get(handler)).layer(RequestScopeLayer::new());
    let socket = TcpSocket::new_v4().map_err(ServeError::Listener)?;
    socket.bind(([127, 0, 0, 1], 0).into()).map_err(ServeError::Listener)?;
    let listener = socket.listen(4096).map_err(ServeError::Listener)?;
    let server = serve(listener, router).max_connections(u32::MAX);
    let to_last_exit = tenure::with(server, async |server| {
        let (address, clients) = (server.local_addr().to_string(), clients.to_string());
        let program = std::env::current_exe().map_err(ServeError::Listener)?;
        let mut holder = Command::new(program)
            .args(["--hold", &address, &clients])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(ServeError::Listener)?;
        let clients: u64 = clients.parse().expect("it was a number");
        for _ in 0..clients {
            waits.recv().await;
        }
        let begin = Instant::now();
        holder.kill().map_err(ServeError::Listener)?;
        while EXITS.load(Ordering::Relaxed) - before < clients {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let to_last_exit = begin.elapsed();
        holder.wait().map_err(ServeError::Listener)?;
        Ok::<_, ServeError>(to_last_exit)
    })
    .await?;
    Ok(Figures { to_last_exit, lost: tenure::counters().lost, open: tenure::open().len() })
}

/// The clients: connects, sends requests, and waits to be killed, or for the end of whoever would do that.
pub(crate) fn hold(address: &str, clients: &str) -> std::io::Result<()> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let clients: usize = clients.parse().map_err(std::io::Error::other)?;
    let mut streams = Vec::new();
    for _ in 0..clients {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        streams.push(stream);
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop)
}
