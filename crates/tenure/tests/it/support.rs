//! What the tests have in common: an error that takes all others, futures dropped at a place, and a record of reports.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tenure::{DrainReport, ExitErrors, Incident, IncidentKind, NeverLent, Stopped, drain, set_report_sink};
use tenure_test::{Fault, Recorder};

/// Far beyond what any test needs; under a paused clock it costs nothing.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// The error in which all others meet.
#[derive(Debug)]
pub(crate) enum Error {
    Fault(Fault),
    Stopped(Stopped),
    NeverLent(NeverLent),
    Exits(ExitErrors<Fault>),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<NeverLent> for Error {
    fn from(never: NeverLent) -> Self {
        Self::NeverLent(never)
    }
}

impl From<ExitErrors<Fault>> for Error {
    fn from(errors: ExitErrors<Fault>) -> Self {
        Self::Exits(errors)
    }
}

impl From<ExitErrors<Self>> for Error {
    fn from(errors: ExitErrors<Self>) -> Self {
        errors.into_first().unwrap_or_else(|| Self::Fault(Fault::new("exits went wrong without an error")))
    }
}

/// Polls `future` until it has suspended this many times, then drops it there.
///
/// It has to suspend by itself, as recorded steps do; nothing else runs meanwhile.
pub(crate) async fn drop_at<F: Future>(suspension: u32, future: F) {
    let mut future = Box::pin(future);
    suspend_to(suspension, future.as_mut()).await;
    drop(future);
}

/// Polls `future` this many times; each time it has to suspend.
pub(crate) async fn suspend_to<F: Future>(suspension: u32, mut future: Pin<&mut F>) {
    poll_fn(|task| {
        for number in 0..suspension {
            assert!(future.as_mut().poll(task).is_pending(), "it ended before suspension {}", number + 1);
        }
        Poll::Ready(())
    })
    .await;
}

/// Polls `future` to its end on this thread, without any runtime. It must not wait for anything but itself.
pub(crate) fn spin<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut task = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return output;
        }
    }
    panic!("it waits for something that does not come");
}

/// What `future` returns, or the payload it panics with.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await
}

/// The text of a payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).expect("a payload of text")
}

/// Waits for all that was handed over, and insists that nothing is left.
pub(crate) async fn drained() -> DrainReport {
    let report = drain(LONG).await;
    assert!(report.open.is_empty(), "{report}");
    report
}

/// As [`drained`], where what came of the exits is looked at elsewhere.
pub(crate) async fn settled() {
    let _ = drained().await;
}

/// All incidents that are reported on this runtime from now on.
#[derive(Clone)]
pub(crate) struct Reports(Arc<Mutex<Vec<Incident>>>);

impl Reports {
    /// Takes the place of the runtime's sink.
    pub(crate) fn here() -> Self {
        let reports = Self(Arc::default());
        let sink = reports.clone();
        set_report_sink(move |incident| sink.0.lock().unwrap().push(incident.clone()));
        reports
    }

    pub(crate) fn all(&self) -> Vec<Incident> {
        self.0.lock().unwrap().clone()
    }

    /// Kind and message of each.
    #[track_caller]
    pub(crate) fn assert(&self, expected: &[(IncidentKind, &str)]) {
        let found = self.all();
        let found: Vec<_> = found.iter().map(|incident| (incident.kind, incident.message.as_str())).collect();
        assert_eq!(found, expected);
    }
}

/// Notes when it is dropped.
pub(crate) struct NoteOnDrop(pub(crate) Recorder, pub(crate) &'static str);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

/// An enter that yields `resource` at once.
pub(crate) fn entered<R>(resource: R) -> std::future::Ready<Result<R, Fault>> {
    std::future::ready(Ok(resource))
}
