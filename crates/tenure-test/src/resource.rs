//! [`Recorded`]: a resource that writes down its enter, exit and drop, each of which can be told to suspend,
//! fail, panic or hang.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use tenure::{AsyncExit, Outcome, Verdict};

use crate::fault::panic_quietly;
use crate::site::{Hang, Suspend};
use crate::{EventKind, Fault, FaultKind, Recorder, RecoveringResource, Seen};

/// The enter of a recorded resource, `T`: made by awaiting a [`Resource`], or by giving it to `with`.
///
/// # Cancel safety
/// Dropped before it ends, it has entered nothing, and the trace says so.
// A type of its own and no bare box: the lifetime in a `dyn` would keep the compiler from seeing that a task
// which shields it is `Send`.
#[must_use = "futures do nothing unless awaited"]
pub struct Entering<T> {
    enter: Pin<Box<dyn Future<Output = Result<T, Fault>> + Send>>,
}

impl<T> Entering<T> {
    pub(crate) fn new(enter: impl Future<Output = Result<T, Fault>> + Send + 'static) -> Self {
        Self { enter: Box::pin(enter) }
    }
}

impl<T> fmt::Debug for Entering<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entering").finish_non_exhaustive()
    }
}

impl<T> Future for Entering<T> {
    type Output = Result<T, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.enter.as_mut().poll(cx)
    }
}

/// Script of a recorded enter, exit or drop: it suspends a number of times, then ends in its way.
///
/// ```
/// use tenure_test::Act;
///
/// let slow = Act::suspend(3);
/// let slow_and_broken = Act::suspend(3).then_fail();
/// # let _ = (slow, slow_and_broken);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "an act does nothing until a resource is told to act so"]
pub struct Act {
    suspends: u32,
    end: Option<FaultKind>,
}

impl Act {
    /// Suspends `times` times and succeeds. A drop cannot suspend.
    pub const fn suspend(times: u32) -> Self {
        Self { suspends: times, end: None }
    }

    /// Succeeds at its first poll.
    pub const fn at_once() -> Self {
        Self::suspend(0)
    }

    /// Fails at the end. A drop cannot fail.
    pub const fn then_fail(self) -> Self {
        Self { end: Some(FaultKind::Error), ..self }
    }

    /// Panics at the end, as [`panic_quietly`] does.
    pub const fn then_panic(self) -> Self {
        Self { end: Some(FaultKind::Panic), ..self }
    }

    /// Makes it never end. A drop cannot hang.
    pub const fn then_hang(self) -> Self {
        Self { end: Some(FaultKind::Hang), ..self }
    }
}

/// A context that enters a [`Recorded`] resource: what [`Recorder::resource`] returns.
///
/// Unless told otherwise the enter suspends once, the exit suspends once, and both succeed. Each of their polls
/// is a point at which [`fail_everywhere`](crate::fail_everywhere) may inject a fault.
#[derive(Clone, Debug)]
#[must_use = "a resource that is not awaited or given to `with` is never entered"]
pub struct Resource {
    recorder: Recorder,
    name: String,
    location: &'static Location<'static>,
    on_enter: Act,
    on_exit: Act,
    on_drop: Act,
}

impl Resource {
    pub(crate) fn new(recorder: Recorder, name: String, location: &'static Location<'static>) -> Self {
        Self {
            recorder,
            name,
            location,
            on_enter: Act::suspend(1),
            on_exit: Act::suspend(1),
            on_drop: Act::at_once(),
        }
    }

    /// Sets what the enter does. Default: suspend once.
    pub fn on_enter(self, act: Act) -> Self {
        Self { on_enter: act, ..self }
    }

    /// Sets what the exit does. Default: suspend once.
    pub fn on_exit(self, act: Act) -> Self {
        Self { on_exit: act, ..self }
    }

    /// Sets what the drop of the entered resource does; only a panic has a meaning here. Default: nothing.
    ///
    /// It does not panic while its thread unwinds already: that would abort the test.
    pub fn on_drop(self, act: Act) -> Self {
        Self { on_drop: act, ..self }
    }

    /// Turns this into the same resource with an exit that may recover from the body's error, for `with_recovering`.
    pub fn recovering(self, verdict: Verdict) -> RecoveringResource {
        RecoveringResource::new(self, verdict)
    }

    async fn enter(self) -> Result<Recorded, Fault> {
        let mut resource = Recorded { id: self.recorder.next_resource(), spec: self, phase: Phase::Entering };
        resource.write(EventKind::Entering);
        let act = resource.spec.on_enter;
        if let Err(fault) = resource.perform("enter", act, Phase::EnterPanicked).await {
            resource.phase = Phase::EnterFailed;
            return Err(fault);
        }
        resource.phase = Phase::Entered;
        resource.write(EventKind::Entered);
        Ok(resource)
    }
}

impl IntoFuture for Resource {
    type Output = Result<Recorded, Fault>;
    type IntoFuture = Entering<Recorded>;

    fn into_future(self) -> Self::IntoFuture {
        Entering::new(self.enter())
    }
}

/// A resource that writes down what is done to it.
///
/// Its exit is told in the trace with the outcome it saw; an exit that is dropped half-way, a resource that is
/// dropped without an exit, all leave their line.
#[must_use = "dropped without its exit, it is recorded as leaked"]
pub struct Recorded {
    spec: Resource,
    id: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Entering,
    EnterFailed,
    EnterPanicked,
    Entered,
    Exiting,
    ExitPanicked,
    Ended,
}

impl Recorded {
    /// Returns the name that it was entered under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Returns the recorder that it writes to.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.spec.recorder
    }

    /// The exit, behind both traits.
    pub(crate) async fn leave(mut self, seen: Seen, fault: Option<Fault>) -> Result<(), Fault> {
        self.phase = Phase::Exiting;
        self.write_with(EventKind::Exiting(seen), fault);
        let act = self.spec.on_exit;
        let left = self.perform("exit", act, Phase::ExitPanicked).await;
        self.phase = Phase::Ended;
        self.write(if left.is_ok() { EventKind::Exited } else { EventKind::ExitFailed });
        left
    }

    /// Suspends as told; each poll is a fault point; then ends as told.
    async fn perform(&mut self, verb: &str, act: Act, panicked: Phase) -> Result<(), Fault> {
        let location = self.spec.location;
        let label = format!("{verb} {}", self.spec.name);
        let mut end = self.spec.recorder.next_fault(&label, location);
        for _ in 0..act.suspends {
            if end.is_some() {
                break;
            }
            Suspend::labelled(&label, 1, location).await;
            end = self.spec.recorder.next_fault(&label, location);
        }
        match end.or(act.end) {
            None => Ok(()),
            Some(FaultKind::Error) => Err(Fault::at(&label, location)),
            Some(FaultKind::Panic) => {
                self.phase = panicked;
                panic_quietly(label)
            }
            Some(FaultKind::Hang) => Hang::labelled(&label, location).await,
        }
    }

    fn write(&self, kind: EventKind) {
        self.write_with(kind, None);
    }

    fn write_with(&self, kind: EventKind, fault: Option<Fault>) {
        self.spec.recorder.push(kind, &self.spec.name, self.id, self.spec.location, fault);
    }
}

impl AsyncExit for Recorded {
    type Error = Fault;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Fault> {
        let seen = Seen::from(outcome);
        let fault = outcome.error::<Fault>().cloned();
        self.leave(seen, fault).await
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let cut = match self.phase {
            Phase::Entering => Some(EventKind::EnterDropped),
            Phase::EnterFailed => Some(EventKind::EnterFailed),
            Phase::EnterPanicked => Some(EventKind::EnterPanicked),
            Phase::Exiting => Some(EventKind::ExitDropped),
            Phase::ExitPanicked => Some(EventKind::ExitPanicked),
            Phase::Entered | Phase::Ended => None,
        };
        let was_entered = !matches!(self.phase, Phase::Entering | Phase::EnterFailed | Phase::EnterPanicked);
        if let Some(kind) = cut {
            self.write(kind);
        }
        if was_entered {
            self.write(EventKind::Dropped);
            if self.spec.on_drop.end == Some(FaultKind::Panic) && !thread::panicking() {
                panic_quietly(format_args!("drop {}", self.spec.name));
            }
        }
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("name", &self.spec.name)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
