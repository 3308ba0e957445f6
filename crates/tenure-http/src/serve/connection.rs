//! One connection, from its accept to the last exit of its last request.
//!
//! # Invariants
//! 1. Everything that a request hands over has a parent: the connection (HTTP/1.1) or the task of its stream (HTTP/2).
//!    The exit of the connection awaits both.

use std::error::Error;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tenure::{AsyncExit, Options, Outcome, Stopped};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tower_service::Service;

use super::builder::Limits;
use super::progress::{Metered, Progress};
use super::server::Control;
use crate::stop::ServerStop;
use crate::tasks::{Tasks, TasksEnd};

pub(super) async fn serve_connection<S, B>(
    stream: TcpStream,
    service: TowerToHyperService<S>,
    control: Arc<Control>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
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
async fn drive<S, B>(stream: TcpStream, inner: TowerToHyperService<S>, tasks: Tasks, control: &Arc<Control>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    // Answers go out as they are written. Where the system refuses this, they come a little later.
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let service = Requests { inner, progress: Arc::clone(&progress), control: Arc::clone(control) };
    let io = TokioIo::new(Metered { stream, progress: Arc::clone(&progress) });
    let builder = protocol(tasks, control.limits);
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut asked = pin!(control.stop.cancelled());
    let mut first = pin!(sleep(control.limits.header_read_timeout));
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
        }
    }
}

fn protocol(tasks: Tasks, limits: Limits) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(tasks);
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

/// The service as a connection calls it.
struct Requests<S> {
    inner: TowerToHyperService<S>,
    progress: Arc<Progress>,
    control: Arc<Control>,
}

impl<S> HyperService<Request<Incoming>> for Requests<S>
where
    S: Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = <TowerToHyperService<S> as HyperService<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.progress.request();
        self.control.stats.count_request();
        request.extensions_mut().insert(ServerStop(Some(self.control.kill.clone())));
        self.inner.call(request)
    }
}
