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

/// Runs `body` until it ends or SIGINT or SIGTERM comes, then awaits every exit in order: [`Run`] with its defaults.
///
/// It runs in a runtime that is there already. `#[tenure::main]` makes one, and judges after it has gone; so does
/// [`Run::block_on`].
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
/// As [`Run::until_signal`].
///
/// # Cancel safety
/// Dropped, the body is dropped, and its exits run in the background.
pub async fn run<F>(body: F) -> ExitCode
where
    F: Future<Output: Termination>,
{
    Run::new().until_signal(body).await
}

/// Options for running a main body until it ends or is asked to stop.
///
/// # The stop
/// SIGINT and SIGTERM (Ctrl-C on other systems than Unix) stop the body, as do SIGHUP and SIGQUIT and any future if the
/// program says so. Then what the body held exits in order. What is still held in other tasks on the same runtime is
/// asked to stop, and exits as well. A stop has one deadline, [`exit_timeout`](Self::exit_timeout) after the signal; no
/// part of it begins anew.
///
/// A body that is dropped did not complete: its exits are told `Cancelled`, and a transaction rolls back. If an orderly
/// stop is to be a completed body, use [`cooperative`](Self::cooperative).
///
/// # The exit code
/// | the process | code |
/// |---|---|
/// | ended by itself, and all went well | that of the body's result |
/// | was stopped by a signal, and all went well | 128 and the number of the signal: 130 for SIGINT, 143 for SIGTERM; or 0, see [`success_after_signal`](Self::success_after_signal) |
/// | was stopped by a future of [`until`](Self::until), and all went well | 0 |
/// | has a body that failed | that of the body's result |
/// | has a body that panicked | the panic resumes after the exits: 101 |
/// | did not exit all that it held, or not well | 70, `EX_SOFTWARE` of `sysexits.h`, where it would be one of the first three |
///
/// Not well means: since the body ended, or in the background since the last [`drain`](crate::drain), an exit failed,
/// panicked, ran out of time, or was lost; or something is still held at the deadline.
///
/// # What is said
/// An exit that failed, panicked, ran out of time, was lost or is given up is a line on standard error. Where a
/// `tracing` subscriber or a report sink hears of it at once, the line comes at the end of the process.
///
/// # Signals at any time
/// Signals are heard by a thread of their own, from the first run until the process ends, whatever the main thread does:
/// - The first one asks all runs to stop.
/// - A second one ends the process at once, says on standard error what is given up, and makes the code 70. So does the
///   deadline, if the process lives to see it: because a thread blocks, for example.
/// - One that comes when no run is left ends the process at once, with 128 and its number.
///
/// The handlers stay for the life of the process. A run that begins when all others have ended begins a life of its own:
/// its first signal is a first one again.
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
    /// Creates a run with the defaults of its setters.
    pub const fn new() -> Self {
        let settings = Settings {
            exit_timeout: DEFAULT_EXIT_TIMEOUT,
            body_timeout: None,
            success_after_signal: false,
            chosen: Chosen { hangup: false, quit: false },
        };
        Self { settings, requests: Vec::new() }
    }

    /// Sets how long a stop may take in all: from the signal, or without one from the end of the body. The default is
    /// 25 s, for container platforms kill 30 s after SIGTERM. At most a year.
    ///
    /// A tenth of it, but no more than 1 s, is kept for the end of the runtime.
    pub fn exit_timeout(mut self, timeout: Duration) -> Self {
        self.settings.exit_timeout = timeout.min(EXIT_TIMEOUT_MAX);
        self
    }

    /// Sets the part of [`exit_timeout`](Self::exit_timeout) that a [`cooperative`](Self::cooperative) body has from the
    /// signal on; then it is dropped. The default is three fifths: 15 s of 25 s.
    pub const fn body_stop_timeout(mut self, timeout: Duration) -> Self {
        self.settings.body_timeout = Some(timeout);
        self
    }

    /// Sets whether a clean stop by a signal is a success, with the exit code 0. The default is `false`: 128 and the
    /// signal's number.
    ///
    /// For supervisors that take any other code for a failure, such as those of jobs.
    pub const fn success_after_signal(mut self, success: bool) -> Self {
        self.settings.success_after_signal = success;
        self
    }

    /// Sets whether SIGHUP stops the body too. The default is `false`: it ends the process without any exit. On other
    /// systems than Unix it changes nothing.
    pub const fn stop_on_hangup(mut self, stop: bool) -> Self {
        self.settings.chosen.hangup = stop;
        self
    }

    /// Sets whether SIGQUIT stops the body too. The default is `false`: it ends the process without any exit. On other
    /// systems than Unix it changes nothing.
    pub const fn stop_on_quit(mut self, stop: bool) -> Self {
        self.settings.chosen.quit = stop;
        self
    }

    /// Stops the body also when `request` ends: a message, a file that changes, a parent that is gone. Signals stop it
    /// as before. May be called more than once; the first to end stops the body.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let run = tenure::Run::new().until(async { drop(stopped.await) });
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

    /// Runs `body`; when asked to stop, drops it where it stands. Its exits run in the background, awaited here.
    ///
    /// The runtime around it is not its own: what is still held when this returns is lost with that runtime, and has been
    /// named, and the code says so. To judge after the runtime has gone, use [`block_on`](Self::block_on).
    ///
    /// If the system has no thread for the signals, a line on standard error says so, nothing is run, and the code is 70.
    ///
    /// # Panics
    /// If there is no runtime, or it has no timer. Resumes a panic of the body, or of a future of
    /// [`until`](Self::until), after the exits.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped, and its exits run in the background.
    pub async fn until_signal<F>(self, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        self.run_here(Manner::Drop, move |_| body).await
    }

    /// Runs `body`; when asked to stop, cancels its token, and awaits it for its part of the time. Then drops it, as in
    /// [`until_signal`](Self::until_signal), to which it is equal in all else.
    ///
    /// For a body that has to do more than exit: a server that answers what it has accepted.
    ///
    /// # Panics
    /// As [`until_signal`](Self::until_signal).
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped, and its exits run in the background.
    pub async fn cooperative<B, F>(self, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        self.run_here(Manner::Tell, body).await
    }

    /// Runs `body` on `runtime`, as [`until_signal`](Self::until_signal) does, shuts the runtime down, and judges after
    /// that.
    ///
    /// Threads that block, in [`spawn_blocking`](tokio::task::spawn_blocking) or while they read standard input, keep the
    /// runtime from its end for 1 s at most, also after a panic.
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
    /// If the runtime has no timer, or if called inside of a runtime. Resumes a panic of the body, after the exits.
    pub fn block_on<F>(self, runtime: Runtime, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        self.run_on(runtime, Manner::Drop, move |_| body)
    }

    /// Runs `body` on `runtime`, as [`cooperative`](Self::cooperative) does, shuts the runtime down, and judges after
    /// that, as [`block_on`](Self::block_on).
    ///
    /// # Panics
    /// As [`block_on`](Self::block_on).
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
