//! The context's side: poll the function until it has lent, give the value back, poll it to its end.

use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use super::lender::{Exchange, Lender, NeverLent};
use crate::{AsyncExit, Outcome, RecoverExit, Verdict};

/// Makes a context of one function: what stands before the lend is the enter, what stands behind it the exit.
///
/// Python's `@asynccontextmanager`, with `lender.lend(value).await` for `yield value`. The function gets the value back
/// with the way the body ended; what it returns is the exit's result. `#[tenure::context]` writes this for a whole
/// function. Where enter and exit share no local state, an [`AsyncExit`] says the same more plainly.
///
/// ```
/// use tenure::{Ended, NeverLent, context, with};
///
/// # struct Connection(Vec<&'static str>);
/// # impl Connection { async fn send(&mut self, s: &'static str) -> Result<(), Error> { self.0.push(s); Ok(()) } }
/// # async fn connect() -> Result<Connection, Error> { Ok(Connection(vec![])) }
/// type Error = Box<dyn std::error::Error + Send + Sync>;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let transaction = context(async |lender| {
///     let mut connection = connect().await?;
///     connection.send("BEGIN").await?;
///     let mut back = lender.lend(connection).await;
///     match back.ended {
///         Ended::Completed => back.value.send("COMMIT").await,
///         _ => back.value.send("ROLLBACK").await,
///     }
/// });
/// let rows = with(transaction, async |connection| {
///     connection.send("INSERT …").await?;
///     Ok::<_, Error>(1)
/// })
/// .await?;
/// assert_eq!(rows, 1);
/// # Ok(()) }
/// ```
///
/// # Guarantees
/// After the lend, the function runs to its end whatever happens to the caller, as any exit (laws 29, 30). A value is
/// lent once: to lend twice does not compile (law 28). Each call makes a fresh context (law 31).
///
/// # Errors
/// What the function returns before the lend is the enter's error; behind it, the exit's. A function that returns `Ok`
/// without having lent fails the enter with [`NeverLent`].
///
/// # Cancel safety
/// Dropped before the lend, the function is dropped where it stands; [`shield`](crate::shield) it to have it finished.
/// After the lend, the function is resumed with [`Cancelled`](super::Ended::Cancelled) and runs to its end in the
/// background.
pub async fn context<T, X, F, Fut>(function: F) -> Result<Lent<T, X>, X>
where
    F: FnOnce(Lender<T>) -> Fut,
    Fut: Future<Output = Result<(), X>> + Send + 'static,
    T: Send + 'static,
    X: From<NeverLent> + fmt::Debug + Send + 'static,
{
    Ok(Lent { generator: Generator::enter(function).await? })
}

/// Makes a context of one function that may recover from the body's error: it returns a [`Verdict`].
///
/// Enter it with [`with_recovering`](crate::with_recovering).
///
/// ```
/// # use tenure::{NeverLent, Verdict, context_recovering, with_recovering};
/// # type Error = Box<dyn std::error::Error + Send + Sync>;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let forgiving = context_recovering(async |lender| {
///     lender.lend(1).await;
///     Ok::<_, Error>(Verdict::Recover)
/// });
/// let value = with_recovering(forgiving, async |_| Err::<i32, Error>("forgiven".into())).await?;
/// assert_eq!(value, None);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`context`].
///
/// # Cancel safety
/// As [`context`].
pub async fn context_recovering<T, X, F, Fut>(function: F) -> Result<LentRecovering<T, X>, X>
where
    F: FnOnce(Lender<T>) -> Fut,
    Fut: Future<Output = Result<Verdict, X>> + Send + 'static,
    T: Send + 'static,
    X: From<NeverLent> + fmt::Debug + Send + 'static,
{
    Ok(LentRecovering { generator: Generator::enter(function).await? })
}

/// The value that a [`context`] has lent; it derefs to it.
pub struct Lent<T, X> {
    generator: Generator<T, X, ()>,
}

/// The value that a [`context_recovering`] has lent; it derefs to it.
pub struct LentRecovering<T, X> {
    generator: Generator<T, X, Verdict>,
}

type Function<V, X> = Pin<Box<dyn Future<Output = Result<V, X>> + Send>>;

/// A function that has lent its value and waits for it to come back.
struct Generator<T, X, V> {
    value: T,
    rest: Rest<X, V>,
    exchange: Arc<Exchange<T>>,
}

enum Rest<X, V> {
    // The lock is never taken: it makes what is lent `Sync`, though the function is only `Send`.
    Suspended(Mutex<Function<V, X>>),
    /// It gave up waiting for the value and returned this.
    Returned(V),
}

impl<T, X, V> Generator<T, X, V>
where
    T: Send + 'static,
    X: From<NeverLent>,
{
    /// Polls the function until it has lent.
    async fn enter<F, Fut>(function: F) -> Result<Self, X>
    where
        F: FnOnce(Lender<T>) -> Fut,
        Fut: Future<Output = Result<V, X>> + Send + 'static,
    {
        let exchange = Exchange::new();
        let lender = Lender { exchange: Arc::clone(&exchange) };
        let mut function: Function<V, X> = Box::pin(function(lender));
        let mut returned = None;
        let value = poll_fn(|task| {
            match function.as_mut().poll(task) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(verdict)) => returned = Some(verdict),
                Poll::Pending => {}
            }
            match (exchange.borrow(), &returned) {
                (Some(value), _) => Poll::Ready(Ok(value)),
                (None, None) => Poll::Pending,
                (None, Some(_)) => Poll::Ready(Err(NeverLent.into())),
            }
        })
        .await?;
        let rest = returned.map_or_else(|| Rest::Suspended(Mutex::new(function)), Rest::Returned);
        Ok(Self { value, rest, exchange })
    }
}

impl<T, X, V> Generator<T, X, V> {
    /// Gives the value back and polls the function to its end.
    async fn exit(self, outcome: Outcome<'_>) -> Result<V, X> {
        let Self { value, rest, exchange } = self;
        let mut function = match rest {
            Rest::Suspended(function) => function.into_inner().unwrap_or_else(PoisonError::into_inner),
            Rest::Returned(returned) => return Ok(returned),
        };
        let mut returned = Some(value);
        poll_fn(|task| {
            if let Some(value) = returned.take() {
                exchange.give_back(value, outcome.into(), task);
            }
            loop {
                let polled = function.as_mut().poll(task);
                // It may have asked to look at the outcome, and goes on when it has.
                if polled.is_ready() || !exchange.show(outcome, task) {
                    return polled;
                }
            }
        })
        .await
    }
}

impl<T, X> AsyncExit for Lent<T, X>
where
    T: Send + 'static,
    X: fmt::Debug + Send + 'static,
{
    type Error = X;

    fn exit(self, outcome: Outcome<'_>) -> impl Future<Output = Result<(), X>> + Send {
        self.generator.exit(outcome)
    }
}

impl<T, X> RecoverExit for LentRecovering<T, X>
where
    T: Send + 'static,
    X: fmt::Debug + Send + 'static,
{
    type Error = X;

    fn exit(self, outcome: Outcome<'_>) -> impl Future<Output = Result<Verdict, X>> + Send {
        self.generator.exit(outcome)
    }
}

impl<T, X> Deref for Lent<T, X> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.generator.value
    }
}

impl<T, X> DerefMut for Lent<T, X> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.generator.value
    }
}

impl<T, X> Deref for LentRecovering<T, X> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.generator.value
    }
}

impl<T, X> DerefMut for LentRecovering<T, X> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.generator.value
    }
}

impl<T: fmt::Debug, X> fmt::Debug for Lent<T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.generator.value).finish()
    }
}

impl<T: fmt::Debug, X> fmt::Debug for LentRecovering<T, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LentRecovering").field(&self.generator.value).finish()
    }
}
