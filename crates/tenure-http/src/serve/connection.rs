//! One connection, from its accept to the last exit of its last request.
//!
//! # Invariants
//! 1. Everything that a request hands over has a parent: the connection (HTTP/1.1) or the task of its stream (HTTP/2).
//!    The exit of the connection awaits both, and what an upgraded connection is used for.
//! 2. A connection that hyper has given away, upgraded, lasts until its stream is dropped.

use std::error::Error;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use http::{Request, Response};
use http_body::Body;
use tenure::{AsyncExit, CancelToken, Options, Outcome, Stopped};
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

use super::RequestBody;
use super::control::{Control, CountPanic};
use super::conversation::Conversation;
use super::drive::{End, serve_http};
use super::listener::Accepted;
use super::progress::Progress;
use super::socket::Socket;
use super::transport::Transport;
use super::watch::Streams;
use crate::stall::after;
use crate::stop::Link;
use crate::tasks::{Tasks, TasksEnd};

pub(super) async fn serve_connection<S, B>(accepted: Accepted, service: S, control: Arc<Control>)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let _ended = CountEnded(Arc::clone(&control));
    let stages = Arc::clone(&control.stages);
    let (tasks, end) = Tasks::of_server(Arc::clone(&stages));
    let connection = ready(Ok::<_, Stopped>(HttpConnection { end }));
    let run = async |_: &mut HttpConnection| {
        run(accepted, service, tasks, &control).await;
        Ok::<_, Stopped>(())
    };
    // Nothing but the end of the process stops it, nor does its exit fail.
    let options = Options::new().name("HTTP connection").stays_while(move || stages.are_begun());
    let _ = options.with(connection, run).await;
}

/// Counts also when a handler's panic goes through.
struct CountEnded(Arc<Control>);

impl Drop for CountEnded {
    fn drop(&mut self) {
        self.0.stats.count_ended();
    }
}

/// The resource of a connection: the tasks of its streams.
struct HttpConnection {
    end: TasksEnd,
}

impl AsyncExit for HttpConnection {
    type Error = Stopped;

    async fn exit(mut self, _: Outcome<'_>) -> Result<(), Stopped> {
        self.end.stop();
        self.end.wait().await;
        Ok(())
    }
}

/// Serves requests until the client, an error, or the server's end ends it.
async fn run<S, B>(accepted: Accepted, service: S, tasks: Tasks, control: &Arc<Control>)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let _panics = CountPanic(Arc::clone(control));
    let link = Arc::new(Link {
        stages: Arc::clone(&control.stages),
        peer: accepted.peer(),
        alive: tasks.alive(),
        upgrades: AtomicUsize::new(0),
        ends_with_its_side: AtomicBool::new(false),
        gone: CancelToken::new(),
    });
    let conversation = Arc::new(Conversation { progress: Progress::new(), link, control: Arc::clone(control) });
    let (transport, socket) = match open(accepted, &conversation).await {
        Ok(opened) => opened,
        Err(end) => return end.count(&control.stats),
    };
    // As long as the connection lasts, an upgrade of it can be kept waiting for.
    let _alive = tasks.clone();
    let streams = Streams { tasks, control: Arc::clone(control) };
    let end = serve_http(transport, &socket, service, streams, &conversation).await;
    let progress = &conversation.progress;
    if matches!(end, End::Served) && !progress.is_closed() {
        control.stats.count_upgraded();
        upgraded(&socket, &conversation).await.count(&control.stats);
    } else {
        end.count(&control.stats);
    }
    // Upgraded streams of HTTP/2 have ended with their connection, whether they look at it or not.
    conversation.link.gone.cancel();
}

/// Makes a stream of what was accepted, within the time for the first head.
async fn open(accepted: Accepted, conversation: &Arc<Conversation>) -> Result<(Transport, Arc<Socket>), End> {
    #[cfg(feature = "tls")]
    let tls = accepted.tls.clone();
    let stream = accepted.into_stream(conversation);
    let socket = stream.socket();
    #[cfg(feature = "tls")]
    if let Some(tls) = tls {
        let Conversation { progress, control, .. } = &**conversation;
        let opened = tokio::select! {
            biased;
            opened = tls.accept(stream) => opened,
            () = control.stages.cut.cancelled() => return Err(End::Cut),
            () = sleep(control.limits.header_read_timeout) => return Err(End::Broken),
        };
        let stream = opened.map_err(|_| End::Broken)?;
        progress.agreed(stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        return Ok((Transport::Tls(Box::new(stream)), socket));
    }
    Ok((Transport::Plain(stream), socket))
}

/// Waits until whoever has the stream drops it; closes it when its client takes nothing, or the grace is over.
async fn upgraded(socket: &Socket, conversation: &Conversation) -> End {
    let Conversation { progress, link, control } = conversation;
    let stalled = async {
        loop {
            let limit = control.limits.write_timeout;
            let end = progress.watch.waiting_since().map(|since| after(since, limit));
            if end.is_some_and(|end| end <= Instant::now()) {
                return;
            }
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => sleep(limit).await,
            }
        }
    };
    // Who reads finds the end. This is for who does not; unread messages are left the time to be read.
    let gone = async {
        socket.client_gone(!link.ends_with_its_side.load(Relaxed)).await;
        sleep(control.limits.peer_lost_limit).await;
    };
    let end = tokio::select! {
        biased;
        () = progress.wait_closed() => return End::Upgraded,
        () = stalled => End::Stalled,
        () = gone => End::Broken,
        () = control.stages.cut.cancelled() => {
            if link.upgrades.load(Relaxed) > 0 {
                // It is used in a context, whose exit has something to say.
                let _ = timeout(control.limits.cut_timeout / 2, progress.wait_closed()).await;
            }
            End::Cut
        }
    };
    socket.close();
    link.gone.cancel();
    let _ = timeout(control.limits.cut_timeout, progress.wait_closed()).await;
    end
}
