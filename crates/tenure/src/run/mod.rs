//! The life of a process: run the main body until it ends or is asked to stop, exit everything in order, and judge.
//!
//! `end` hears signals and owns the end of the process; `course` is what happens inside the runtime; `held` is what has
//! to be exited; `verdict` makes the exit code when all has happened.

mod course;
mod end;
#[cfg(feature = "macros")]
mod entry;
mod held;
mod listener;
mod signal;
mod tell;
mod verdict;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{ExitCode, Termination};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

use crate::CancelToken;
use course::{Manner, Request, course};
use end::Registration;
use signal::Chosen;
use tell::tell;
use verdict::UNCLEAN_CODE;

#[cfg(feature = "macros")]
pub use entry::{Fallible, Main, Test};

/// How long a stop may take, unless the program says otherwise: platforms kill 30 s after SIGTERM.
const DEFAULT_EXIT_TIMEOUT: Duration = Duration::from_secs(25);

/// The longest time that can be set.
const EXIT_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long tasks that block may keep a runtime from its end.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs `body` until it ends or SIGINT or SIGTERM arrives, then awaits every exit in order.
///
/// Equivalent to [`Run::new`] followed by [`until_signal`](Run::until_signal). It runs inside an existing runtime; to run
/// on a runtime of its own, use `#[tenure::main]` or [`Run::block_on`].
///
/// ```no_run
/// # async fn serve() -> std::io::Result<()> { Ok(()) }
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     tenure::run(serve()).await
/// }
/// ```
///
/// # Panics
/// See [`Run::until_signal`].
///
/// # Cancel safety
/// If this future is dropped, the body is dropped and its exits run in the background.
pub async fn run<F>(body: F) -> ExitCode
where
    F: Future<Output: Termination>,
{
    Run::new().until_signal(body).await
}

/// Options for running a main body until it ends or is asked to stop.
///
/// # Stopping
/// SIGINT and SIGTERM stop the body (on systems other than Unix, Ctrl-C). SIGHUP, SIGQUIT and any future can be added.
/// When the body has ended, or has been dropped, everything it held exits in order. Tenures that other tasks on the same
/// runtime still hold are asked to stop, and exit too. The whole stop has one deadline,
/// [`exit_timeout`](Self::exit_timeout) after the signal.
///
/// A body that is dropped has not completed. Its exits are told `Cancelled`, so a transaction rolls back. If the body
/// should complete when the process is stopped, use [`cooperative`](Self::cooperative).
///
/// # Exit codes
/// | what happened | exit code |
/// |---|---|
/// | the body ended, and all exits went well | the code of the body's result |
/// | a signal stopped the body, and all exits went well | 128 plus the signal's number: 130 for SIGINT, 143 for SIGTERM; 0 with [`success_after_signal`](Self::success_after_signal) |
/// | a future given to [`until`](Self::until) stopped the body, and all exits went well | 0 |
/// | the body failed | the code of the body's result |
/// | the body panicked | 101: the panic resumes after the exits |
/// | any other case | 70, `EX_SOFTWARE` of `sysexits.h` |
///
/// An exit did not go well if it failed, panicked, timed out or was lost, either after the body ended or, in the
/// background, since the last [`drain`](crate::drain). A tenure that is still open at the deadline is given up, which is
/// not a clean stop either. An error of a body whose caller was gone is reported, and is no fault of the end: the exit was
/// told of it.
///
/// # Standard error
/// Each exit that failed, panicked, timed out, was lost or was given up is a line on standard error. If a report sink is
/// set or a `tracing` subscriber is installed, they receive the incident when it happens, and the line is written when
/// the run ends.
///
/// # Signals
/// A dedicated thread handles signals from the first run until the process ends, whether or not the main thread is
/// blocked:
/// - The first signal asks every active run to stop.
/// - A second signal ends the process immediately with code 70, and names what is given up. The deadline has the same
///   effect if the process is still alive then.
/// - A signal that arrives when no run is active ends the process immediately, with 128 plus its number.
///
/// The handlers are never removed. If a run starts after all others have ended, the next signal counts as the first one
/// again.
#[must_use = "it runs nothing by itself"]
pub struct Run {
    settings: Settings,
    // In locks nobody waits for, so that it is `Sync`.
    requests: Vec<Mutex<Request>>,
}

/// What can be set.
#[derive(Clone, Copy, Debug)]
struct Settings {
    exit_timeout: Duration,
    body_timeout: Option<Duration>,
    success_after_signal: bool,
    chosen: Chosen,
}

impl Settings {
    /// The body's part of the time.
    fn body_timeout(&self) -> Duration {
        self.body_timeout.unwrap_or(self.exit_timeout / 5 * 3).min(self.exit_timeout)
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// Creates a run with default options.
    pub const fn new() -> Self {
        let settings = Settings {
            exit_timeout: DEFAULT_EXIT_TIMEOUT,
            body_timeout: None,
            success_after_signal: false,
            chosen: Chosen { hangup: false, quit: false },
        };
        Self { settings, requests: Vec::new() }
    }

    /// Sets the time limit of the whole stop, which starts at the signal, or without one at the end of the body.
    ///
    /// The default is 25 seconds, because container platforms kill a process 30 seconds after SIGTERM. The maximum is
    /// 365 days. A tenth of the limit, but at most 1 second, is reserved for shutting the runtime down.
    pub fn exit_timeout(mut self, timeout: Duration) -> Self {
        self.settings.exit_timeout = timeout.min(EXIT_TIMEOUT_MAX);
        self
    }

    /// Sets how long a [`cooperative`](Self::cooperative) body may run on after the signal before it is dropped.
    ///
    /// This is a part of [`exit_timeout`](Self::exit_timeout), not an addition to it. The default is three fifths of that
    /// limit: 15 of 25 seconds.
    pub const fn body_stop_timeout(mut self, timeout: Duration) -> Self {
        self.settings.body_timeout = Some(timeout);
        self
    }

    /// Sets whether a clean stop by a signal ends the process with code 0.
    ///
    /// The default is `false`: the code is 128 plus the signal's number. Set it for supervisors that treat every other
    /// code as a failure.
    pub const fn success_after_signal(mut self, success: bool) -> Self {
        self.settings.success_after_signal = success;
        self
    }

    /// Sets whether SIGHUP stops the body as well.
    ///
    /// The default is `false`: SIGHUP ends the process without running any exit. Has no effect on systems other than
    /// Unix.
    pub const fn stop_on_hangup(mut self, stop: bool) -> Self {
        self.settings.chosen.hangup = stop;
        self
    }

    /// Sets whether SIGQUIT stops the body as well.
    ///
    /// The default is `false`: SIGQUIT ends the process without running any exit. Has no effect on systems other than
    /// Unix.
    pub const fn stop_on_quit(mut self, stop: bool) -> Self {
        self.settings.chosen.quit = stop;
        self
    }

    /// Adds a future that stops the body when it completes. Signals still stop it, too.
    ///
    /// If this is called more than once, the first future to complete stops the body. The output is ignored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let run = tenure::Run::new().until(stopped);
    /// stop.send(()).expect("the run listens");
    /// let code = run.until_signal(std::future::pending::<()>()).await;
    /// assert_eq!(code, std::process::ExitCode::SUCCESS);
    /// # }
    /// ```
    pub fn until<U>(mut self, request: U) -> Self
    where
        U: Future + Send + 'static,
    {
        self.requests.push(Mutex::new(Box::pin(async move { drop(request.await) })));
        self
    }

    /// Runs `body` in the current runtime, and drops it when the process is asked to stop.
    ///
    /// The exits of a dropped body run in the background and are awaited before this returns. The runtime outlives the
    /// run, so tenures that are still open are named and count as given up. To judge after the runtime has gone, use
    /// [`block_on`](Self::block_on).
    ///
    /// If signals cannot be handled because the system is out of threads or file descriptors, nothing runs, a line on
    /// standard error gives the reason, and the code is 70.
    ///
    /// # Panics
    /// Panics outside a runtime, or if the runtime has no timer. Resumes a panic of the body, or of a future given to
    /// [`until`](Self::until), after the exits.
    ///
    /// # Cancel safety
    /// If this future is dropped, the body is dropped and its exits run in the background.
    pub async fn until_signal<F>(self, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        self.run_here(Manner::Drop, move |_| body).await
    }

    /// Runs `body` in the current runtime, and cancels its token when the process is asked to stop.
    ///
    /// The body is then awaited for [`body_stop_timeout`](Self::body_stop_timeout); after that it is dropped. In all other
    /// respects this is [`until_signal`](Self::until_signal). Use it for a body that has work to finish, such as a server
    /// that answers the requests it has accepted.
    ///
    /// # Panics
    /// See [`until_signal`](Self::until_signal).
    ///
    /// # Cancel safety
    /// If this future is dropped, the body is dropped and its exits run in the background.
    pub async fn cooperative<B, F>(self, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        self.run_here(Manner::Tell, body).await
    }

    /// Runs `body` on `runtime`, shuts the runtime down, and then determines the exit code.
    ///
    /// The body is dropped when the process is asked to stop, as with [`until_signal`](Self::until_signal). The shutdown
    /// waits at most 1 second for threads that block, such as those of
    /// [`spawn_blocking`](tokio::task::spawn_blocking) or a read from standard input, even after a panic.
    ///
    /// ```no_run
    /// # async fn serve() -> std::io::Result<()> { Ok(()) }
    /// fn main() -> std::process::ExitCode {
    ///     let runtime = tokio::runtime::Runtime::new().expect("the system has threads to spare");
    ///     tenure::Run::new().block_on(runtime, serve())
    /// }
    /// ```
    ///
    /// # Panics
    /// Panics inside a runtime, or if `runtime` has no timer. Resumes a panic of the body, or of a future given to
    /// [`until`](Self::until), after the exits.
    pub fn block_on<F>(self, runtime: Runtime, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        self.run_on(runtime, Manner::Drop, move |_| body)
    }

    /// Runs `body` on `runtime`, shuts the runtime down, and then determines the exit code. Cancels the body's token when
    /// the process is asked to stop, as with [`cooperative`](Self::cooperative).
    ///
    /// # Panics
    /// See [`block_on`](Self::block_on).
    pub fn block_on_cooperative<B, F>(self, runtime: Runtime, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        self.run_on(runtime, Manner::Tell, body)
    }

    async fn run_here<B, F>(self, manner: Manner, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        let Self { settings, requests } = self;
        let end = match Registration::new(settings.chosen, settings.exit_timeout, Handle::current()) {
            Ok(end) => end,
            Err(error) => return not_begun(&error),
        };
        let ran = course(settings, unlocked(requests), manner, &end, body).await;
        ran.give_up(&end);
        ran.judge(end)
    }

    fn run_on<B, F>(self, runtime: Runtime, manner: Manner, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        let Self { settings, requests } = self;
        let end = match Registration::new(settings.chosen, settings.exit_timeout, runtime.handle().clone()) {
            Ok(end) => end,
            Err(error) => return not_begun(&error),
        };
        let course = course(settings, unlocked(requests), manner, &end, body);
        let ran = match catch_unwind(AssertUnwindSafe(|| runtime.block_on(course))) {
            Ok(ran) => ran,
            Err(payload) => {
                runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
                resume_unwind(payload)
            }
        };
        {
            let _inside = runtime.enter();
            ran.give_up(&end);
        }
        // A quarter of what is left is for the judgement.
        runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT.min(ran.left() / 4 * 3));
        let handle = end.runtime().clone();
        let _inside = handle.enter();
        ran.judge(end)
    }
}

fn unlocked(requests: Vec<Mutex<Request>>) -> Vec<Request> {
    let unlock = |request: Mutex<Request>| request.into_inner().unwrap_or_else(PoisonError::into_inner);
    requests.into_iter().map(unlock).collect()
}

/// Says that signals cannot be heard; without them there is no orderly stop.
fn not_begun(error: &io::Error) -> ExitCode {
    tell(format_args!("nothing is run, for signals cannot be heard: {error}; exit code {UNCLEAN_CODE}"));
    ExitCode::from(UNCLEAN_CODE)
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, requests } = self;
        f.debug_struct("Run").field("settings", settings).field("requests", &requests.len()).finish()
    }
}
