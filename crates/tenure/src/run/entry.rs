//! What `#[tenure::main]` and `#[tenure::test]` call.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{ExitCode, Termination};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::{EXIT_LIMIT_DEFAULT, Run};
use crate::{CancelToken, drain, open};

/// How long a test's exits may take after its body.
const TEST_DRAIN_LIMIT_DEFAULT: Duration = Duration::from_secs(10);

/// How long tasks that block may keep the process from ending.
const BLOCKING_TASKS_LIMIT: Duration = Duration::from_secs(1);

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

    fn build(mut self) -> Runtime {
        self.0.enable_all().build().expect("the system has a thread and a poll descriptor to spare")
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
    /// On all cores, with the default limit.
    pub fn new() -> Self {
        Self { flavour: Flavour::multi_thread(None), run: Run::new().exit_limit(EXIT_LIMIT_DEFAULT) }
    }

    /// On the current thread alone.
    pub fn current_thread(self) -> Self {
        Self { flavour: Flavour::current_thread(), ..self }
    }

    /// On this many threads, or one for each core.
    pub fn multi_thread(self, worker_threads: Option<usize>) -> Self {
        Self { flavour: Flavour::multi_thread(worker_threads), ..self }
    }

    /// How long the exits may take.
    pub fn exit_limit(self, limit: Duration) -> Self {
        Self { run: self.run.exit_limit(limit), ..self }
    }

    /// Runs `body`; at a signal it is dropped.
    ///
    /// # Panics
    /// If there is no runtime to be had. Resumes a panic of the body, after the exits.
    pub fn block_on<F>(self, body: F) -> ExitCode
    where
        F: Future<Output: Termination>,
    {
        let runtime = self.flavour.build();
        let code = runtime.block_on(self.run.until_signal(body));
        runtime.shutdown_timeout(BLOCKING_TASKS_LIMIT);
        code
    }

    /// Runs `body`; at a signal its token is cancelled.
    ///
    /// # Panics
    /// If there is no runtime to be had. Resumes a panic of the body, after the exits.
    pub fn block_on_cooperative<B, F>(self, body: B) -> ExitCode
    where
        B: FnOnce(CancelToken) -> F,
        F: Future<Output: Termination>,
    {
        let runtime = self.flavour.build();
        let code = runtime.block_on(self.run.cooperative(body));
        runtime.shutdown_timeout(BLOCKING_TASKS_LIMIT);
        code
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
    /// On the current thread, with the default limit.
    pub fn new() -> Self {
        Self { flavour: Flavour::current_thread(), drain_limit: TEST_DRAIN_LIMIT_DEFAULT }
    }

    /// On the current thread alone.
    pub fn current_thread(self) -> Self {
        Self { flavour: Flavour::current_thread(), ..self }
    }

    /// On this many threads, or one for each core.
    pub fn multi_thread(self, worker_threads: Option<usize>) -> Self {
        Self { flavour: Flavour::multi_thread(worker_threads), ..self }
    }

    /// Whether the clock stands still until all tasks wait for it. Needs the feature `test-util`.
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

    /// How long the exits may take after the body.
    pub fn drain_limit(self, limit: Duration) -> Self {
        Self { drain_limit: limit, ..self }
    }

    /// Runs a test's body, then awaits the exits, then looks for what is open.
    ///
    /// # Panics
    /// Resumes a panic of the body. If tenures are open after the drain, or exits went wrong where nobody was told:
    /// names them.
    #[track_caller]
    pub fn block_on<F: Future>(self, name: &'static str, body: F) -> F::Output {
        let runtime = self.flavour.build();
        let limit = self.drain_limit;
        let run = || {
            runtime.block_on(async {
                let output = body.await;
                let report = drain(limit).await;
                (output, report, open())
            })
        };
        let (output, report, open) = match std::panic::catch_unwind(AssertUnwindSafe(run)) {
            Ok(ended) => ended,
            Err(payload) => {
                // The test failed already; its exits still run.
                let report = runtime.block_on(drain(limit));
                if !report.is_clean() {
                    eprintln!("{name}: {report}");
                }
                resume_unwind(payload)
            }
        };
        assert!(open.is_empty(), "{name}: {} open after the test:\n{open}", open.len());
        assert!(report.is_clean(), "{name}: not all exits went well: {report}");
        output
    }
}
