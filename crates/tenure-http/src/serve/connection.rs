//! One connection, from its accept to the last exit of its last request.
//!
//! # Invariants
//! 1. Everything that a request hands over has a parent: the connection (HTTP/1.1) or the task of its stream (HTTP/2).
//!    The exit of the connection awaits both.

use std::error::Error;
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tenure::{AsyncExit, Options, Outcome, Stopped};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tower_service::Service;

use super::RequestBody;
use super::body::Watched;
use super::builder::Limits;
use super::progress::Progress;
use super::server::Control;
use super::watch::{Streams, Watch, of_stream};
use crate::metered::Metered;
use crate::stop::ServerStop;
use crate::tasks::{Tasks, TasksEnd};
use crate::tcp;

pub(super) async fn serve_connection<S, B>(stream: TcpStream, service: S, control: Arc<Control>)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let _ended = CountEnded(Arc::clone(&control));
    let (tasks, end) = Tasks::new();
    let connection = ready(Ok::<_, Stopped>(Connection { end }));
    let run = async |_: &mut Connection| {
        drive(stream, service, tasks, &control).await;
        Ok::<_, Stopped>(())
    };
    let options = Options::new().name("HTTP connection").cancel_on(&control.kill);
    if let Err(Stopped::Cancelled) = options.with(connection, run).await {
        control.stats.count_cut();
    }
}

/// Counts also when a handler's panic goes through.
struct CountEnded(Arc<Control>);

impl Drop for CountEnded {
    fn drop(&mut self) {
        self.0.stats.count_ended();
    }
}

/// The resource of a connection: the tasks of its streams.
struct Connection {
    end: TasksEnd,
}

impl AsyncExit for Connection {
    type Error = Stopped;

    async fn exit(mut self, _: Outcome<'_>) -> Result<(), Stopped> {
        self.end.stop();
        self.end.wait().await;
        Ok(())
    }
}

/// Serves requests until the client, an error, or the server's end ends it.
async fn drive<S, B>(stream: TcpStream, service: S, tasks: Tasks, control: &Arc<Control>)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let limits = control.limits;
    tcp::prepare(&stream, limits.peer_lost_limit, limits.write_timeout);
    let progress = Arc::new(Progress::new());
    let io = TokioIo::new(Metered { stream, meter: Arc::clone(&progress) });
    let (watch, shared) = (Arc::clone(&progress.watch), Arc::clone(control));
    let noted = Arc::clone(&progress);
    let answering = service_fn(move |mut request: Request<Incoming>| {
        noted.request();
        shared.stats.count_request();
        request.extensions_mut().insert(ServerStop(Some(shared.kill.clone())));
        answer(request, service.clone(), Arc::clone(&noted.watch), limits)
    });
    let builder = protocol(Streams { tasks, control: Arc::clone(control) }, limits);
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, answering));
    let mut stalled = pin!(watch.stalled(limits.write_timeout));
    let mut asked = pin!(control.stop.cancelled());
    let mut first = pin!(sleep(limits.header_read_timeout));
    let (mut finishing, mut waiting) = (false, true);
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => {
                if served.is_err() {
                    control.stats.count_broken();
                }
                return;
            }
            () = asked.as_mut(), if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first.as_mut(), if waiting => {
                if !progress.is_begun() {
                    control.stats.count_broken();
                    return;
                }
                waiting = false;
            }
            // After the connection, which tells it.
            () = stalled.as_mut() => {
                control.stats.count_broken();
                control.stats.count_stalled();
                return;
            }
        }
    }
}

fn protocol(streams: Streams, limits: Limits) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    let mut http1 = builder.http1();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.header_bytes_max as usize);
    http1
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes_max)
        .keep_alive_interval(limits.header_read_timeout)
        .keep_alive_timeout(limits.header_read_timeout);
    builder
}

/// Calls the service, in the task of the connection (HTTP/1.1) or in that of the stream (HTTP/2).
async fn answer<S, B>(
    request: Request<Incoming>,
    mut service: S,
    watch: Arc<Watch>,
    limits: Limits,
) -> Result<Response<Watched<B>>, S::Error>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    let of_stream = of_stream();
    let watch = of_stream.clone().unwrap_or(watch);
    let request = request.map(|incoming| RequestBody::new(incoming, limits.body_read_timeout, watch));
    poll_fn(|context| service.poll_ready(context)).await?;
    let response = service.call(request).await?;
    Ok(response.map(|body| Watched::new(body, of_stream)))
}
