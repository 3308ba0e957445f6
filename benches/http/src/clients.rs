//! Clients on one thread, each with a connection that is kept: it sends its next request when it has its answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// The connections to one server, which stay open from round to round.
pub(crate) struct Clients {
    runtime: Runtime,
    streams: Vec<TcpStream>,
}

/// Result of a round.
pub(crate) struct Round {
    pub(crate) requests: u64,
    pub(crate) took: Duration,
    /// Of each request, in nanoseconds.
    pub(crate) latencies: Vec<u32>,
}

impl Clients {
    /// Connects, and sends a first request on each connection.
    pub(crate) fn connect(address: SocketAddr, count: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let streams = runtime.block_on(async {
            let mut streams = Vec::with_capacity(count);
            for _ in 0..count {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                ask(&mut stream).await?;
                streams.push(stream);
            }
            Ok::<_, std::io::Error>(streams)
        })?;
        Ok(Self { runtime, streams })
    }

    pub(crate) fn round(&mut self, length: Duration) -> std::io::Result<Round> {
        let streams = std::mem::take(&mut self.streams);
        let connections = streams.len();
        self.runtime.block_on(async {
            let mut clients = JoinSet::new();
            let begin = Instant::now();
            for stream in streams {
                clients.spawn(until(stream, begin + length));
            }
            let mut latencies = Vec::new();
            self.streams.reserve(connections);
            for client in clients.join_all().await {
                let (stream, of_client) = client?;
                self.streams.push(stream);
                latencies.extend(of_client);
            }
            let took = begin.elapsed();
            Ok(Round { requests: latencies.len() as u64, took, latencies })
        })
    }
}

async fn until(mut stream: TcpStream, end: Instant) -> std::io::Result<(TcpStream, Vec<u32>)> {
    let mut latencies = Vec::new();
    let mut now = Instant::now();
    while now < end {
        ask(&mut stream).await?;
        let answered = Instant::now();
        latencies.push(u32::try_from((answered - now).as_nanos()).unwrap_or(u32::MAX));
        now = answered;
    }
    Ok((stream, latencies))
}

/// Sends a request and reads the answer.
pub(crate) async fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n";
    let mut answer = [0; 1024];
    stream.write_all(REQUEST).await?;
    let mut length = 0;
    while !answer[..length].ends_with(b"hello") {
        let read = stream.read(&mut answer[length..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        length += read;
    }
    Ok(())
}
