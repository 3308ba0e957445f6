//! The runtimes that proofs run on: both of tokio's flavours, with a clock that is paused where it can be.

use std::fmt;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::ProofOutput;
use crate::registry::{self, Held};

/// Worker threads of the multi-thread flavour: two make real races, more only cost time.
const WORKERS: usize = 2;

/// A flavour of tokio's runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "tests match on both; a third flavour has to be noticed")]
pub enum Flavour {
    /// One thread. Its clock is paused unless a proof asks for a real one: timers fire as soon as nothing else
    /// can run.
    CurrentThread,
    /// Two workers and real time.
    MultiThread,
}

impl Flavour {
    /// Both.
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::MultiThread];

    pub(crate) fn runtime(self, clock: Clock) -> Runtime {
        let built = match self {
            Self::CurrentThread => {
                Builder::new_current_thread().enable_all().start_paused(clock == Clock::Paused).build()
            }
            Self::MultiThread => Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build(),
        };
        built.unwrap_or_else(|error| panic!("no runtime could be made: {error}"))
    }

    /// Whether timers are real on this flavour.
    pub(crate) fn is_real(self, clock: Clock) -> bool {
        self == Self::MultiThread || clock == Clock::Real
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CurrentThread => "current_thread",
            Self::MultiThread => "multi_thread",
        })
    }
}

/// The clock of the current-thread flavour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Paused,
    Real,
}

/// Makes a current-thread runtime whose clock is paused: timers fire in their order, at once, when nothing else can
/// run.
///
/// # Panics
/// If the operating system refuses the runtime's resources.
#[must_use]
pub fn paused() -> Runtime {
    Flavour::CurrentThread.runtime(Clock::Paused)
}

/// Runs a test on both flavours, each time on a fresh runtime, then drains it and checks that nothing is held.
///
/// The current-thread runtime's clock is paused. For a test that is to be dropped everywhere, use
/// [`cancel_everywhere`](crate::cancel_everywhere).
///
/// ```
/// use tenure_test::both_flavours;
///
/// let mut runs = 0;
/// both_flavours(|flavour| {
///     runs += 1;
///     async move { println!("on {flavour}") }
/// });
/// assert_eq!(runs, 2);
/// ```
///
/// # Panics
/// If the test panics or returns an error, or if a tenure is still open or was lost when it has ended.
#[track_caller]
pub fn both_flavours<Fut>(mut test: impl FnMut(Flavour) -> Fut)
where
    Fut: Future<Output: ProofOutput>,
{
    /// How long handed-over exits may take, in seconds of the runtime's clock.
    const DRAIN_LIMIT_SECONDS: u64 = 10;
    for flavour in Flavour::ALL {
        let (failure, left) = flavour.runtime(Clock::Paused).block_on(async {
            // On multi_thread the test stays on this thread: a borrowing, `!Send` test is fine.
            let failure = test(flavour).await.failure();
            (failure, registry::settle(Duration::from_secs(DRAIN_LIMIT_SECONDS), &Held::default()).await)
        });
        if let Some(error) = failure {
            panic!("on {flavour}, the test returned an error: {error}");
        }
        assert!(left.is_empty(), "on {flavour}, after the test:\n{}", registry::list(&left));
    }
}
