//! `with`: one result, the body's or the exit's.

use std::any::type_name;
use std::fmt::Debug;
use std::panic::{Location, resume_unwind};

use super::body::Ended;
use super::body_fn::BodyFn;
use super::core::{Course, run};
use super::leave::Plain;
use super::stop::{Never, Stopped};
use crate::AsyncExit;
use crate::fault::Fault;
use crate::label::Label;
use crate::registry::{IncidentKind, current};

/// Enters `context`, runs `body` with the resource, and exits: Python's `async with`.
///
/// The context is any future that yields a resource, the resource any type with an [`AsyncExit`]. The body borrows
/// its surroundings; the whole can be spawned. Inside, `?` returns from the body, after which the exit runs.
///
/// For several resources nest, [`join`](crate::join) them, or use an [`ExitStack`](crate::ExitStack) if their number
/// is known only at run time. For a guard that is not tied to a block: [`hold`](crate::hold). For time limits and
/// tokens: [`Options`](crate::Options). For both errors when body and exit fail: [`with_detailed`](crate::with_detailed).
///
/// ```
/// use tenure::{AsyncExit, Outcome, with};
/// # #[derive(Default)] struct Account { balance: i64, committed: bool }
/// # type Error = Box<dyn std::error::Error + Send + Sync>;
/// struct Transaction { sum: i64 }
///
/// impl AsyncExit for Transaction {
///     type Error = Error;
///     async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
///         // COMMIT or ROLLBACK, awaited
///         # let _ = outcome;
///         Ok(())
///     }
/// }
///
/// async fn begin() -> Result<Transaction, Error> {
///     Ok(Transaction { sum: 0 })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let mut transfers = vec![];
/// let sum = with(begin(), async |transaction| {
///     transaction.sum += 5;
///     transfers.push("five");
///     Ok::<_, Error>(transaction.sum)
/// })
/// .await?;
/// assert_eq!((sum, transfers.len()), (5, 1));
/// # Ok(()) }
/// ```
///
/// # Recursion, depth and size
/// A function that enters itself again needs a box, as every recursive future, and a return type that says `Send`, which
/// the compiler cannot find out for an `async fn` that contains itself:
///
/// ```
/// use std::io::Error;
/// use tenure::{released, with};
///
/// fn sum_to(depth: u32) -> impl Future<Output = Result<u32, Error>> + Send {
///     async move {
///         if depth == 0 {
///             return Ok(0);
///         }
///         let level = released(async move { Ok::<_, Error>(depth) });
///         with(level, async |level| Ok::<_, Error>(**level + Box::pin(sum_to(depth - 1)).await?)).await
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(tokio::spawn(sum_to(4)).await.unwrap().unwrap(), 10);
/// # }
/// ```
///
/// A nest of `with`s is polled, and dropped, by nested calls. A level takes about 2 KiB of the thread's stack, without
/// optimisation about 7 KiB: in 2 MiB the function above goes some 280 levels deep in a debug build. Where the depth is
/// known only at run time use an [`ExitStack`](crate::ExitStack), which closes in a loop.
///
/// The resource lies in the future of the `with`, and moves into that of the exit. Box what is larger than some KiB: it
/// makes all futures around it larger, and those of some hundred KiB take the compiler minutes.
///
/// # Guarantees
/// An enter that succeeded is followed by one exit, which is told how the body ended (laws 1 to 7). Tenures that
/// were entered inside exit before it, also when all are dropped at once (law 13). The happy path spawns
/// nothing and allocates once, for the exit (law 20).
///
/// # Errors
/// The enter's error, if it failed. The body's, if it failed; an exit that fails after that is told to the report
/// sink. Else the exit's.
///
/// # Panics
/// Resumes a panic of the body after the exit, and a panic of the exit after a body that completed.
///
/// # Cancel safety
/// Dropped before its first poll, nothing is entered. Dropped during the enter, the enter is dropped where it stands
/// ([`shield`](crate::shield) it to have it finished). Dropped during the body, the body is dropped, then the exit
/// runs in the background and sees `Cancelled`. Dropped during the exit, that exit goes on in the background. Use
/// [`drain`](crate::drain) to wait for what runs there.
#[track_caller]
pub fn with<C, R, N, T, E, F>(context: C, body: F) -> impl Future<Output = Result<T, E>> + Send
where
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
    R: AsyncExit,
    F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
    N: Send,
    T: Send,
    E: From<N> + From<R::Error> + Debug + Send + Sync + 'static,
{
    with_at(Location::caller(), context, body)
}

/// Runs a body as [`with`] does, entered at the place that is given: what reports and [`open`](crate::open) show.
///
/// For adapters that enter on behalf of their callers from inside a future, where `#[track_caller]` does not reach. A
/// function that only passes a context and a body on needs no more than that attribute.
///
/// ```
/// use std::panic::Location;
/// use tenure::{released, with_at};
///
/// /// Enters twice, and both times at its caller's place.
/// #[track_caller]
/// fn twice() -> impl Future<Output = Result<(), std::io::Error>> {
///     let caller = Location::caller();
///     async move {
///         for _ in 0..2 {
///             with_at(caller, released(async { Ok::<_, std::io::Error>(7) }), async |_| {
///                 tokio::task::yield_now().await;
///                 let open = tenure::open();
///                 assert_eq!(open.iter().next().unwrap().location, caller);
///                 Ok::<_, std::io::Error>(())
///             })
///             .await?;
///         }
///         Ok(())
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::io::Error> { twice().await }
/// ```
///
/// # Errors
/// As [`with`].
///
/// # Panics
/// As [`with`].
///
/// # Cancel safety
/// As [`with`].
pub fn with_at<C, R, N, T, E, F>(
    location: &'static Location<'static>,
    context: C,
    body: F,
) -> impl Future<Output = Result<T, E>> + Send
where
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
    R: AsyncExit,
    F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
    N: Send,
    T: Send,
    E: From<N> + From<R::Error> + Debug + Send + Sync + 'static,
{
    let label = Label { name: type_name::<R>(), location };
    run::<Plain<R>, _, _, _, _, _, _, _>(label, context, body, Never, plain_result)
}

/// Runs a body as [`with`] does, for a body, an enter or a value that is not `Send`: the future runs where it is, in `block_on` or on a
/// `LocalSet`. The resource is still `Send`, since its exit may go on elsewhere.
///
/// ```
/// use std::rc::Rc;
/// use tenure::{released, with_local};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::io::Error> {
/// let shared = Rc::new(1);
/// let sum = with_local(released(async { Ok::<_, std::io::Error>(41) }), async |number| {
///     let shared = Rc::clone(&shared);
///     tokio::task::yield_now().await;
///     Ok::<_, std::io::Error>(**number + *shared)
/// })
/// .await?;
/// assert_eq!(sum, 42);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`with`].
///
/// # Panics
/// As [`with`].
///
/// # Cancel safety
/// As [`with`].
#[track_caller]
pub fn with_local<C, R, N, T, E, F>(context: C, body: F) -> impl Future<Output = Result<T, E>>
where
    C: IntoFuture<Output = Result<R, N>>,
    R: AsyncExit,
    F: for<'r> BodyFn<&'r mut R, Result<T, E>>,
    E: From<N> + From<R::Error> + Debug + Send + Sync + 'static,
{
    let label = Label { name: type_name::<R>(), location: Location::caller() };
    run::<Plain<R>, _, _, _, _, _, _, _>(label, context, body, Never, plain_result)
}

fn plain_result<T, N, E, X>(label: Label, course: Course<T, N, E, (), X>) -> Result<T, E>
where
    E: From<N> + From<X>,
    X: Debug,
{
    match course {
        // Taken first, so that the common case is short.
        Course::Run { body: Ended::Value(value), exit: Ok(()) } => Ok(value),
        // `Never` stops nothing, and there is no limit to run out of.
        course => result_of(label, course, |stopped| unreachable!("nothing could have stopped it: {stopped}")),
    }
}

/// The first trouble is the result; what came second is reported.
#[cold]
pub(super) fn result_of<T, N, E, V, X>(
    label: Label,
    course: Course<T, N, E, V, X>,
    stop: impl FnOnce(Stopped) -> E,
) -> Result<T, E>
where
    E: From<N> + From<X>,
    X: Debug,
{
    let (body, exit) = match course {
        Course::NotEntered(error) => return Err(error.into()),
        Course::NotBegun(stopped) => return Err(stop(stopped)),
        Course::Run { body, exit } => (body, exit),
    };
    match (body, exit) {
        (Ended::Value(value), Ok(_)) => Ok(value),
        (Ended::Value(_) | Ended::Resource | Ended::Process, Err(fault)) => Err(error_of(label, fault, stop)),
        (body, exit) => {
            if let Err(fault) = exit {
                report(label, &fault);
            }
            match body {
                Ended::Value(value) => Ok(value),
                Ended::Error(error) => Err(error),
                Ended::Panic(payload) => resume_unwind(payload),
                Ended::Stopped(stopped) => Err(stop(stopped)),
                Ended::Resource | Ended::Process => unreachable!("a resource that stops a body fails its exit"),
            }
        }
    }
}

/// The exit's fault as the caller's error, or panic.
pub(crate) fn error_of<E: From<X>, X: Debug>(
    label: Label,
    fault: Fault<X>,
    stop: impl FnOnce(Stopped) -> E,
) -> E {
    match fault {
        Fault::Failed(error) => error.into(),
        Fault::Panicked(payload) => resume_unwind(payload),
        Fault::TimedOut(expired) => {
            current().report(IncidentKind::ExitTimedOut, label, expired.to_string());
            stop(Stopped::ExitLimit(expired.limit.unwrap_or_default()))
        }
    }
}

/// Tells the report sink of a fault that is nobody's result.
pub(crate) fn report<X: Debug>(label: Label, fault: &Fault<X>) {
    fault.report(&current(), label);
}
