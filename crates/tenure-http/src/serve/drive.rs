//! Driving hyper's connection, and what happens beside it.
//!
//! # Invariants
//! 1. hyper is polled first: what has come is answered before anything else is looked at.
//! 2. The timer is set no further ahead than the shortest limit, so that no time that begins meanwhile is overlooked.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{self, UpgradeableConnection};
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

use super::answer::Answering;
use super::conversation::Conversation;
use super::gate::Gated;
use super::limits::Limits;
use super::progress::Verdict;
use super::socket::Socket;
use super::transport::Transport;
use super::watch::Streams;
use super::{RequestBody, ServerStats};

/// For how long a kept connection has to be quiet before a server that stops closes it. A client that has its answer
/// sends the next request within that time, or is not about to.
const QUIET: Duration = Duration::from_millis(100);

/// How often a connection that is to be cut looks whether the exits of its upgrades have ended.
const LAST_WORDS: Duration = Duration::from_millis(5);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order: by the client, by the server, or it was upgraded.
    Served,
    /// Whoever had it upgraded has dropped it.
    Upgraded,
    /// By an error, or by a client that is gone.
    Broken,
    /// The client made no progress.
    Stalled,
    /// The grace was over.
    Cut,
}

impl End {
    pub(super) fn count(self, stats: &ServerStats) {
        match self {
            Self::Served | Self::Upgraded => {}
            Self::Broken => stats.count_broken(),
            Self::Stalled => {
                stats.count_broken();
                stats.count_stalled();
            }
            Self::Cut => stats.count_cut(),
        }
    }
}

/// Serves requests until the connection ends or is upgraded.
pub(super) async fn serve_http<S, B>(
    transport: Transport,
    socket: &Socket,
    service: S,
    streams: Streams,
    conversation: &Arc<Conversation>,
) -> End
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let answering = Answering::new(service, conversation);
    let builder = protocol(streams, &conversation.control.limits);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(transport), answering));
    let mut beside = Beside::new(socket, conversation);
    let mut event = pin!(Gated::new(beside.next_event()));
    poll_fn(|context| {
        loop {
            conversation.progress.before_poll();
            if let Poll::Ready(served) = connection.as_mut().poll(context) {
                return Poll::Ready(if served.is_ok() { End::Served } else { End::Broken });
            }
            conversation.progress.after_poll();
            if beside.is_to_be_told() {
                graceful_shutdown(connection.as_mut());
                continue;
            }
            if beside.looks_away() {
                event.as_mut().replace(beside.next_event());
            }
            let Poll::Ready(happened) = event.as_mut().poll(context) else { return Poll::Pending };
            match beside.take(happened) {
                Step::GoOn => {}
                Step::Close => graceful_shutdown(connection.as_mut()),
                Step::End(end) => return Poll::Ready(end),
            }
            event.as_mut().replace(beside.next_event());
        }
    })
    .await
}

fn graceful_shutdown<S, B>(connection: Pin<&mut UpgradeableConnection<'_, TokioIo<Transport>, S, Streams>>)
where
    S: HttpService<hyper::body::Incoming, ResBody = B>,
    S::Future: 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    Streams: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    connection.graceful_shutdown();
}

fn protocol(streams: Streams, limits: &Limits) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    let mut http1 = builder.http1();
    http1
        // The connection's own timer has the limits.
        .header_read_timeout(None)
        .half_close(limits.half_close)
        .max_buf_size(limits.header_bytes_max as usize);
    http1
        .http2()
        .timer(TokioTimer::new())
        // Web sockets over HTTP/2.
        .enable_connect_protocol()
        .max_header_list_size(limits.header_bytes_max)
        .keep_alive_interval(limits.header_read_timeout)
        .keep_alive_timeout(limits.header_read_timeout);
    builder
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Cut,
    Closing,
    Stopping,
    GivenUp,
    Gone,
    Timer,
}

enum Step {
    GoOn,
    /// Ask hyper to finish.
    Close,
    End(End),
}

/// What is known beside hyper.
struct Beside<'c> {
    socket: &'c Socket,
    conversation: &'c Conversation,
    timer: Instant,
    /// The stages of the server's stop that were seen.
    closing: bool,
    stopping: bool,
    /// `true` if a client of HTTP/2 was told of it.
    told: bool,
    /// Until when the exits of upgrades may still have something to say, once the grace is over.
    cut: Option<Instant>,
    /// Whether hyper was asked to finish because there is nothing to do.
    asked: bool,
    /// Since when hyper looks away from a client whose request it has.
    unseen: Option<Instant>,
}

impl<'c> Beside<'c> {
    fn new(socket: &'c Socket, conversation: &'c Conversation) -> Self {
        let timer = after_shortest(&conversation.control.limits);
        let (closing, stopping, told, asked) = (false, false, false, false);
        Self { socket, conversation, timer, closing, stopping, told, cut: None, asked, unseen: None }
    }

    /// The next thing to happen, as things are now.
    fn next_event(&self) -> impl Future<Output = Event> + use<'c> {
        let Self { socket, conversation, timer, closing, stopping, cut, unseen, .. } = *self;
        let stages = &conversation.control.stages;
        async move {
            tokio::select! {
                biased;
                () = stages.cut.cancelled(), if cut.is_none() => Event::Cut,
                () = stages.closing.cancelled(), if !closing => Event::Closing,
                () = stages.stopping.cancelled(), if !stopping => Event::Stopping,
                () = conversation.progress.watch.given_up() => Event::GivenUp,
                () = socket.client_gone(conversation.control.limits.half_close), if unseen.is_some() => Event::Gone,
                () = sleep_until(timer) => Event::Timer,
            }
        }
    }

    /// Returns `true` if a client of HTTP/2 has to be told now, by `GOAWAY`, that the server closes. That is so when the server does,
    /// but a client that has sent no request yet may send its first one until the server stops accepting.
    fn is_to_be_told(&mut self) -> bool {
        if !self.closing || self.told {
            return false;
        }
        let progress = &self.conversation.progress;
        self.told = progress.is_http2() && (self.stopping || progress.has_requested());
        self.told
    }

    /// Notes whether hyper looks at the client. Whether that is news.
    fn looks_away(&mut self) -> bool {
        let unseen = self.conversation.progress.is_unseen();
        if unseen == self.unseen.is_some() {
            return false;
        }
        self.unseen = unseen.then(Instant::now);
        true
    }

    fn take(&mut self, event: Event) -> Step {
        let progress = &self.conversation.progress;
        match event {
            Event::Cut => {
                self.cut = Some(Instant::now() + self.conversation.control.limits.cut_timeout / 2);
                self.at_timer()
            }
            Event::Closing => {
                self.closing = true;
                // Over HTTP/1.1 a connection without a request is told in the answer to its next one. HTTP/2: see
                // `is_to_be_told`.
                if !progress.is_http2() && progress.is_in_flight() { Step::Close } else { Step::GoOn }
            }
            Event::Stopping => {
                self.stopping = true;
                self.at_timer()
            }
            Event::GivenUp => Step::End(End::Stalled),
            Event::Gone => Step::End(End::Broken),
            Event::Timer => self.at_timer(),
        }
    }

    fn at_timer(&mut self) -> Step {
        let Conversation { progress, link, control } = self.conversation;
        let limits = &control.limits;
        let now = Instant::now();
        self.timer = after_shortest(limits);
        if let Some(end) = self.cut {
            if end <= now || link.upgrades.load(Relaxed) == 0 {
                return Step::End(End::Cut);
            }
            self.timer = now + LAST_WORDS;
            return Step::GoOn;
        }
        if let Some(since) = self.unseen {
            let end = crate::stall::after(since, limits.peer_lost_limit);
            if end > now {
                self.timer = self.timer.min(end);
            } else if self.socket.may_hide_the_end() {
                return Step::End(End::Stalled);
            }
        }
        let quiet = progress.quiet_since().filter(|_| self.stopping && !progress.is_http2());
        if let Some(since) = quiet {
            if since + QUIET <= now {
                return self.close_quiet();
            }
            self.timer = self.timer.min(since + QUIET);
        }
        match progress.verdict(limits, now) {
            Verdict::Stalled => Step::End(End::Stalled),
            Verdict::NoHead => Step::End(End::Broken),
            Verdict::Idle => self.close_quiet(),
            Verdict::GoOn(until) => {
                self.timer = until.map_or(self.timer, |until| self.timer.min(until));
                Step::GoOn
            }
        }
    }

    /// Closes a connection that is not in use, unless a request has come that hyper has not read yet.
    fn close_quiet(&mut self) -> Step {
        if self.socket.has_unread() {
            self.timer = Instant::now() + QUIET;
            return Step::GoOn;
        }
        if self.asked {
            return Step::End(End::Served);
        }
        self.asked = true;
        self.timer = Instant::now() + QUIET;
        Step::Close
    }
}

fn after_shortest(limits: &Limits) -> Instant {
    crate::stall::after(Instant::now(), limits.shortest())
}
