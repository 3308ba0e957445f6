//! Ready-made resources: for types one does not own, for values whose `Drop` is all, for nothing at all.

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::exit::StopBody;
use crate::{AsyncExit, Outcome};

/// Makes a context of an enter and a function that closes what it yields: Python's `contextlib.aclosing`, for any
/// type.
///
/// ```
/// use tenure::{closing, with};
/// use tokio::io::{AsyncWriteExt as _, BufWriter};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
///
/// async fn open() -> std::io::Result<BufWriter<Vec<u8>>> {
///     Ok(BufWriter::new(Vec::new()))
/// }
///
/// let file = closing(open(), async |mut file| file.flush().await);
/// with(file, async |file| file.write_all(b"never lost").await).await?;
/// # Ok(()) }
/// ```
///
/// For an exit that depends on how the body ended, use [`closing_with_outcome`]; for a value that is there already,
/// [`Closing::of`].
///
/// # Errors
/// The enter's.
///
/// # Cancel safety
/// Dropped, the enter is dropped where it stands.
pub async fn closing<C, R, N, F, X, Fut>(
    context: C,
    close: F,
) -> Result<Closing<R, impl ExitFn<R, Error = X>>, N>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: Send + 'static,
    F: FnOnce(R) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), X>> + Send,
    X: fmt::Debug + Send + 'static,
{
    Ok(Closing::of(context.into_future().await?, close))
}

/// Makes a context of an enter and a function that closes what it yields, told how the body ended.
///
/// The function returns a boxed future, since what it returns borrows the outcome.
///
/// ```
/// use tenure::{closing_with_outcome, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
///
/// async fn begin() -> Result<Vec<&'static str>, String> {
///     Ok(vec!["BEGIN"])
/// }
///
/// let transaction = closing_with_outcome(begin(), |statements, outcome| {
///     Box::pin(async move {
///         let last = if outcome.is_completed() { "COMMIT" } else { "ROLLBACK" };
///         Err(format!("{statements:?} {last}"))
///     })
/// });
/// let result = with(transaction, async |_| Ok::<_, String>(())).await;
/// assert_eq!(result.unwrap_err(), r#"["BEGIN"] COMMIT"#);
/// # }
/// ```
///
/// # Errors
/// The enter's.
///
/// # Cancel safety
/// Dropped, the enter is dropped where it stands.
pub async fn closing_with_outcome<C, R, N, F, X>(
    context: C,
    close: F,
) -> Result<Closing<R, impl ExitFn<R, Error = X>>, N>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: Send + 'static,
    F: for<'o> FnOnce(R, Outcome<'o>) -> ExitFuture<'o, X> + Send + 'static,
    X: fmt::Debug + Send + 'static,
{
    let resource = context.into_future().await?;
    Ok(Closing { resource, close: Told(close) })
}

/// Makes a context of an enter and two functions: one that commits what it yields after a body that completed, and one
/// that rolls it back after any other.
///
/// ```
/// use tenure::{committing, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
///
/// async fn begin() -> Result<Vec<&'static str>, String> {
///     Ok(vec!["BEGIN"])
/// }
///
/// let transaction = committing(
///     begin(),
///     async |statements: Vec<_>| Err(format!("{statements:?} COMMIT")),
///     async |statements: Vec<_>| Err(format!("{statements:?} ROLLBACK")),
/// );
/// let result = with(transaction, async |_| Ok::<_, String>(())).await;
/// assert_eq!(result.unwrap_err(), r#"["BEGIN"] COMMIT"#);
/// # }
/// ```
///
/// For an exit that has to tell an error from a panic or a cancellation, use [`closing_with_outcome`].
///
/// # Guarantees
/// One of the two is called, once. A commit that fails, panics or runs out of time is not followed by a rollback: whether
/// it took place is not known. If the caller is gone before the exit begins, it is the rollback (law 21).
///
/// # Errors
/// The enter's.
///
/// # Cancel safety
/// Dropped, the enter is dropped where it stands. Put an enter that begins something on the other side of a wire into
/// [`shield`](crate::shield()): `shield(committing(…))`.
pub async fn committing<Ctx, R, N, C, B, X, CommitFut, RollBackFut>(
    context: Ctx,
    commit: C,
    roll_back: B,
) -> Result<Closing<R, impl ExitFn<R, Error = X>>, N>
where
    Ctx: IntoFuture<Output = Result<R, N>>,
    R: Send + 'static,
    C: FnOnce(R) -> CommitFut + Send + 'static,
    CommitFut: Future<Output = Result<(), X>> + Send,
    B: FnOnce(R) -> RollBackFut + Send + 'static,
    RollBackFut: Future<Output = Result<(), X>> + Send,
    X: fmt::Debug + Send + 'static,
{
    let resource = context.into_future().await?;
    Ok(Closing { resource, close: Committing { commit, roll_back } })
}

impl Closing<(), ()> {
    /// Makes a resource of a value and a function that closes it: to [`push`](crate::ExitStack::push) on a stack.
    pub fn of<R, F, X, Fut>(resource: R, close: F) -> Closing<R, impl ExitFn<R, Error = X>>
    where
        R: Send + 'static,
        F: FnOnce(R) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), X>> + Send,
        X: fmt::Debug + Send + 'static,
    {
        Closing { resource, close: Blind(close) }
    }
}

/// The boxed future of an exit that is told the outcome.
pub type ExitFuture<'o, X> = std::pin::Pin<Box<dyn Future<Output = Result<(), X>> + Send + 'o>>;

/// A value with a function that closes it; it derefs to the value. Made by [`closing`],
/// [`closing_with_outcome`] and [`committing`].
#[must_use = "the value is closed only as a resource of a tenure"]
pub struct Closing<R, F> {
    resource: R,
    close: F,
}

/// Function that closes a value. Implemented by what [`closing`] makes of a function.
pub trait ExitFn<R>: Send + 'static + sealed::Sealed {
    /// What it fails with.
    type Error: fmt::Debug + Send + 'static;

    /// Closes the value.
    fn exit(self, resource: R, outcome: Outcome<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

mod sealed {
    pub trait Sealed {}
    impl<F> Sealed for super::Blind<F> {}
    impl<F> Sealed for super::Told<F> {}
    impl<C, B> Sealed for super::Committing<C, B> {}
}

struct Blind<F>(F);
struct Told<F>(F);
struct Committing<C, B> {
    commit: C,
    roll_back: B,
}

impl<R, F, Fut, X> ExitFn<R> for Blind<F>
where
    F: FnOnce(R) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), X>> + Send,
    X: fmt::Debug + Send + 'static,
{
    type Error = X;

    fn exit(self, resource: R, _: Outcome<'_>) -> impl Future<Output = Result<(), X>> + Send {
        (self.0)(resource)
    }
}

impl<R, C, B, X, CommitFut, RollBackFut> ExitFn<R> for Committing<C, B>
where
    R: Send + 'static,
    C: FnOnce(R) -> CommitFut + Send + 'static,
    CommitFut: Future<Output = Result<(), X>> + Send,
    B: FnOnce(R) -> RollBackFut + Send + 'static,
    RollBackFut: Future<Output = Result<(), X>> + Send,
    X: fmt::Debug + Send + 'static,
{
    type Error = X;

    async fn exit(self, resource: R, outcome: Outcome<'_>) -> Result<(), X> {
        let Self { commit, roll_back } = self;
        if outcome.is_completed() { commit(resource).await } else { roll_back(resource).await }
    }
}

impl<R, F, X> ExitFn<R> for Told<F>
where
    F: for<'o> FnOnce(R, Outcome<'o>) -> ExitFuture<'o, X> + Send + 'static,
    X: fmt::Debug + Send + 'static,
{
    type Error = X;

    fn exit(self, resource: R, outcome: Outcome<'_>) -> impl Future<Output = Result<(), X>> + Send {
        (self.0)(resource, outcome)
    }
}

impl<R: Send + 'static, F: ExitFn<R>> AsyncExit for Closing<R, F> {
    type Error = F::Error;

    fn exit(self, outcome: Outcome<'_>) -> impl Future<Output = Result<(), F::Error>> + Send {
        let Self { resource, close } = self;
        // The call itself is part of the exit: should it panic, that is the exit's panic.
        async move { close.exit(resource, outcome).await }
    }
}

impl<R, F> Deref for Closing<R, F> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.resource
    }
}

impl<R, F> DerefMut for Closing<R, F> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.resource
    }
}

impl<R: fmt::Debug, F> fmt::Debug for Closing<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closing").field(&self.resource).finish()
    }
}

/// Makes a context of an enter that yields a value whose `Drop` is all the exit it needs: a file, a permit, the guard
/// of a lock.
///
/// The value is dropped when its turn comes, in order with the asynchronous exits around it.
///
/// ```
/// use tenure::{released, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tokio::sync::AcquireError> {
/// let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
/// let permit = released(std::sync::Arc::clone(&permits).acquire_owned());
/// with(permit, async |_| Ok::<_, tokio::sync::AcquireError>(assert_eq!(permits.available_permits(), 0))).await?;
/// assert_eq!(permits.available_permits(), 1);
/// # Ok(()) }
/// ```
///
/// # Errors
/// The enter's.
///
/// # Cancel safety
/// Dropped, the enter is dropped where it stands.
pub async fn released<C, R, N>(context: C) -> Result<Released<R, N>, N>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: Send + 'static,
    N: fmt::Debug + Send + 'static,
{
    Ok(Released::of(context.into_future().await?))
}

/// A value whose exit is its `Drop`; it derefs to the value. Made by [`released`].
#[must_use = "the value is dropped at once"]
pub struct Released<R, X> {
    resource: R,
    error: PhantomData<fn() -> X>,
}

impl<R: Send + 'static, X: fmt::Debug + Send + 'static> Released<R, X> {
    /// Makes a resource of a value that is there already.
    pub fn of(resource: R) -> Self {
        Self { resource, error: PhantomData }
    }
}

impl<R: Send + 'static, X: fmt::Debug + Send + 'static> AsyncExit for Released<R, X> {
    type Error = X;

    fn exit(self, _: Outcome<'_>) -> impl Future<Output = Result<(), X>> + Send {
        drop(self.resource);
        ready(Ok(()))
    }
}

impl<R, X> Deref for Released<R, X> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.resource
    }
}

impl<R, X> DerefMut for Released<R, X> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.resource
    }
}

impl<R: fmt::Debug, X> fmt::Debug for Released<R, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Released").field(&self.resource).finish()
    }
}

/// The null context: nothing was entered, nothing is exited.
impl<R: AsyncExit> AsyncExit for Option<R> {
    type Error = R::Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), R::Error> {
        match self {
            Some(resource) => resource.exit(outcome).await,
            None => Ok(()),
        }
    }

    fn stop_body(&self) -> Option<StopBody> {
        self.as_ref().and_then(AsyncExit::stop_body)
    }
}

/// Makes a context of a resource that is there already.
///
/// ```
/// use tenure::{Closing, entered, with};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::fmt::Error> {
/// let socket = Closing::of(7, async |_socket| Ok::<_, std::fmt::Error>(()));
/// let port = with(entered(socket), async |socket| Ok::<_, std::fmt::Error>(**socket)).await?;
/// assert_eq!(port, 7);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Never fails; the error type exists so that `with` can infer it.
pub fn entered<R: AsyncExit>(resource: R) -> Ready<Result<R, R::Error>> {
    ready(Ok(resource))
}
