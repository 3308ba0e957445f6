//! From a stream to a connection: the handshake of HTTP, and the tasks that drive it.

use std::sync::Arc;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::connect::Limits;
use super::connection::Client;
use super::exchange::Exchange;
use super::requests::{Origin, Requests, Sender};
use crate::metered::Metered;
use crate::tasks::Tasks;

/// Which versions of HTTP may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    Agreed,
    Http1,
    Http2,
}

/// Makes a connection of a stream. Nothing that it spawns outlives the client, or this future if it is dropped.
pub(super) async fn handshake<T>(
    stream: T,
    two: bool,
    origin: Origin,
    limits: Limits,
) -> Result<Client, hyper::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (tasks, end) = Tasks::new();
    let (ended, driven) = oneshot::channel();
    let exchange = Arc::new(Exchange::new());
    let io = TokioIo::new(Metered { stream, meter: Arc::clone(&exchange) });
    let sender = if two {
        let (sender, connection) = http2::handshake(tasks.clone(), io).await?;
        tasks.execute(async move { drop(ended.send(connection.await)) });
        Sender::Two(sender)
    } else {
        let (sender, connection) = http1::handshake(io).await?;
        tasks.execute(async move { drop(ended.send(connection.await)) });
        Sender::One(sender)
    };
    let requests = Requests::new(sender, origin, exchange, limits.silence);
    Ok(Client::new(requests, end, driven, limits.shutdown))
}
