//! `run_to_completion`: work without a resource that is finished even when its caller is gone.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::future::ready;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::label::Label;
use crate::shield::{Shield, shield_at};
use crate::{AsyncExit, Outcome};

/// Runs an operation that, once begun, is finished even when its caller is gone.
///
/// It is polled in place, in its caller's task. When its caller is dropped, it goes on in the background, from where it
/// was, and belongs to what encloses it: the exits around it wait for it, and so does [`drain`](crate::drain). For work
/// that leaves nothing to be exited, and must not stop half-way: a file that is written and renamed, a message that is
/// taken and acknowledged.
///
/// For an enter use [`shield`](crate::shield()), which exits what it has entered. An enter that is lazy, as that of a
/// writer that creates its file at the first write, is no enter: put the whole operation in here. To undo the work
/// instead of finishing it, make it a resource.
///
/// ```
/// use std::io::Result;
/// use std::path::PathBuf;
/// use tokio::fs;
///
/// /// Dropped at any point once it has begun, it replaces the file nevertheless, and leaves no draft.
/// async fn save(path: PathBuf, text: &'static str) -> Result<()> {
///     tenure::run_to_completion(async move {
///         let draft = path.with_extension("draft");
///         fs::write(&draft, text).await?;
///         fs::rename(&draft, &path).await
///     })
///     .await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let path = std::env::temp_dir().join(format!("note-{}", std::process::id()));
/// save(path.clone(), "remember").await?;
/// assert_eq!(fs::read_to_string(&path).await?, "remember");
/// # fs::remove_file(&path).await
/// # }
/// ```
///
/// # Errors
/// The operation's. When its caller is gone, its error goes to the report sink, and to the next drain's report.
///
/// # Panics
/// With the operation's panic. When its caller is gone, that is reported too.
///
/// # Cancel safety
/// Dropped before its first poll, nothing happens. After that the operation ends by itself, on the runtime it was first
/// polled on, and its value is dropped.
#[track_caller]
pub fn run_to_completion<O, T, E>(operation: O) -> Completion<T, E>
where
    O: IntoFuture<Output = Result<T, E>, IntoFuture: Send + 'static>,
    T: Send + 'static,
    E: Debug + Send + 'static,
{
    let label = Label { name: "operation", location: Location::caller() };
    let operation = operation.into_future();
    Completion { operation: shield_at(label, async move { operation.await.map(Value) }) }
}

/// An operation that is finished even when its caller is gone. Created by [`run_to_completion`].
#[must_use = "futures do nothing unless polled"]
pub struct Completion<T, E>
where
    T: Send + 'static,
    E: Debug + Send + 'static,
{
    operation: Shield<Value<T>, E>,
}

impl<T, E> Future for Completion<T, E>
where
    T: Send + 'static,
    E: Debug + Send + 'static,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        Pin::new(&mut self.operation).poll(context).map(|result| result.map(|Value(value)| value))
    }
}

impl<T, E> Debug for Completion<T, E>
where
    T: Send + 'static,
    E: Debug + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operation.fmt(f)
    }
}

/// What an operation has come to. Without a caller it is dropped where an exit would be: in its frame, and caught.
struct Value<T>(T);

impl<T: Send + 'static> AsyncExit for Value<T> {
    type Error = Infallible;

    fn exit(self, _: Outcome<'_>) -> impl Future<Output = Result<(), Infallible>> + Send {
        drop(self);
        ready(Ok(()))
    }
}
