//! A server's throughput beside `axum::serve`: one worker serves, one thread has the clients, connections are kept alive, each sends its
//! next request when it has its answer.
//!
//! The servers are measured in short rounds, one after the other, and the ratio is the median of the ratios of neighbouring
//! rounds; beside it stand the quartiles.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::call::Nothing;
use crate::median;
use crate::noop::noop;

const CONNECTIONS: usize = 32;
/// Short, and many: what disturbs the machine then disturbs neighbours alike.
const ROUNDS: usize = 400;
const ROUND: Duration = Duration::from_millis(60);

/// Who serves the router that the others are compared with.
const AXUM: &str = "`axum::serve`, without the layer";

async fn hello() -> &'static str {
    "hello"
}

async fn entering(scope: RequestScope) -> &'static str {
    drop(scope.enter(noop(false)).await.ok());
    "hello"
}

/// Served by `axum::serve` in the first place, else by `serve`.
fn routers() -> [(&'static str, Router); 5] {
    let layer = RequestScopeLayer::new();
    [
        (AXUM, Router::new().route("/", get(hello))),
        ("without the layer", Router::new().route("/", get(hello))),
        ("with a layer that does nothing", Router::new().route("/", get(hello)).layer(Nothing)),
        ("with the layer, nothing entered", Router::new().route("/", get(hello)).layer(layer.clone())),
        ("with the layer, one context entered", Router::new().route("/", get(entering)).layer(layer)),
    ]
}

pub(crate) fn measure(share: u32) {
    let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let clients = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut addresses = Vec::new();
    let mut stops = Vec::new();
    for (name, router) in routers() {
        let listener = servers.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        addresses.push(listener.local_addr().expect("it is bound"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        if name == AXUM {
            let server = servers.spawn(async {
                let served = axum::serve(
                    listener.tap_io(|stream| stream.set_nodelay(true).expect("a TCP stream")),
                    router,
                );
                let stopped = async {
                    let _ = stopped.await;
                };
                served.with_graceful_shutdown(stopped).await.map_err(ServeError::Listener)
            });
            stops.push((stop, server));
            continue;
        }
        let server = servers.spawn(tenure::with(serve(listener, router), async move |_| {
            let _ = stopped.await;
            Ok::<_, ServeError>(())
        }));
        stops.push((stop, server));
    }
    let rounds = ROUNDS / share as usize;
    let mut clients: Vec<_> = addresses.iter().map(|address| Clients::connect(&clients, *address)).collect();
    let mut figures = vec![Vec::new(); addresses.len()];
    for round in 0..=rounds {
        for place in 0..addresses.len() {
            // Each comes first in its turn.
            let server = (round + place) % addresses.len();
            let figure = clients[server].requests_each_second();
            // The first one warms up.
            if round > 0 {
                figures[server].push(figure);
            }
        }
    }
    drop(clients);
    println!("A server with {CONNECTIONS} connections, kept alive ({rounds} rounds of {ROUND:?}, medians)\n");
    println!(
        "| served | requests/s | a request more, ns | of `axum::serve`'s throughput | half of the rounds |"
    );
    println!("|---|---:|---:|---:|---:|");
    let base = median(figures[0].clone());
    for ((name, _), own) in routers().iter().zip(&figures) {
        let mut ratios: Vec<_> = own.iter().zip(&figures[0]).map(|(own, base)| 100.0 * own / base).collect();
        ratios.sort_by(f64::total_cmp);
        let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4]);
        let more = (100.0 / middle - 1.0) * 1e9 / base;
        println!(
            "| {name} | {:.0} | {more:.0} | {middle:.1} % | {low:.1} to {high:.1} % |",
            median(own.clone())
        );
    }
    println!();
    for (stop, server) in stops {
        drop(stop);
        servers.block_on(server).expect("no panic").expect("it is left in order");
    }
}

/// Sends so many requests, one after the other, over one connection to one server, client and server on one thread: for
/// valgrind, which counts what the two servers differ in.
pub(crate) fn serving(server: &str, requests: &str) -> Result<(), String> {
    let requests: u64 = requests.parse().map_err(|error| format!("{error}"))?;
    let index = match server {
        "axum" => 0,
        "tenure" => 1,
        _ => return Err("known are axum and tenure".to_owned()),
    };
    let (_, router) = routers().into_iter().nth(index).expect("there are five");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let serving = if index == 0 {
            tokio::spawn(async { axum::serve(listener, router).await.map_err(ServeError::Listener) })
        } else {
            tokio::spawn(tenure::with(serve(listener, router), async |server| server.forever().await))
        };
        let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        for _ in 0..requests {
            stream = client(stream, None).await.0;
        }
        serving.abort();
        Ok(())
    })
}

/// The connections to one server, which stay open from round to round.
struct Clients<'r> {
    runtime: &'r Runtime,
    streams: Vec<TcpStream>,
}

impl<'r> Clients<'r> {
    fn connect(runtime: &'r Runtime, address: SocketAddr) -> Self {
        let connect = async || {
            let stream = TcpStream::connect(address).await.expect("the server is there");
            stream.set_nodelay(true).expect("a TCP stream");
            stream
        };
        let streams = (0..CONNECTIONS).map(|_| runtime.block_on(connect())).collect();
        Self { runtime, streams }
    }

    fn requests_each_second(&mut self) -> f64 {
        let streams = std::mem::take(&mut self.streams);
        self.runtime.block_on(async {
            let mut clients = JoinSet::new();
            let begin = Instant::now();
            for stream in streams {
                clients.spawn(client(stream, Some(begin + ROUND)));
            }
            let mut count = 0;
            for (stream, answered) in clients.join_all().await {
                self.streams.push(stream);
                count += answered;
            }
            count as f64 / begin.elapsed().as_secs_f64()
        })
    }
}

/// Asks until then, or once.
async fn client(mut stream: TcpStream, until: Option<Instant>) -> (TcpStream, u64) {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
    let mut answer = [0; 1024];
    let mut count = 0;
    while until.map_or(count == 0, |until| Instant::now() < until) {
        stream.write_all(REQUEST).await.expect("the server is there");
        let mut length = 0;
        while !answer[..length].ends_with(b"hello") {
            let read = stream.read(&mut answer[length..]).await.expect("the server is there");
            assert!(read > 0, "the server is there");
            length += read;
        }
        count += 1;
    }
    (stream, count)
}
