//! Conformance suites: the contracts of the hub's traits, to run on your own implementations.

use std::fmt;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use tenure::{AsyncExit, Ending, IncidentKind, WithError, hold, shield, with_detailed};

use crate::{Fault, Leak, Proof, Recorder, Report, Run, panic_quietly, suspend};

/// Checks the laws of a resource on the enter and exit of a real one: connections, transactions, leases.
///
/// `enter` makes a context, a fresh one for each run. Each of them is entered in all the ways there are (`with`, a
/// shielded enter, `hold`), its body completes, fails and panics, and each such run is cut at every suspension of
/// enter, body and exit. After each run no exit may have failed, nothing may be open, and the probe set with
/// [`is_clean`](ResourceLaws::is_clean) has to find the world as it should be: no open transaction, no connection,
/// no file.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
/// use tenure::{AsyncExit, Outcome};
/// use tenure_test::laws;
///
/// struct Session(Arc<AtomicI64>);
///
/// impl AsyncExit for Session {
///     type Error = std::io::Error;
///     async fn exit(self, _: Outcome<'_>) -> std::io::Result<()> {
///         tokio::task::yield_now().await;
///         self.0.fetch_sub(1, SeqCst);
///         Ok(())
///     }
/// }
///
/// let sessions = Arc::new(AtomicI64::new(0));
/// let (to_open, to_look_at) = (sessions.clone(), sessions.clone());
/// let report = laws::resource(move || {
///     let sessions = to_open.clone();
///     async move {
///         tokio::task::yield_now().await;
///         sessions.fetch_add(1, SeqCst);
///         std::io::Result::Ok(Session(sessions))
///     }
/// })
/// .is_clean(move || {
///     let open = to_look_at.load(SeqCst);
///     async move { if open == 0 { Ok(()) } else { Err(format!("{open} sessions are open")) } }
/// })
/// .check();
/// // Of the enter, of the body, of the exit.
/// assert_eq!(report.suspensions, 3);
/// ```
///
/// Where the resource waits for sockets or for threads of its own, hand in a proof with
/// [`Proof::real_clock`]: see [`ResourceLaws::proof`].
pub fn resource<M, C, R, N>(enter: M) -> ResourceLaws<M, R>
where
    M: Fn() -> C,
    C: IntoFuture<Output = Result<R, N>>,
    R: AsyncExit,
{
    ResourceLaws { enter, body: Arc::new(|_| Box::pin(async { Ok(()) })), proof: Proof::new() }
}

type Body<R> = Arc<
    dyn for<'a> Fn(&'a mut R) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> + Send + Sync,
>;

/// The suite that [`resource`] makes.
#[must_use = "the laws are checked when `check` or `try_check` is called"]
pub struct ResourceLaws<M, R> {
    enter: M,
    body: Body<R>,
    proof: Proof,
}

impl<M, R> Debug for ResourceLaws<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceLaws").field("proof", &self.proof).finish_non_exhaustive()
    }
}

const BODY_BEGINS: &str = "the body begins";

/// The leak, with what helps if it was cut in an enter that nothing shields.
fn advised(way: Way, mut leak: Box<Leak>) -> Box<Leak> {
    let in_enter = leak.suspension().is_some_and(|at| at > 0) && !leak.trace().contains(BODY_BEGINS);
    if in_enter && !matches!(way, Way::Shielded) {
        leak.hints
            .push("it was dropped in its enter, which leaves something behind: does it need `shield`?".into());
    }
    leak
}

/// How the body of a run ends.
#[derive(Clone, Copy, Debug)]
enum BodyEnds {
    Completed,
    Failed,
    Panicked,
}

/// How the resource of a run is entered.
#[derive(Clone, Copy, Debug)]
enum Way {
    With,
    Shielded,
    Held,
}

impl<M, C, R, N> ResourceLaws<M, R>
where
    M: Fn() -> C,
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send + 'static> + Send + 'static,
    R: AsyncExit,
    N: Debug + Send + 'static,
{
    /// Sets what the body does with the resource before it ends: a query, so that there is something to roll back.
    /// Default: nothing. In every case the body suspends once, after that.
    pub fn body<B>(mut self, body: B) -> Self
    where
        B: for<'a> Fn(&'a mut R) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        self.body = Arc::new(body);
        self
    }

    /// Sets the options of the runs. Default: those of [`Proof::new`]. Its check, if it has one, gives way to that of
    /// [`is_clean`](Self::is_clean), whichever is set last.
    pub fn proof(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// Looks at the world after each run, when everything is drained. Default: only the exits' own errors are
    /// looked at.
    pub fn is_clean<P, Fut>(mut self, probe: P) -> Self
    where
        P: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.proof = self.proof.check(move |run| {
            let exits = no_exit_failed(&run);
            let probe = probe();
            async move {
                exits?;
                probe.await
            }
        });
        self
    }

    /// Checks the laws.
    ///
    /// # Panics
    /// If one is broken, with the whole report. If the enter fails, or the exit of a run that was not cut.
    #[track_caller]
    pub fn check(self) -> Report {
        match self.try_check() {
            Ok(report) => report,
            Err(leak) => panic!("the laws of a resource: {leak}"),
        }
    }

    /// Checks the laws, and returns the run that broke one.
    ///
    /// # Errors
    /// The first run that broke a law. The first line of its trace says how it was entered and how its body ends.
    ///
    /// # Panics
    /// If the enter fails, or the exit of a run that was not cut.
    pub fn try_check(mut self) -> Result<Report, Box<Leak>> {
        if !self.proof.has_check() {
            self.proof = self.proof.check(|run| std::future::ready(no_exit_failed(&run)));
        }
        let mut report = Report::default();
        for way in [Way::With, Way::Shielded, Way::Held] {
            for ends in [BodyEnds::Completed, BodyEnds::Failed, BodyEnds::Panicked] {
                let proven = self.proof.try_cancel_everywhere(|recorder| {
                    recorder.note(format!("entered by {way:?}, body {ends:?}"));
                    self.one(way, ends, recorder)
                });
                report.add(proven.map_err(|leak| advised(way, leak))?);
            }
        }
        Ok(report)
    }

    fn one(
        &self,
        way: Way,
        ends: BodyEnds,
        recorder: Recorder,
    ) -> impl Future<Output = ()> + Send + 'static + use<M, C, R, N> {
        let context = (self.enter)();
        let body = Arc::clone(&self.body);
        async move {
            let body = async |resource: &mut R| {
                recorder.note(BODY_BEGINS);
                recorder.at("the body", body(resource)).await.map_err(Fault::new)?;
                suspend(1).await;
                match ends {
                    BodyEnds::Completed => Ok(()),
                    BodyEnds::Failed => Err(Fault::new("the body fails")),
                    BodyEnds::Panicked => panic_quietly("the body panics"),
                }
            };
            let result = match way {
                Way::With => with_detailed(context, body).await,
                Way::Shielded => with_detailed(shield(context), body).await,
                Way::Held => by_hand(context, body).await,
            };
            judge(ends, result);
        }
    }
}

/// The same through the guard.
async fn by_hand<C, R, N>(
    context: C,
    body: impl AsyncFnOnce(&mut R) -> Result<(), Fault>,
) -> Result<(), WithError<N, Fault, R::Error>>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: AsyncExit,
{
    let mut held = hold(context).await.map_err(WithError::Enter)?;
    let result = body(&mut held).await;
    let ending = match &result {
        Ok(()) => Ending::Completed,
        Err(fault) => Ending::failed(fault.clone()),
    };
    let exit = held.exit(ending).await.map_err(tenure::ExitError::Failed);
    match (result, exit) {
        (Ok(()), exit) => exit.map_err(|error| WithError::Exit { value: (), error }),
        (Err(error), exit) => Err(WithError::Body { error, exit: exit.err() }),
    }
}

/// A run that was not cut has to end as its body did, and its exit has to succeed.
fn judge<N: Debug, X: Debug>(ends: BodyEnds, result: Result<(), WithError<N, Fault, X>>) {
    match (ends, result) {
        (BodyEnds::Completed, Ok(())) => {}
        (BodyEnds::Failed, Err(WithError::Body { error, exit: None }))
            if error.message() == "the body fails" => {}
        (ends, result) => panic!("the body was to end as {ends:?}, and the result is {result:?}"),
    }
}

fn no_exit_failed(run: &Run) -> Result<(), String> {
    let trace = run.trace();
    let kinds = [IncidentKind::ExitFailed, IncidentKind::ExitPanicked, IncidentKind::ExitTimedOut];
    let mut failed = kinds.into_iter().flat_map(|kind| trace.incidents(kind));
    failed.next().map_or(Ok(()), |incident| Err(incident.name().to_owned()))
}
