//! A program of the model, run for real: each context is a resource, a generator, a stack or a group of this crate.
//!
//! # Invariants
//! 1. An event is noted by the code it speaks of, in the poll or the drop in which it happens.
//! 2. Each error that is made is delivered once: it is the result of the program, or an incident, or is put aside here by
//!    code that a user would have written to do so.

use std::collections::BTreeSet;
use std::fmt;
use std::future::ready;
use std::mem;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, select_all};
use futures_util::stream::FuturesUnordered;
use tenure::{
    AsyncExit, CancelToken, Ended, ExitErrors, ExitStack, Held, NeverLent, Options, Outcome, RecoverExit,
    Stopped, Verdict, context, drain, hold, join, shield, task_group, with,
};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio::task::yield_now;

use super::check::Way;
use super::cut::{Blade, Cut};
use super::machine::state::{CodeId, Context, ContextId, Event, Form, OWNED, Op, Program, Told, Var};

/// The exit time limit of those that have one.
pub(crate) const EXIT_LIMIT: Duration = Duration::from_secs(1);
/// Longer than all limits of a program together: what is open then hangs.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What one run of a program leaves behind.
pub(crate) struct Run {
    pub(crate) program: Program,
    /// After how many suspensions each piece of code is cut that may be: by the number of its code, round and round.
    pub(crate) cuts: Vec<usize>,
    /// Whether code that fails panics.
    panics: bool,
    /// `true` if branches are polled as a set that polls only what was woken.
    unordered: bool,
    /// By number, what each context is told to stop by.
    tokens: Vec<CancelToken>,
    /// Where guards are dropped that are given away: in a task of a second runtime, or where there is none.
    pub(crate) elsewhere: Option<Handle>,
    /// Resources that were made.
    pub(crate) plain: AtomicUsize,
    lock: Arc<tokio::sync::Mutex<()>>,
    events: Mutex<Vec<Event>>,
    errors: Mutex<Errors>,
}

#[derive(Default)]
struct Errors {
    made: usize,
    undelivered: BTreeSet<usize>,
}

pub(crate) type Shared = Arc<Run>;
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The one error type: which of those that were made, or what the crate has made itself.
pub(crate) enum Failure {
    Made(usize),
    Stopped,
    Several(Vec<Failure>),
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(number) => write!(f, "<{number}>"),
            Self::Stopped => f.write_str("stopped"),
            Self::Several(all) => f.debug_list().entries(all).finish(),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<NeverLent> for Failure {
    fn from(_: NeverLent) -> Self {
        unreachable!("all generators lend")
    }
}

impl From<ExitErrors<Self>> for Failure {
    fn from(errors: ExitErrors<Self>) -> Self {
        match errors {
            ExitErrors::One(error) => error,
            ExitErrors::Several(errors) => {
                let one = |error| match error {
                    tenure::ExitError::Failed(error) => error,
                    _ => Self::Stopped,
                };
                Self::Several(errors.into_iter().map(one).collect())
            }
        }
    }
}

impl Run {
    pub(crate) fn new(program: Program, way: &Way, elsewhere: Option<Handle>) -> Shared {
        let (plain, lock, events, errors) = Default::default();
        let Way { panics, unordered, .. } = *way;
        let cuts = way.cuts.clone();
        let tokens = program.contexts.iter().map(|_| CancelToken::new()).collect();
        Arc::new(Self { program, cuts, panics, unordered, tokens, elsewhere, plain, lock, events, errors })
    }

    pub(crate) fn note(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// # Panics
    /// If the way of running says so; the hook is not told.
    fn fail(&self) -> Failure {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.made += 1;
        let number = errors.made;
        errors.undelivered.insert(number);
        if self.panics {
            drop(errors);
            resume_unwind(Box::new(format!("<{number}>")));
        }
        Failure::Made(number)
    }

    /// Somebody has seen these words, or has this error.
    pub(crate) fn deliver(&self, words: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.undelivered.retain(|number| !words.contains(&format!("<{number}>")));
    }

    pub(crate) fn undelivered(&self) -> BTreeSet<usize> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).undelivered.clone()
    }
}

pub(crate) enum Guard {
    Plain(Held<Plain>),
    Stack(Held<ExitStack<Failure>>),
}

/// Locals are dropped last to first, which a `Vec` does not do.
pub(crate) struct Locals(Vec<(Var, Guard)>);

impl Locals {
    fn take(&mut self, var: Var) -> Option<Guard> {
        let place = self.0.iter().position(|(name, _)| *name == var)?;
        Some(self.0.remove(place).1)
    }

    /// The guards that inner code uses.
    fn split(&mut self, program: &Program, code: CodeId) -> Self {
        let (taken, kept) =
            mem::take(&mut self.0).into_iter().partition(|(var, _)| program.mentions(code, *var));
        self.0 = kept;
        Self(taken)
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// A resource with guards in its fields.
pub(crate) struct Plain {
    run: Shared,
    context: ContextId,
    owned: Vec<Guard>,
    is_entered: bool,
}

impl AsyncExit for Plain {
    type Error = Failure;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Failure> {
        self.is_entered = false;
        let locals = Locals((OWNED..).zip(mem::take(&mut self.owned)).collect());
        self.run.note(Event::Begins(self.context, told(outcome)));
        exit_code(Arc::clone(&self.run), self.context, locals).await
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.is_entered {
            self.run.note(Event::Expires(self.context));
        }
    }
}

fn told(outcome: Outcome<'_>) -> Told {
    match outcome {
        Outcome::Completed => Told::Completed,
        // The model knows of no panics, which differ in what is told and to whom, not in the order.
        Outcome::Failed(_) | Outcome::Panicked(_) => Told::Failed,
        Outcome::Cancelled => Told::Cancelled,
    }
}

/// Notes an exit that is dropped before its end.
struct Watch {
    run: Shared,
    context: ContextId,
    has_ended: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let by_panic = std::thread::panicking();
        match self.has_ended {
            true => {}
            false if by_panic => self.run.note(Event::Ends(self.context)),
            false => self.run.note(Event::Expires(self.context)),
        }
    }
}

async fn exit_code(run: Shared, context: ContextId, mut locals: Locals) -> Result<(), Failure> {
    let mut watch = Watch { run: Arc::clone(&run), context, has_ended: false };
    let code = run.program.contexts[context].exit;
    let mut lock = None;
    let result = ops(&run, code, &mut locals, &mut lock).await;
    run.note(Event::Ends(context));
    watch.has_ended = true;
    result
}

fn code(run: Shared, code: CodeId, mut locals: Locals) -> Boxed<Result<(), Failure>> {
    Box::pin(async move {
        let mut lock = None;
        ops(&run, code, &mut locals, &mut lock).await
    })
}

/// The whole program. Its result is noted before its locals are dropped, which may exit on another thread at once.
pub(crate) fn root(run: &Shared) -> Boxed<Result<(), Failure>> {
    let run = Arc::clone(run);
    Box::pin(async move {
        let (mut locals, mut lock) = (Locals(Vec::new()), None);
        let result = ops(&run, 0, &mut locals, &mut lock).await;
        run.note(Event::Result(result.is_ok()));
        result
    })
}

type Lock = Option<OwnedMutexGuard<()>>;

async fn ops(run: &Shared, id: CodeId, locals: &mut Locals, lock: &mut Lock) -> Result<(), Failure> {
    for op in &run.program.codes[id] {
        match op {
            Op::Step => yield_now().await,
            Op::Hang => std::future::pending().await,
            Op::Fail => return Err(run.fail()),
            Op::Lock => *lock = Some(Arc::clone(&run.lock).lock_owned().await),
            Op::Unlock => *lock = None,
            Op::Drain => drop(drain(FOR_EVER).await),
            Op::Hold(var, context) => locals.0.push((*var, held(run, *context, Vec::new()).await?)),
            Op::Own(var, context, inner) => {
                let owned = inner.iter().filter_map(|var| locals.take(*var)).collect();
                let guard = held(run, *context, owned).await?;
                locals.0.push((*var, guard));
            }
            Op::Drop(var) => drop(locals.take(*var)),
            Op::Close(var) => close(locals.take(*var)).await?,
            Op::Give(var) => give(run, locals.take(*var)),
            Op::Ask(context) => run.tokens[*context].cancel(),
            Op::With(..) | Op::Group(..) => within(run, op, locals).await?,
            Op::Join(branches) => {
                let branch =
                    |id: &CodeId| in_hand(run, code(Arc::clone(run), *id, locals.split(&run.program, *id)));
                let branches: Vec<_> = branches.iter().map(branch).collect();
                let results = match run.unordered {
                    false => join_all(branches).await,
                    true => branches.into_iter().collect::<FuturesUnordered<_>>().collect().await,
                };
                both(run, results)?;
            }
            Op::Select(branches) => {
                let branch = |id: &CodeId| code(Arc::clone(run), *id, locals.split(&run.program, *id));
                let branches: Vec<_> = branches.iter().map(branch).collect();
                let (result, _, rest) = select_all(branches).await;
                drop(rest);
                result?;
            }
            Op::Cut(inner) => {
                let after = run.cuts[*inner % run.cuts.len()];
                let inner = code(Arc::clone(run), *inner, locals.split(&run.program, *inner));
                let cut = Cut { inner: Some(inner), left: Some(after), blade: Blade::Drop, noted: None };
                cut.await.unwrap_or(Ok(()))?;
            }
            Op::Park(_) | Op::WaitGone(_) => unreachable!("not in the vocabulary"),
        }
    }
    Ok(())
}

/// The failure of a branch that has ended, in the hands of the `join!`. Dropped along with the others, it is put aside.
struct InHand {
    run: Arc<Run>,
    failure: Option<Failure>,
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(failure) = &self.failure {
            self.run.deliver(&format!("{failure:?}"));
        }
    }
}

fn in_hand(run: &Arc<Run>, branch: impl Future<Output = Result<(), Failure>>) -> impl Future<Output = InHand> {
    let run = Arc::clone(run);
    async move { InHand { failure: branch.await.err(), run } }
}

/// The first failure; the second is put aside, as `join!` and `?` do.
fn both(run: &Run, results: Vec<InHand>) -> Result<(), Failure> {
    let mut failures = results.into_iter().filter_map(|mut branch| branch.failure.take());
    let first = failures.next();
    failures.for_each(|failure| run.deliver(&format!("{failure:?}")));
    first.map_or(Ok(()), Err)
}

async fn close(guard: Option<Guard>) -> Result<(), Failure> {
    match guard {
        Some(Guard::Plain(guard)) => guard.exit_with(Ok::<(), Failure>(())).await,
        Some(Guard::Stack(guard)) => guard.exit_with(Ok::<(), Failure>(())).await,
        None => Ok(()),
    }
}

/// To a place without a frame: of no runtime, or of another one, which lives on.
fn give(run: &Run, guard: Option<Guard>) {
    std::thread::scope(|threads| {
        threads.spawn(|| match &run.elsewhere {
            Some(runtime) => runtime.block_on(async { drop(guard) }),
            None => drop(guard),
        });
    });
}

/// A resource whose exit recovers from the body's error, which it puts aside.
struct Recovering(Plain);

impl RecoverExit for Recovering {
    type Error = Failure;

    async fn exit(self, outcome: Outcome<'_>) -> Result<Verdict, Failure> {
        let run = Arc::clone(&self.0.run);
        let failure = format!("{:?}", outcome.error::<Failure>());
        AsyncExit::exit(self.0, outcome).await?;
        run.deliver(&failure);
        Ok(Verdict::Recover)
    }
}

fn plain(run: &Shared, context: ContextId, owned: Vec<Guard>) -> Plain {
    run.plain.fetch_add(1, Ordering::Relaxed);
    Plain { run: Arc::clone(run), context, owned, is_entered: true }
}

fn options(run: &Run, context: ContextId) -> Options {
    let Context { limited, stoppable, .. } = run.program.contexts[context];
    let mut options = Options::new();
    if limited {
        options = options.exit_limit(EXIT_LIMIT);
    }
    if stoppable {
        options = options.cancel_on(&run.tokens[context]);
    }
    options
}

async fn held(run: &Shared, context: ContextId, owned: Vec<Guard>) -> Result<Guard, Failure> {
    Ok(match &run.program.contexts[context].form {
        Form::Stack(entries) => {
            let stack = stack(run, entries).await?;
            Guard::Stack(hold(ready(Ok::<_, Failure>(stack))).await?)
        }
        _ => {
            let resource = plain(run, context, owned);
            Guard::Plain(options(run, context).hold(ready(Ok::<_, Failure>(resource))).await?)
        }
    })
}

/// A stack with all its entries on it, the inner stacks too.
fn stack(run: &Shared, entries: &[ContextId]) -> Boxed<Result<ExitStack<Failure>, Failure>> {
    let (run, entries) = (Arc::clone(run), entries.to_vec());
    Box::pin(async move {
        let stack = ExitStack::new();
        for entry in entries {
            match &run.program.contexts[entry].form {
                Form::Stack(inner) => {
                    let inner = self::stack(&run, inner).await?;
                    stack.push(inner);
                }
                Form::Generator(inner) => {
                    stack.enter(generator(&run, entry, inner.clone())).await?;
                }
                Form::Plain | Form::Join(_) | Form::Group => {
                    stack.push(plain(&run, entry, Vec::new()));
                }
            }
        }
        Ok(stack)
    })
}

/// A function that holds guards in locals, lends, and then runs the exit.
fn generator(
    run: &Shared,
    id: ContextId,
    inner: Vec<ContextId>,
) -> Boxed<Result<tenure::Lent<(), Failure>, Failure>> {
    let run = Arc::clone(run);
    Box::pin(context(async move |lender: tenure::Lender<()>| {
        let mut locals = Locals(Vec::new());
        for (var, inner) in (OWNED..).zip(inner) {
            locals.0.push((var, held(&run, inner, Vec::new()).await?));
        }
        let back = lender.lend(()).await;
        let told = match back.ended {
            Ended::Completed => Told::Completed,
            Ended::Failed | Ended::Panicked(_) => Told::Failed,
            _ => Told::Cancelled,
        };
        run.note(Event::Begins(id, told));
        exit_code(run, id, locals).await
    }))
}

async fn within(run: &Shared, op: &Op, locals: &mut Locals) -> Result<(), Failure> {
    let (Op::With(id, body) | Op::Group(id, body, _)) = op else { unreachable!("a `with`, or a group") };
    let children = if let Op::Group(_, _, children) = op { &children[..] } else { &[] };
    let child = |id: &CodeId| code(Arc::clone(run), *id, locals.split(&run.program, *id));
    let children: Vec<_> = children.iter().map(child).collect();
    let context = &run.program.contexts[*id];
    let body = code(Arc::clone(run), *body, locals.split(&run.program, *body));
    match &context.form {
        Form::Group => {
            with(task_group::<Failure>(), async move |group| {
                for child in children {
                    group.spawn(child);
                }
                body.await
            })
            .await
        }
        Form::Stack(entries) => with(stack(run, entries), async move |_| body.await).await,
        Form::Generator(inner) => with(generator(run, *id, inner.clone()), async move |_| body.await).await,
        Form::Join(parts) => {
            let part = |part: &ContextId| ready(Ok::<_, Failure>(plain(run, *part, Vec::new())));
            with(join(parts.iter().map(part).collect::<Vec<_>>()), async move |_| body.await).await
        }
        Form::Plain if context.recovers => {
            let resource = ready(Ok::<_, Failure>(Recovering(plain(run, *id, Vec::new()))));
            options(run, *id).with_recovering(resource, async move |_| body.await).await.map(drop)
        }
        Form::Plain if context.shielded > 0 => {
            let options = options(run, *id);
            let (steps, run, id) = (context.shielded, Arc::clone(run), *id);
            let enter = async move {
                for _ in 0..steps {
                    yield_now().await;
                }
                Ok::<_, Failure>(plain(&run, id, Vec::new()))
            };
            options.with(shield(enter), async move |_| body.await).await
        }
        Form::Plain => {
            let (entering, id) = (Arc::clone(run), *id);
            let enter = async move { Ok::<_, Failure>(plain(&entering, id, Vec::new())) };
            options(run, id).with(enter, async move |_| body.await).await
        }
    }
}
