//! The signals that ask a process to end.

use std::future::poll_fn;
use std::pin::Pin;
use std::process::{ExitCode, exit};
use std::task::{Context, Poll};

#[cfg(unix)]
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    #[cfg(unix)]
    Terminate,
}

impl Signal {
    /// The number that shells and supervisors expect: 128 and the signal's.
    fn number(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            #[cfg(unix)]
            Self::Terminate => 143,
        }
    }

    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// What a second signal asks for. Exits that have not ended are given up.
    pub(super) fn end_process(self) -> ! {
        exit(self.number().into())
    }
}

/// Listens from its making on.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: Listener,
    terminate: Listener,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn install() -> Self {
        const WHY: &str = "tokio's signal driver is enabled, and both are signals that may be handled";
        Self {
            interrupt: signal(SignalKind::interrupt()).expect(WHY),
            terminate: signal(SignalKind::terminate()).expect(WHY),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        if self.interrupt.poll_recv(context).is_ready() {
            return Poll::Ready(Signal::Interrupt);
        }
        self.terminate.poll_recv(context).map(|_| Signal::Terminate)
    }
}

/// Listens from its making on.
#[cfg(not(unix))]
pub(super) struct Signals {
    interrupt: Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>,
}

#[cfg(not(unix))]
impl Signals {
    pub(super) fn install() -> Self {
        Self { interrupt: Box::pin(tokio::signal::ctrl_c()) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        let polled = self.interrupt.as_mut().poll(context);
        if polled.is_ready() {
            self.interrupt = Box::pin(tokio::signal::ctrl_c());
        }
        polled.map(|_| Signal::Interrupt)
    }
}

impl Signals {
    /// Polls `future`, unless a signal comes before its end.
    pub(super) async fn unless<F: Future>(&mut self, mut future: Pin<&mut F>) -> Result<F::Output, Signal> {
        poll_fn(|context| match self.poll(context) {
            Poll::Ready(signal) => Poll::Ready(Err(signal)),
            Poll::Pending => future.as_mut().poll(context).map(Ok),
        })
        .await
    }
}
