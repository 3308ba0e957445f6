//! The life of a process: run the main body until it ends or a signal comes, then exit everything in order.

#[cfg(feature = "macros")]
mod entry;
mod signals;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::process::{ExitCode, Termination};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::timeout;

use crate::fault::Payload;
use crate::{CancelToken, DrainReport, IncidentKind, drain};
use signals::{Signal, Signals};

#[cfg(feature = "macros")]
pub use entry::{Fallible, Main, Test};

/// How long the exits may take after a signal, or after the end of the main body, unless [`Run::exit_limit`] says
/// otherwise: 30 s, what container platforms grant between SIGTERM and SIGKILL.
pub const EXIT_LIMIT_DEFAULT: Duration = Duration::from_secs(30);

/// Runs `body` until it ends or SIGINT or SIGTERM comes, then awaits every exit in order: [`Run`] with its defaults.
///
/// `#[tenure::main]` does this for a whole program.
///
/// ```no_run
/// # async fn serve() -> std::io::Result<()> { Ok(()) }
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     tenure::run(serve()).await
/// }
/// ```
///
/// # Cancel safety
/// Dropped, the body is dropped, and its exits run in the background.
pub async fn run<F>(body: F) -> ExitCode
where
    F: Future<Output: Termination>,
{
    Run::new().until_signal(body).await
}

/// How a main body is run, and how long its exits may take.
///
/// At the first SIGINT or SIGTERM (Ctrl-C on other systems than Unix) the body stops; what it held exits in order; exits
/// handed over before are awaited too; then the process is to end with the conventional code, 128 and the signal's
/// number. A second signal ends the process at once, with that code. If the exits take longer than the limit, or some
/// are lost, a line for each goes to standard error, and the code is a failure (law 35).
///
/// Once installed, the handlers stay for the life of the process: tokio never takes them back.
#[derive(Clone, Debug)]
#[must_use = "it runs nothing by itself"]
pub struct Run {
    exit_limit: Duration,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// With the limit [`EXIT_LIMIT_DEFAULT`].
    pub const fn new() -> Self {
        Self { exit_limit: EXIT_LIMIT_DEFAULT }
    }

    /// How long the exits may take.
    pub const fn exit_limit(mut self, limit: Duration) -> Self {
        self.exit_limit = limit;
        self
    }

    /// Runs `body`; at a signal it is dropped where it stands, and its exits run in the background, awaited here.
    ///
    /// # Panics
    /// If the signal handlers cannot be installed, or the runtime has no timer. Resumes a panic of the body, after
    /// the exits.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped, and its exits run in the background.
    pub async fn until_signal<F>(self, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        let mut signals = Signals::install();
        let ended = {
            let mut body = pin!(Caught { body });
            signals.unless(body.as_mut()).await
        };
        match ended {
            Ok(ended) => self.finish(ended, None, signals).await,
            Err(signal) => self.finish(Ok(signal.exit_code()), Some(signal), signals).await,
        }
    }

    /// Runs `body`; at a signal the token is cancelled, and the body is awaited, within the exit limit. Then it is
    /// dropped, as in [`until_signal`](Self::until_signal).
    ///
    /// For a body that has to do more than exit: a server that answers what it has accepted.
    ///
    /// # Panics
    /// If the signal handlers cannot be installed, or the runtime has no timer. Resumes a panic of the body, after
    /// the exits.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped, and its exits run in the background.
    pub async fn cooperative<B, F>(self, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        let mut signals = Signals::install();
        let token = CancelToken::new();
        let ended = {
            let mut body = pin!(Caught { body: body(token.clone()) });
            match signals.unless(body.as_mut()).await {
                Ok(ended) => Ok(ended),
                Err(signal) => {
                    token.cancel();
                    let in_time = timeout(self.exit_limit, body);
                    match signals.unless(pin!(in_time)).await {
                        // The signal decides the code; a panic is a panic.
                        Ok(Ok(Err(payload))) => Ok(Err(payload)),
                        Ok(_) => Err(signal),
                        Err(second) => second.end_process(),
                    }
                }
            }
        };
        match ended {
            Ok(ended) => self.finish(ended, None, signals).await,
            Err(signal) => self.finish(Ok(signal.exit_code()), Some(signal), signals).await,
        }
    }

    /// Awaits the exits that run in the background, and makes the code.
    async fn finish(
        self,
        ended: Result<ExitCode, Payload>,
        mut asked: Option<Signal>,
        mut signals: Signals,
    ) -> ExitCode {
        let mut drained = pin!(drain(self.exit_limit));
        let report = loop {
            match signals.unless(drained.as_mut()).await {
                Ok(report) => break report,
                // The first one asks for what is under way already.
                Err(signal) if asked.is_none() => asked = Some(signal),
                Err(second) => second.end_process(),
            }
        };
        let code = match (ended, asked) {
            (Err(payload), _) => {
                complain_of(&report);
                resume_unwind(payload)
            }
            (Ok(_), Some(signal)) => signal.exit_code(),
            (Ok(code), None) => code,
        };
        let whole = complain_of(&report);
        if !whole && code == ExitCode::SUCCESS { ExitCode::FAILURE } else { code }
    }
}

/// Says what was not exited, if anything; returns whether all was.
fn complain_of(report: &DrainReport) -> bool {
    let whole = report.open.is_empty() && report.of_kind(IncidentKind::ExitLost).next().is_none();
    if !whole {
        eprintln!("tenure: not everything was exited: {report}");
    }
    whole
}

pin_project! {
    /// The main body, its panic caught: the exits come first.
    struct Caught<F> {
        #[pin]
        body: F,
    }
}

impl<F> Future for Caught<F>
where
    F: Future<Output: Termination>,
{
    type Output = Result<ExitCode, Payload>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let body = self.project().body;
        match catch_unwind(AssertUnwindSafe(|| body.poll(context))) {
            Ok(polled) => polled.map(|result| Ok(result.report())),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}
