//! Clients that go away while their handlers run: how soon has the exit run, of one client, and of many at once?
//!
//! Many at once are a process of their own, which is killed: that closes all of its sockets at once, and halves the file
//! descriptors that one process needs.

use std::error::Error;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tenure::{AsyncExit, Outcome};
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::net::{TcpListener, TcpSocket};

use crate::noop::{EXITS, noop};

const CLIENTS: u64 = 10_000;
const ONE_BY_ONE: usize = 5_000;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";

/// Tells when it exits.
struct Tells(mpsc::Sender<Instant>);

impl AsyncExit for Tells {
    type Error = ServeError;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), ServeError> {
        let now = Instant::now();
        assert!(outcome.is_cancelled(), "the client is gone");
        // Nobody listens any more when the measurement is over.
        let _ = self.0.send(now);
        Ok(())
    }
}

/// Of a client that closes its connection while its handler waits: from the close to the exit.
pub(crate) fn one_by_one(share: u32) -> Result<(), Box<dyn Error>> {
    let clients = ONE_BY_ONE / share as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let (entered, enters) = mpsc::channel();
    let (exited, exits) = mpsc::channel();
    let handler = async move |scope: RequestScope| {
        let tells = Tells(exited.clone());
        let _held = scope.enter(async { Ok::<_, ServeError>(tells) }).await.ok();
        let _ = entered.send(());
        std::future::pending::<&'static str>().await
    };
    let router = Router::new().route("/", get(handler)).layer(RequestScopeLayer::new());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(tenure::with(serve(listener, router), async move |_| {
        let _ = stopped.await;
        Ok::<_, ServeError>(())
    }));
    let mut took = Vec::with_capacity(clients);
    for _ in 0..clients {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(REQUEST)?;
        enters.recv()?;
        let begin = Instant::now();
        drop(stream);
        took.push(exits.recv()?.saturating_duration_since(begin).as_secs_f64() * 1e6);
    }
    drop(stop);
    runtime.block_on(serving)??;
    took.sort_by(f64::total_cmp);
    let at = |hundredths: usize| took[took.len() * hundredths / 100];
    println!("{clients} clients, one after the other, that close their connection while their handler waits\n");
    println!("| from the close to the exit | p50 | p99 |\n|---|---:|---:|");
    println!("| | {:.0} µs | {:.0} µs |\n", at(50), at(99));
    Ok(())
}

/// Of many clients that go away at once: until the last exit.
pub(crate) fn at_once(share: u32) {
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
    let (waiting, mut waits) = tokio::sync::mpsc::unbounded_channel();
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
pub(crate) fn hold(address: &str, clients: &str) -> Result<(), Box<dyn Error>> {
    let (address, clients): (SocketAddr, usize) = (address.parse()?, clients.parse()?);
    let mut streams = Vec::new();
    for _ in 0..clients {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(REQUEST)?;
        streams.push(stream);
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
