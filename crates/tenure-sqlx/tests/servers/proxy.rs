//! A wire to a server that can be held and cut, without a word to either end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy on a port of its own. Its tasks end with the runtime.
pub(crate) struct Proxy {
    port: u16,
    wire: Arc<Wire>,
    door: JoinHandle<()>,
}

struct Wire {
    trap: Mutex<Option<(&'static str, Trap)>>,
    flow: watch::Sender<Flow>,
    /// How many traps have sprung.
    sprung: watch::Sender<usize>,
    /// `true` if a server has spoken since a client has.
    server_spoke: AtomicBool,
    /// How often a client has spoken after a server.
    trips: AtomicUsize,
}

/// What happens when a client sends a certain text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trap {
    /// The server gets it; its answer is held back until [`Proxy::release`].
    HoldAnswer,
    /// The server gets it; from then on nothing passes any more, in either direction.
    LoseAnswer,
    /// The server does not get it, nor anything after it; nothing passes in either direction.
    LoseStatement,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Held,
    Lost,
}

impl Proxy {
    /// A wire to the port of a server on this machine.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (trap, flow, sprung) = (Mutex::new(None), watch::Sender::new(Flow::Open), watch::Sender::new(0));
        let (server_spoke, trips) = (AtomicBool::new(false), AtomicUsize::new(0));
        let wire = Arc::new(Wire { trap, flow, sprung, server_spoke, trips });
        let shared = Arc::clone(&wire);
        let door = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(Arc::clone(&shared).carry_statements(from_client, to_server));
                tokio::spawn(Arc::clone(&shared).carry_answers(from_server, to_client));
            }
        });
        Self { port, wire, door }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many round trips there have been.
    pub(crate) fn trips(&self) -> usize {
        self.wire.trips.load(Ordering::SeqCst)
    }

    /// Waits for a client to send this text.
    pub(crate) fn set(&self, text: &'static str, trap: Trap) {
        *self.wire.trap.lock().unwrap() = Some((text, trap));
        self.wire.sprung.send_replace(0);
    }

    /// Waits until the trap that was set has sprung.
    pub(crate) async fn reached(&self) {
        let mut sprung = self.wire.sprung.subscribe();
        sprung.wait_for(|sprung| *sprung > 0).await.unwrap();
    }

    /// Lets pass what was held once nobody waits for it any more.
    pub(crate) async fn release_when_dropped<F: Future>(&self, answer: F) -> F::Output {
        struct Release<'p>(&'p Proxy);

        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.release();
            }
        }

        let _release = Release(self);
        answer.await
    }

    /// Takes no further connections; those that there are go on.
    pub(crate) fn refuse_more(&self) {
        self.door.abort();
    }

    /// Lets pass what was held.
    pub(crate) fn release(&self) {
        self.wire.flow.send_replace(Flow::Open);
    }
}

impl Wire {
    async fn carry_statements(self: Arc<Self>, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        let mut is_lost = false;
        // When the client hangs up, so does the wire: a server would notice a cut at last, too.
        while let Ok(count @ 1..) = client.read(&mut buffer).await {
            let chunk = &buffer[..count];
            if self.server_spoke.swap(false, Ordering::SeqCst) {
                self.trips.fetch_add(1, Ordering::SeqCst);
            }
            let trap = self.sprung_by(chunk);
            match trap {
                Some(Trap::HoldAnswer) => _ = self.flow.send_replace(Flow::Held),
                Some(Trap::LoseAnswer | Trap::LoseStatement) => _ = self.flow.send_replace(Flow::Lost),
                None => {}
            }
            is_lost |= matches!(trap, Some(Trap::LoseStatement));
            if !is_lost && server.write_all(chunk).await.is_err() {
                break;
            }
            is_lost |= matches!(trap, Some(Trap::LoseAnswer));
            if trap.is_some() {
                self.sprung.send_modify(|sprung| *sprung += 1);
            }
        }
    }

    fn sprung_by(&self, chunk: &[u8]) -> Option<Trap> {
        let mut trap = self.trap.lock().unwrap();
        let (text, _) = trap.as_ref()?;
        let is_there = chunk.windows(text.len()).any(|window| window == text.as_bytes());
        if is_there { trap.take().map(|(_, trap)| trap) } else { None }
    }

    async fn carry_answers(self: Arc<Self>, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) {
        let mut flow = self.flow.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        let mut is_lost = false;
        while let Ok(count @ 1..) = server.read(&mut buffer).await {
            self.server_spoke.store(true, Ordering::SeqCst);
            is_lost |= *flow.wait_for(|flow| *flow != Flow::Held).await.unwrap() == Flow::Lost;
            if !is_lost && client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        if is_lost {
            // Not even that the server has hung up gets through.
            std::future::pending::<()>().await;
        }
    }
}
