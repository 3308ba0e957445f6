//! The course of a run inside its runtime: the main body, then the exits of all that is held.
//!
//! # Invariants
//! 1. One deadline: it is set where the stop begins (at the signal, the request, or the end of the body), and what
//!    comes later has what is left of it. A cooperative body has a part of it.
//! 2. Foreign code (the body, its call, its result, its drop, the requests to stop) runs inside of a catch: whatever
//!    panics, the exits follow, and the first panic is the run's.
//! 3. A body is not polled after the request that was there before its first poll (law 9).

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::process::{ExitCode, Termination};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time;

use super::Settings;
use super::end::{Registration, Stage};
use super::held::released;
use super::tell::tell;
use super::verdict::Ran;
use crate::fault::Payload;
use crate::registry::{SetDeadline, current};
use crate::{CancelToken, counters};

/// The part of its time that a stop keeps for the runtime's shutdown and the last lines: one tenth, but no more than
/// this.
const RESERVE_MAX: Duration = Duration::from_secs(1);

/// How a body is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It is dropped.
    Drop,
    /// Its token is cancelled; then it is awaited, for its part of the time.
    Tell,
}

/// What asks a run to stop, besides signals.
pub(super) type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a body, or the part of it that was awaited, ended.
type Ended = Result<ExitCode, Payload>;

/// Runs the body and the exits.
pub(super) async fn course<B, F>(
    settings: Settings,
    requests: Vec<Request>,
    manner: Manner,
    end: &Registration,
    body: B,
) -> Ran
where
    B: FnOnce(CancelToken) -> F,
    F: Future<Output: Termination>,
{
    let token = CancelToken::new();
    let told = token.clone();
    // The call is a part of the body.
    let mut body = pin!(Some(Caught { body: async move { body(told).await } }));
    let mut stop = Stop { end, requests };
    let (begun, first) = body_or_stop(body.as_mut(), &mut stop).await;
    let asked = end.asked();
    let left =
        asked.map_or(settings.exit_timeout, |asked| settings.exit_timeout.saturating_sub(asked.at.elapsed()));
    let (began, began_paused) = (Instant::now(), time::Instant::now());
    let reserve = (settings.exit_timeout / 10).min(RESERVE_MAX);
    let exits_end = began_paused + left.saturating_sub(reserve);
    // Exits with limits of their own go by it, those inside a cooperative body included.
    let _deadline = SetDeadline::new(current(), exits_end);
    let ended = match first {
        None if begun && manner == Manner::Tell => {
            token.cancel();
            // What is left of the body's part, where the signal came some time ago.
            let part = left.saturating_sub(settings.exit_timeout.saturating_sub(settings.body_timeout()));
            time::timeout(part, poll_fn(|context| poll_body(body.as_mut(), context))).await.ok()
        }
        first => first,
    };
    if let (Some(Ok(code)), None) = (&ended, asked) {
        tell_what_did_not_start(*code);
    }
    let before = counters();
    let ended = settle(ended, catch_unwind(AssertUnwindSafe(|| body.set(None))));
    let ended = settle(ended, catch_unwind(AssertUnwindSafe(|| drop(stop))));
    end.set_stage(Stage::Exits);
    let (report, held) = released(end.outside(), exits_end).await;
    Ran { settings, ended, deadline: began + left, before, report, held }
}

/// Polls the body until it ends (`Some`) or is asked to stop. Returns whether it has begun, too.
async fn body_or_stop<F>(mut body: Pin<&mut Option<Caught<F>>>, stop: &mut Stop<'_>) -> (bool, Option<Ended>)
where
    F: Future<Output: Termination>,
{
    let mut asked = pin!(stop.end.wait_until_asked());
    let requests = &mut stop.requests;
    let mut begun = false;
    poll_fn(|context| {
        let mut stopped = |context: &mut Context<'_>| match asked.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => poll_requests(requests, context),
        };
        if !begun && let Poll::Ready(ended) = stopped(context) {
            return Poll::Ready((begun, ended));
        }
        begun = true;
        // The body first: if it ends in this poll, its result wins (law 14).
        match poll_body(body.as_mut(), context) {
            Poll::Ready(ended) => Poll::Ready((begun, Some(ended))),
            Poll::Pending => stopped(context).map(|ended| (begun, ended)),
        }
    })
    .await
}

fn poll_body<F>(body: Pin<&mut Option<Caught<F>>>, context: &mut Context<'_>) -> Poll<Ended>
where
    F: Future<Output: Termination>,
{
    match body.as_pin_mut() {
        Some(body) => body.poll(context),
        None => unreachable!("the body is dropped after its last poll"),
    }
}

/// Ready with `None` when a request is made, with a panic if one panics.
fn poll_requests(requests: &mut [Request], context: &mut Context<'_>) -> Poll<Option<Ended>> {
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // Out of the task's budget, which the body may have used up.
        let mut polled = requests.iter_mut().map(|request| pin!(unconstrained(request)).poll(context));
        polled.any(|polled| polled.is_ready())
    }));
    match polled {
        Ok(true) => Poll::Ready(None),
        Ok(false) => Poll::Pending,
        Err(payload) => Poll::Ready(Some(Err(payload))),
    }
}

/// What the run has come to, after something of it was dropped: the first panic is the run's.
fn settle(ended: Option<Ended>, dropped: Result<(), Payload>) -> Option<Ended> {
    match (ended, dropped) {
        (ended, Ok(())) => ended,
        (Some(Err(first)), Err(second)) => {
            // Its message was printed as it panicked. It is leaked, for its drop could panic again.
            Box::leak(second);
            Some(Err(first))
        }
        (_, Err(payload)) => Some(Err(payload)),
    }
}

/// Names the tenure whose enter failed last, if the body has failed and nothing was entered since: the error of a
/// listener or a connection seldom says whose it is.
fn tell_what_did_not_start(code: ExitCode) {
    if code != ExitCode::SUCCESS
        && let Some(label) = current().last_failed_enter()
    {
        tell(format_args!("it did not start: {}, entered at {}", label.name, label.location));
    }
}

/// What asks a body to stop.
struct Stop<'r> {
    end: &'r Registration,
    requests: Vec<Request>,
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
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let body = self.project().body;
        match catch_unwind(AssertUnwindSafe(|| body.poll(context).map(Termination::report))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}
