//! What `#[tenure::main]` and `#[tenure::test]` call.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::end::listen;
use super::held::{Outside, add, released};
use super::tell::tell;
use super::verdict::UNCLEAN_CODE;
use super::{BLOCKING_TASKS_TIMEOUT, EXIT_TIMEOUT_MAX, Run, not_begun};
use crate::registry::current;
use crate::{CancelToken, DrainReport, drain, open};

/// How long a test's exits may take after its body.
const TEST_DRAIN_LIMIT_DEFAULT: Duration = Duration::from_secs(10);

/// Takes a result type apart that is not written `Result<T, E>`.
#[diagnostic::on_unimplemented(
    message = "a context returns a `Result`, and `{Self}` is none",
    label = "not a `Result`",
    note = "write what entering gives, `-> Result<T, Error>`, where `T` is the type of the lent value"
)]
pub trait Fallible {
    /// The value.
    type Value;
    /// The error.
    type Error;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
    type Error = E;
}

/// A runtime to be built.
#[derive(Debug)]
struct Flavour(Builder);

impl Flavour {
    fn current_thread() -> Self {
        Self(Builder::new_current_thread())
    }

    fn multi_thread(worker_threads: Option<usize>) -> Self {
        let mut builder = Builder::new_multi_thread();
        if let Some(worker_threads) = worker_threads {
            builder.worker_threads(worker_threads);
        }
        Self(builder)
    }

    fn build(mut self) -> io::Result<Runtime> {
        self.0.enable_all().build()
    }
}

/// `#[tenure::main]`.
#[derive(Debug)]
pub struct Main {
    flavour: Flavour,
    run: Run,
}

impl Default for Main {
    fn default() -> Self {
        Self::new()
    }
}

impl Main {
    /// Creates one that runs on all cores, with the defaults of [`Run`].
    pub fn new() -> Self {
        Self { flavour: Flavour::multi_thread(None), run: Run::new() }
    }

    /// Runs on the current thread alone.
    pub fn current_thread(self) -> Self {
        Self { flavour: Flavour::current_thread(), ..self }
    }

    /// Runs on this many threads, or one for each core.
    pub fn multi_thread(self, worker_threads: Option<usize>) -> Self {
        Self { flavour: Flavour::multi_thread(worker_threads), ..self }
    }

    /// Sets the same as [`Run::exit_timeout`].
    pub fn exit_timeout(self, timeout: Duration) -> Self {
        Self { run: self.run.exit_timeout(timeout), ..self }
    }

    /// Sets the same as [`Run::body_stop_timeout`].
    pub fn body_stop_timeout(self, timeout: Duration) -> Self {
        Self { run: self.run.body_stop_timeout(timeout), ..self }
    }

    /// Sets the same as [`Run::success_after_signal`].
    pub fn success_after_signal(self, success: bool) -> Self {
        Self { run: self.run.success_after_signal(success), ..self }
    }

    /// Sets the same as [`Run::stop_on_hangup`].
    pub fn stop_on_hangup(self, stop: bool) -> Self {
        Self { run: self.run.stop_on_hangup(stop), ..self }
    }

    /// Sets the same as [`Run::stop_on_quit`].
    pub fn stop_on_quit(self, stop: bool) -> Self {
        Self { run: self.run.stop_on_quit(stop), ..self }
    }

    /// Runs `body`; at a signal it is dropped.
    ///
    /// # Panics
    /// Resumes a panic of the body, after the exits.
    pub fn block_on<F>(self, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        self.begin(|run, runtime| run.block_on(runtime, body))
    }

    /// Runs `body`; at a signal its token is cancelled.
    ///
    /// # Panics
    /// Resumes a panic of the body, after the exits.
    pub fn block_on_cooperative<B, F>(self, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        self.begin(|run, runtime| run.block_on_cooperative(runtime, body))
    }

    fn begin(self, go: impl FnOnce(Run, Runtime) -> ExitCode) -> ExitCode {
        let Self { flavour, run } = self;
        // Before the runtime: a signal that comes while it is built finds nothing held.
        if let Err(error) = listen(run.settings.chosen) {
            return not_begun(&error);
        }
        match flavour.build() {
            Ok(runtime) => go(run, runtime),
            Err(error) => {
                tell(format_args!("there is no runtime to be had: {error}; exit code {UNCLEAN_CODE}"));
                ExitCode::from(UNCLEAN_CODE)
            }
        }
    }
}

/// `#[tenure::test]`.
#[derive(Debug)]
pub struct Test {
    flavour: Flavour,
    drain_limit: Duration,
}

impl Default for Test {
    fn default() -> Self {
        Self::new()
    }
}

impl Test {
    /// Creates one that runs on the current thread, with the default limit.
    pub fn new() -> Self {
        Self { flavour: Flavour::current_thread(), drain_limit: TEST_DRAIN_LIMIT_DEFAULT }
    }

    /// Runs on the current thread alone.
    pub fn current_thread(self) -> Self {
        Self { flavour: Flavour::current_thread(), ..self }
    }

    /// Runs on this many threads, or one for each core.
    pub fn multi_thread(self, worker_threads: Option<usize>) -> Self {
        Self { flavour: Flavour::multi_thread(worker_threads), ..self }
    }

    /// Sets whether the clock stands still until all tasks wait for it. Needs the feature `test-util`.
    #[cfg(feature = "test-util")]
    pub fn start_paused(mut self, paused: bool) -> Self {
        self.flavour.0.start_paused(paused);
        self
    }

    /// Says what is missing.
    ///
    /// # Panics
    /// Always.
    #[cfg(not(feature = "test-util"))]
    #[deprecated = "a paused clock needs the feature `test-util` of `tenure`: add it to the dev-dependency"]
    pub fn start_paused(self, _: bool) -> Self {
        panic!("`#[tenure::test(start_paused = true)]` needs the feature `test-util` of `tenure`");
    }

    /// Limits the time of the exits after the body.
    pub fn drain_limit(self, limit: Duration) -> Self {
        Self { drain_limit: limit, ..self }
    }

    /// Runs a test's body, awaits the exits, looks for what is open, and shuts the runtime down.
    ///
    /// What is open after the drain fails the test; it is asked to stop all the same, so that its exits run.
    ///
    /// # Panics
    /// Resumes a panic of the body. If there is no runtime to be had. If tenures are open after the drain, or exits went
    /// wrong where nobody was told, those included that the end of the runtime lost: names them.
    #[track_caller]
    pub fn block_on<F: Future>(self, name: &'static str, body: F) -> F::Output {
        let runtime = self.flavour.build().expect("the system has a thread and a poll descriptor to spare");
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body)));
        let limit = self.drain_limit;
        let (report, open) = runtime.block_on(async {
            let report = drain(limit).await;
            let open = open();
            if !open.is_empty() {
                let deadline = Instant::now() + limit.min(EXIT_TIMEOUT_MAX);
                let (stopped, _) = released(&Outside::default(), deadline).await;
                return (with(report, stopped), open);
            }
            (report, open)
        });
        let handle = runtime.handle().clone();
        // Also after a panic: a thread that blocks would keep the test from its end.
        runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
        let report = {
            let _inside = handle.enter();
            with(report, current().take_report())
        };
        let output = match ended {
            Ok(output) => output,
            Err(payload) => {
                // The test failed already.
                if !report.is_clean() {
                    tell(format_args!("{name}: {report}"));
                }
                resume_unwind(payload)
            }
        };
        assert!(open.is_empty(), "{name}: {} open after the test:\n{open}", open.len());
        assert!(report.is_clean(), "{name}: not all exits went well: {report}");
        output
    }
}

fn with(mut report: DrainReport, since: DrainReport) -> DrainReport {
    add(&mut report, since);
    report
}
