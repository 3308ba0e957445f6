//! Resources that tell what is done to them, a client that is scripted byte by byte, and the final check.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tenure::{AsyncExit, Outcome, counters, drain, open};
use tenure_http::{RequestFailed, RequestScope, Scoped, Server};
use tenure_test::Flavour;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// What fails a test that hangs. Nothing waits for it otherwise.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Runs a test on both flavours of the runtime; afterwards nothing may be open, lost or unequal.
#[track_caller]
pub(crate) fn check<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for flavour in [Flavour::CurrentThread, Flavour::MultiThread] {
        let runtime = match flavour {
            Flavour::MultiThread => {
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
            }
            _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        };
        runtime.unwrap().block_on(async {
            timeout(HANG, test()).await.expect("the test hangs");
            let report = drain(HANG).await;
            assert!(report.open.is_empty(), "{flavour:?}: {report}");
            assert!(open().is_empty(), "{flavour:?}: open:\n{}", open());
            let counters = counters();
            assert_eq!(counters.lost, 0, "{flavour:?}: {counters:?}");
            assert_eq!(counters.entered, counters.exited + counters.disarmed, "{flavour:?}: {counters:?}");
        });
    }
}

/// How the two resources of a handler exit.
pub(crate) fn exits(outcome: &str) -> [String; 2] {
    [format!("exit b, {outcome}"), format!("exit a, {outcome}")]
}

/// Waits for what nobody tells of: that somebody else's task gets there.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// Where resources and handlers write down what happens to them.
#[derive(Clone, Debug)]
pub(crate) struct Log(mpsc::UnboundedSender<String>);

pub(crate) struct Events(mpsc::UnboundedReceiver<String>);

pub(crate) fn log() -> (Log, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Log(sender), Events(receiver))
}

impl Log {
    pub(crate) fn note(&self, event: impl Into<String>) {
        // A test that is over reads no more.
        let _ = self.0.send(event.into());
    }

    /// A resource that exits at once.
    pub(crate) async fn quick(&self, name: &'static str) -> Result<Probe, Infallible> {
        self.note(format!("enter {name}"));
        Ok(Probe { name, log: self.clone(), waits: false })
    }

    /// A resource whose exit has to wait.
    pub(crate) async fn slow(&self, name: &'static str) -> Result<Probe, Infallible> {
        self.note(format!("enter {name}"));
        Ok(Probe { name, log: self.clone(), waits: true })
    }

    /// Enters a quick and a slow one on a scope.
    pub(crate) async fn two(&self, scope: &RequestScope) -> (Scoped<Probe>, Scoped<Probe>) {
        (scope.enter(self.slow("a")).await.unwrap(), scope.enter(self.quick("b")).await.unwrap())
    }
}

impl Events {
    pub(crate) async fn next(&mut self) -> String {
        timeout(HANG, self.0.recv()).await.expect("nothing happens").expect("nobody is left to write")
    }

    #[track_caller]
    pub(crate) fn expect<'e>(&'e mut self, expected: &'e [&'e str]) -> impl Future<Output = ()> + 'e {
        self.expect_at(expected, std::panic::Location::caller())
    }

    async fn expect_at(&mut self, expected: &[&str], location: &std::panic::Location<'_>) {
        for (index, expected) in expected.iter().enumerate() {
            assert_eq!(self.next().await, *expected, "event {index} at {location}");
        }
    }

    /// A handler enters its two resources.
    #[track_caller]
    pub(crate) fn entered(&mut self) -> impl Future<Output = ()> + '_ {
        self.expect(&["enter a", "enter b"])
    }

    /// A handler enters its two resources, and notes where it is.
    #[track_caller]
    pub(crate) fn entered_and<'e>(&'e mut self, note: &'e str) -> impl Future<Output = ()> + 'e {
        let location = std::panic::Location::caller();
        async move {
            self.expect_at(&["enter a", "enter b", note], location).await;
        }
    }

    /// The two resources exit, in order, told this.
    #[track_caller]
    pub(crate) fn exited<'e>(&'e mut self, outcome: &'e str) -> impl Future<Output = ()> + 'e {
        let location = std::panic::Location::caller();
        async move {
            let exits = exits(outcome);
            self.expect_at(&[&exits[0], &exits[1]], location).await;
        }
    }

    /// A request from its begin to its end.
    #[track_caller]
    pub(crate) fn entered_and_exited<'e>(&'e mut self, outcome: &'e str) -> impl Future<Output = ()> + 'e {
        let location = std::panic::Location::caller();
        async move {
            let exits = exits(outcome);
            self.expect_at(&["enter a", "enter b", &exits[0], &exits[1]], location).await;
        }
    }

    /// What has happened and was not looked at.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    log: Log,
    waits: bool,
}

impl AsyncExit for Probe {
    type Error = Infallible;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Infallible> {
        if self.waits {
            tokio::task::yield_now().await;
        }
        let ended = match outcome {
            Outcome::Completed => "completed".to_owned(),
            Outcome::Failed(failure) => match failure.downcast_ref::<RequestFailed>() {
                Some(failed) => format!("failed: {failed}"),
                None => format!("failed: {failure:?}"),
            },
            Outcome::Panicked(message) => format!("panicked: {message}"),
            Outcome::Cancelled => "cancelled".to_owned(),
        };
        self.log.note(format!("exit {}, {ended}", self.name));
        Ok(())
    }
}

/// A client that does as it is told.
pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
}

impl RawClient {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap() }
    }

    pub(crate) async fn of(server: &Server) -> Self {
        Self::connect(server.local_addr()).await
    }

    pub(crate) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
    }

    /// Reads until what was read contains `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            let mut buffer = [0; 1024];
            let length = timeout(HANG, self.stream.read(&mut buffer)).await.expect("nothing to read").unwrap();
            assert!(length > 0, "the server closed after {:?}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads until the server closes; a reset counts.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        let _ = timeout(HANG, self.stream.read_to_end(&mut read)).await.expect("the server does not close");
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// Stands between clients and a server, and passes on what they say, until it does not.
///
/// From then on it is silent and keeps all sockets open: what each side sees of a peer, or a network, that is gone.
pub(crate) struct Middleman {
    pub(crate) address: SocketAddr,
    passes: watch::Sender<bool>,
    _task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Middleman {
    pub(crate) async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, server) = (listener.local_addr().unwrap(), server.local_addr());
        let (passes, passing) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(server).await.unwrap().into_split();
                pumps.spawn(pump(from_client, to_server, passing.clone()));
                pumps.spawn(pump(from_server, to_client, passing.clone()));
            }
        });
        Self { address, passes, _task: AbortOnDrop(task) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Is silent from now on.
    pub(crate) fn vanish(&self) {
        self.passes.send_replace(false);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let vanished = async {
        let _ = passes.wait_for(|passes| !passes).await;
    };
    tokio::select! {
        biased;
        () = vanished => std::future::pending().await,
        // Ends when one of them does, and so tells the other.
        _ = tokio::io::copy(&mut from, &mut to) => {}
    }
}
