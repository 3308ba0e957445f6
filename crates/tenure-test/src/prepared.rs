//! [`PreparedProof`]: a proof whose future and check are given a state.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::check::Check;
use crate::enumeration::{Enumeration, OnLeak};
use crate::forms::{Where, forms};
use crate::limited::limited;
use crate::plan::Plan;
use crate::run::Subject;
use crate::runtime::Clock;
use crate::set_up::{ForRun, SetUp};
use crate::settings::Settings;
use crate::{Flavour, Leak, ProofOutput, Recorder, Report, Run, Violation, registry};

/// How long the runtime of a set-up may take to end its blocking tasks, in seconds.
const SHUTDOWN_LIMIT_SECONDS: u64 = 1;

/// A [`Proof`](crate::Proof) with a set-up: made by [`Proof::set_up`](crate::Proof::set_up) and
/// [`Proof::set_up_once`](crate::Proof::set_up_once).
///
/// ```
/// use std::sync::Arc;
/// use tenure_test::Proof;
///
/// struct Server {
///     name: String,
/// }
///
/// struct Table {
///     server: Arc<Server>,
/// }
///
/// let proof = Proof::new()
///     .set_up_once(async || Server { name: "db".to_owned() })
///     .set_up(|server| async move { Table { server } })
///     .check(|_run, table| async move {
///         assert_eq!(table.server.name, "db");
///         Ok(())
///     });
/// let report = proof.cancel_everywhere(|recorder, _table| async move { recorder.step("query").await });
/// assert_eq!(report.suspensions, 1);
/// ```
#[must_use = "a proof proves nothing until `cancel_everywhere` or another form is called"]
pub struct PreparedProof<T> {
    settings: Settings,
    set_up: SetUp<T>,
    check: Option<Check<T>>,
}

impl<T> fmt::Debug for PreparedProof<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedProof").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> PreparedProof<T> {
    pub(crate) fn new(settings: Settings, set_up: SetUp<T>, check: Option<Check<T>>) -> Self {
        Self { settings, set_up, check }
    }

    /// Makes a state for each run from the state so far: on the runtime of the run, not cut, not counted.
    ///
    /// # Panics
    /// If a check is set: it would not be given the new state. Set it after the last set-up.
    #[track_caller]
    pub fn set_up<U, F, Fut>(self, make: F) -> PreparedProof<U>
    where
        U: Send + Sync + 'static,
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = U> + Send + 'static,
    {
        assert!(self.check.is_none(), "a check is to be set after the last set-up");
        PreparedProof::new(self.settings, self.set_up.then(make), None)
    }

    /// Checks the world after each run, as [`Proof::check`](crate::Proof::check) does, and is given the state.
    pub fn check<C, Fut>(mut self, check: C) -> Self
    where
        C: Fn(Run, Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.check = Some(Box::new(move |run, state| Box::pin(check(run, state))));
        self
    }

    fn enumerate<F, Fut>(&self, make: F, place: Where, on_leak: OnLeak<'_>) -> Result<Report, Box<Leak>>
    where
        F: Fn(Recorder, Arc<T>) -> Fut,
        Fut: Future<Output: ProofOutput> + Send + 'static,
    {
        let settings = &self.settings;
        // Kept until the last run has ended.
        let (for_run, _begun) = self.begin()?;
        let subject = Subject { settings, for_run, check: self.check.as_ref(), make };
        place.enumerate(settings, Enumeration::new(subject, on_leak))
    }

    /// Does what is done once for each proof.
    fn begin(&self) -> Result<(ForRun<T>, Begun<T>), Box<Leak>> {
        let settings = &self.settings;
        let runtime = Flavour::MultiThread.runtime(Clock::Real);
        let limit = settings.set_up_timeout;
        let beginning = async { limited(tokio::spawn(self.set_up.begin()), limit, true).await };
        match runtime.block_on(beginning) {
            Ok(Ok(for_run)) => {
                let drain_limit = settings.drain_limit(true);
                Ok((
                    Arc::clone(&for_run),
                    Begun { for_run: Some(for_run), runtime: Some(runtime), drain_limit },
                ))
            }
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(payload) => resume_unwind(payload),
                Err(error) => panic!("the set-up of a proof: {error}"),
            },
            Err(_) => {
                runtime.shutdown_timeout(Duration::from_secs(SHUTDOWN_LIMIT_SECONDS));
                let plan = Plan::untroubled(Flavour::MultiThread);
                Err(Leak::of_proof(plan, Violation::SetUpTimedOut { limit }))
            }
        }
    }

    forms!(Recorder, Arc<T>);
}

/// What is alive from the first run of a proof to the last.
struct Begun<T> {
    /// This and the runtime are taken when it is dropped.
    for_run: Option<ForRun<T>>,
    runtime: Option<Runtime>,
    drain_limit: Duration,
}

impl<T> Drop for Begun<T> {
    // It waits, within limits: the state exits on its runtime, also when a failed assertion unwinds through the proof.
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let for_run = self.for_run.take();
        runtime.block_on(async {
            drop(for_run);
            registry::let_go(self.drain_limit).await;
        });
        runtime.shutdown_timeout(Duration::from_secs(SHUTDOWN_LIMIT_SECONDS));
    }
}
