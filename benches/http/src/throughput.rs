//! A server's throughput: one worker serves, one thread has the clients, connections are kept alive, each sends its
//! next request when it has its answer.
//!
//! The servers are measured in turns, and the ratio is the median of the ratios of neighbouring turns.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::median;
use crate::noop::noop;

const CONNECTIONS: usize = 32;
const TURNS: u32 = 60;
const TURN: Duration = Duration::from_millis(500);

async fn hello() -> &'static str {
    "hello"
}

async fn entering(scope: RequestScope) -> &'static str {
    drop(scope.enter(noop(false)).await.ok());
    "hello"
}

fn routers() -> [(&'static str, Router); 3] {
    let layer = RequestScopeLayer::new();
    [
        ("without the layer", Router::new().route("/", get(hello))),
        ("with the layer, nothing entered", Router::new().route("/", get(hello)).layer(layer.clone())),
        ("with the layer, one context entered", Router::new().route("/", get(entering)).layer(layer)),
    ]
}

pub(crate) fn measure(share: u32) {
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let clients = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut addresses = Vec::new();
    let mut stops = Vec::new();
    for (_, router) in routers() {
        let listener = servers.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        addresses.push(listener.local_addr().expect("it is bound"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = servers.spawn(tenure::with(serve(listener, router), async move |_| {
            let _ = stopped.await;
            Ok::<_, ServeError>(())
        }));
        stops.push((stop, server));
    }
    let turns = TURNS / share;
    let mut figures = vec![Vec::new(); addresses.len()];
    for turn in 0..=turns as usize {
        for place in 0..addresses.len() {
            // Each comes first in its turn.
            let server = (turn + place) % addresses.len();
            let figures = &mut figures[server];
            let figure = clients.block_on(requests_each_second(addresses[server]));
            // The first one warms up.
            if turn > 0 {
                figures.push(figure);
            }
        }
    }
    println!("A server with {CONNECTIONS} connections, kept alive ({turns} turns of {TURN:?}, medians)\n");
    println!("| handler | requests/s | of the throughput without |\n|---|---:|---:|");
    for ((name, _), own) in routers().iter().zip(&figures) {
        let ratios = own.iter().zip(&figures[0]).map(|(own, base)| own / base).collect();
        println!("| {name} | {:.0} | {:.1} % |", median(own.clone()), 100.0 * median(ratios));
    }
    println!();
    for (stop, server) in stops {
        drop(stop);
        servers.block_on(server).expect("no panic").expect("it is left in order");
    }
}

async fn requests_each_second(address: SocketAddr) -> f64 {
    let mut clients = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..CONNECTIONS {
        clients.spawn(client(address, begin + TURN));
    }
    let count: u64 = clients.join_all().await.into_iter().sum();
    count as f64 / begin.elapsed().as_secs_f64()
}

async fn client(address: SocketAddr, until: Instant) -> u64 {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.expect("the server is there");
    stream.set_nodelay(true).expect("a TCP stream");
    let mut answer = vec![0; 1024];
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(REQUEST).await.expect("the server is there");
        let mut length = 0;
        while !answer[..length].ends_with(b"hello") {
            let read = stream.read(&mut answer[length..]).await.expect("the server is there");
            assert!(read > 0, "the server is there");
            length += read;
        }
        count += 1;
    }
    count
}
