//! [`Recorder`]: the handle a test gets, which writes the trace and injects faults.
//!
//! # Invariants
//! 1. Events are appended under one lock, so their order is the order in which they happened.
//! 2. Each fault point takes the next number of the run, once, whatever task it is in.
//! 3. No user code runs under a lock.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::fault::panic_quietly;
use crate::site::{At, Hang, Suspend};
use crate::{EventKind, Fault, FaultKind, Resource, Trace, event::Event};

/// Writes down what happens, makes resources that do so, and injects faults when a proof says so.
///
/// A proof hands a fresh one to each run. A test of its own makes one with [`Recorder::new`]; that one injects
/// nothing. Clones share everything.
///
/// ```
/// use tenure::{AsyncExit, Outcome};
/// use tenure_test::{Fault, Recorder, paused};
///
/// # fn main() -> Result<(), Fault> {
/// let recorder = Recorder::new();
/// paused().block_on(async {
///     let db = recorder.resource("db").await?;
///     recorder.step("query").await?;
///     db.exit(Outcome::Completed).await
/// })?;
/// recorder.trace().assert_exactly(["enter db", "step query", "exit db: completed"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Recorder {
    run_id: u64,
    shared: Arc<Mutex<State>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { run_id: next_run_id(), shared: Arc::default() }
    }
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    resources: u64,
    /// Fault points passed.
    points: u64,
    /// The points at which to fail, ascending, and how.
    plan: Vec<(u64, FaultKind)>,
    injected: u64,
}

impl Recorder {
    /// Creates a recorder with an empty trace that injects nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with_plan(plan: Vec<(u64, FaultKind)>) -> Self {
        let recorder = Self::new();
        recorder.state().plan = plan;
        recorder
    }

    /// Returns a number that no other run has, in this process or in another that uses the same server.
    ///
    /// Give it to what the run creates outside of the process, a key or a table: what one run has leaked then does
    /// not disturb the next. It is less than 2⁶³, so that it fits into a database's `BIGINT`.
    #[must_use]
    pub fn run_id(&self) -> u64 {
        self.run_id
    }

    /// Makes a context that enters a recorded resource of this name. Awaited, or given to `with`, it enters.
    #[track_caller]
    pub fn resource(&self, name: impl Into<String>) -> Resource {
        Resource::new(self.clone(), name.into(), Location::caller())
    }

    /// Runs a step of the test: suspends once, and is a point at which a fault may be injected.
    ///
    /// The label and the line are what a failing proof names. To label your own future, see
    /// [`at`](Self::at); for a fault point that does not suspend, see [`point`](Self::point).
    ///
    /// # Errors
    /// The injected [`Fault`], if this is the step that has to fail.
    ///
    /// # Cancel safety
    /// Dropped before it ends, it leaves no line in the trace.
    #[track_caller]
    pub fn step(&self, label: &str) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        let (recorder, label) = (self.clone(), label.to_owned());
        let location = Location::caller();
        async move {
            Suspend::labelled(&label, 1, location).await;
            recorder.fault_point(&format!("step {label}"), location).await?;
            recorder.push(EventKind::Step, &label, 0, location, None);
            Ok(())
        }
    }

    /// Marks a point at which a fault may be injected, without a suspension. A planned hang is an error here, since
    /// nothing can be awaited.
    ///
    /// # Errors
    /// The injected [`Fault`], if this is the step that has to fail.
    #[track_caller]
    pub fn point(&self, label: &str) -> Result<(), Fault> {
        let location = Location::caller();
        match self.next_fault(label, location) {
            None => Ok(()),
            Some(FaultKind::Panic) => panic_quietly(label),
            Some(FaultKind::Error | FaultKind::Hang) => Err(Fault::at(label, location)),
        }
    }

    /// Gives a label to the suspensions of any future: `recorder.at("query", db.query(…)).await`.
    ///
    /// # Cancel safety
    /// That of the future.
    #[track_caller]
    pub fn at<F: Future>(&self, label: &str, future: F) -> At<F> {
        At::new(label.to_owned(), Location::caller(), future)
    }

    /// Writes a line of the test's own into the trace.
    #[track_caller]
    pub fn note(&self, text: impl Into<String>) {
        self.push(EventKind::Note, &text.into(), 0, Location::caller(), None);
    }

    /// Returns what has happened until now.
    pub fn trace(&self) -> Trace {
        Trace::new(self.state().events.clone())
    }

    pub(crate) fn push(
        &self,
        kind: EventKind,
        name: &str,
        id: u64,
        location: &'static Location<'static>,
        fault: Option<Fault>,
    ) {
        let event = Event { kind, name: name.to_owned(), id, location, task: tokio::task::try_id(), fault };
        self.state().events.push(event);
    }

    pub(crate) fn next_resource(&self) -> u64 {
        let mut state = self.state();
        state.resources += 1;
        state.resources
    }

    /// Fails, panics or hangs if the plan says so for this point.
    async fn fault_point(&self, label: &str, location: &'static Location<'static>) -> Result<(), Fault> {
        match self.next_fault(label, location) {
            None => Ok(()),
            Some(FaultKind::Error) => Err(Fault::at(label, location)),
            Some(FaultKind::Panic) => panic_quietly(label),
            Some(FaultKind::Hang) => Hang::labelled(label, location).await,
        }
    }

    /// Passes a fault point: how to fail there, if the plan says so.
    pub(crate) fn next_fault(&self, label: &str, location: &'static Location<'static>) -> Option<FaultKind> {
        let mut state = self.state();
        let point = state.points;
        state.points += 1;
        let kind = state.plan.iter().find(|(at, _)| *at == point)?.1;
        state.injected += 1;
        drop(state);
        self.push(EventKind::Injected(kind), label, 0, location, None);
        Some(kind)
    }

    /// How many fault points were passed, and at how many of them a fault was injected.
    pub(crate) fn points_and_injected(&self) -> (u64, u64) {
        let state = self.state();
        (state.points, state.injected)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is impossible (invariant 3); the trace is worth keeping all the same.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number whose upper bits are this process's, and whose lower ones count.
fn next_run_id() -> u64 {
    const COUNT_BITS: u32 = 20;
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The standard library's keys are random for each process, and no two threads share them.
    let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    // Relaxed: only the uniqueness of the number matters.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The sum, not a mask: more than 2²⁰ runs go on into the upper bits.
    ((process << COUNT_BITS) & (u64::MAX >> 1)).wrapping_add(count) & (u64::MAX >> 1)
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Recorder")
            .field("events", &state.events.len())
            .field("points", &state.points)
            .finish_non_exhaustive()
    }
}
