//! `COPY` as a context: finished when its body completed, aborted on every other path.
//!
//! # Invariants
//! 1. The future that has the connection is polled only by the copy's own methods and by its exit, and dropped with it.
//! 2. At most one chunk waits to be sent.
//! 3. A copy that ended, well or not, has read all answers to it. One that is dropped before has its connection closed by
//!    the pool, since it is out of its place.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use sqlx::Postgres;
use tenure::{AsyncExit, Outcome};
use tokio::sync::{mpsc, oneshot};

use crate::pool::{PoolExt, Pooled, PooledStream};
use crate::{Error, Stage};

/// `COPY … FROM STDIN` on a connection of a pool, as a context: finished when its body completed, aborted otherwise, so
/// that nothing of it is kept.
///
/// ```no_run
/// use tenure::with;
/// use tenure_sqlx::pool::Pool;
/// use tenure_sqlx::postgres::copy_in;
///
/// # async fn example(pool: &Pool<sqlx::Postgres>) -> Result<(), sqlx::Error> {
/// with(copy_in(pool, "COPY notes (text) FROM STDIN"), async |copy| {
///     for text in ["first", "second"] {
///         copy.send(format!("{text}\n")).await?;
///     }
///     Ok::<_, sqlx::Error>(())
/// })
/// .await?; // both are in the table
/// # Ok(()) }
/// ```
///
/// # Errors
/// Entering fails at [`Stage::Get`], or at [`Stage::Copy`] if the server refuses the statement. The exit fails at
/// [`Stage::Copy`] if the server refuses what was sent.
///
/// # Cancel safety
/// Dropped while it is entered, the connection is cleaned or closed in the background.
pub fn copy_in(
    pool: &impl PoolExt<Postgres>,
    statement: impl Into<String>,
) -> impl Future<Output = Result<CopyIn, Error>> + Send + 'static {
    let (connection, statement) = (pool.connection(), statement.into());
    async move {
        let mut connection = Some(connection.await?);
        let (steps, received) = mpsc::channel(1);
        let (begun, mut has_begun) = oneshot::channel();
        let mut feed: Feed = Box::pin(async move {
            let Some(mut connection) = connection.take() else {
                return Ok(0);
            };
            let copied = copy(&mut connection, &statement, begun, received).await;
            let outcome = if copied.is_ok() { Outcome::Completed } else { Outcome::Cancelled };
            // It never fails: the pool tells what becomes of the connection.
            let _ = connection.exit(outcome).await;
            copied
        });
        let ended = poll_fn(|context| {
            if let Poll::Ready(ended) = feed.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            Pin::new(&mut has_begun).poll(context).map(|_| None)
        });
        match ended.await {
            Some(ended) => Err(Error::new::<Postgres>(Stage::Copy, ended.err().unwrap_or_else(over))),
            None => Ok(CopyIn { feed: Some(feed), steps }),
        }
    }
}

/// `COPY … TO STDOUT` on a connection of a pool, as a stream of the chunks that the server sends, which holds the
/// connection until its end.
pub fn copy_out(pool: &impl PoolExt<Postgres>, statement: impl Into<String>) -> PooledStream<Vec<u8>> {
    PooledStream::new(pool.connection(), CopyOut(statement.into()))
}

struct CopyOut(String);

impl crate::pool::AsyncRead<Postgres, Vec<u8>> for CopyOut {
    fn read<'c>(
        self,
        connection: &'c mut sqlx::PgConnection,
        items: &'c mpsc::Sender<Result<Vec<u8>, sqlx::Error>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'c>> {
        Box::pin(async move {
            let mut chunks = match connection.copy_out_raw(&self.0).await {
                Ok(chunks) => chunks,
                Err(error) => {
                    let _ = items.send(Err(error)).await;
                    return Err(());
                }
            };
            while let Some(chunk) = poll_fn(|context| chunks.as_mut().poll_next(context)).await {
                let has_failed = chunk.is_err();
                let _ = items.send(chunk.map(|chunk| chunk.to_vec())).await;
                if has_failed {
                    return Err(());
                }
            }
            Ok(())
        })
    }
}

type Feed = Pin<Box<dyn Future<Output = Result<u64, sqlx::Error>> + Send>>;

/// What is to be done next.
enum Step {
    Send(Vec<u8>),
    Finish,
}

/// Copies what it is told to.
async fn copy(
    connection: &mut Pooled<Postgres>,
    statement: &str,
    begun: oneshot::Sender<()>,
    mut steps: mpsc::Receiver<Step>,
) -> Result<u64, sqlx::Error> {
    let mut copy = connection.conn().copy_in_raw(statement).await?;
    let _ = begun.send(());
    loop {
        match steps.recv().await {
            Some(Step::Send(data)) => {
                copy.send(data.as_slice()).await?;
            }
            Some(Step::Finish) => return copy.finish().await,
            None => {
                copy.abort("the body of the copy did not complete").await?;
                return Err(over());
            }
        }
    }
}

fn over() -> sqlx::Error {
    sqlx::Error::Protocol("the copy has ended before".to_owned())
}

/// A `COPY` into a table that has begun: the resource that a body gets.
#[must_use = "a copy that is dropped, not exited, closes its connection"]
pub struct CopyIn {
    /// `None` when it has ended.
    feed: Option<Feed>,
    steps: mpsc::Sender<Step>,
}

impl CopyIn {
    /// Sends a part of the data, and waits until it is on its way. Parts need not be whole rows.
    ///
    /// # Errors
    /// The server's, if it has refused what was sent before.
    ///
    /// # Cancel safety
    /// The data may be sent or not; the copy can go on only if it does not matter.
    pub async fn send(&mut self, data: impl Into<Vec<u8>>) -> Result<(), sqlx::Error> {
        self.step(Step::Send(data.into())).await.map(drop)
    }

    /// Finishes now, and returns how many rows were copied. In a body there is no need for it but the number.
    ///
    /// # Errors
    /// The server's, if it refuses what was sent.
    ///
    /// # Cancel safety
    /// Dropped half-way, the copy may be kept or not.
    pub async fn finish(&mut self) -> Result<u64, sqlx::Error> {
        match self.step(Step::Finish).await? {
            Some(rows) => Ok(rows),
            // The step was taken; its answer is still to come.
            None => {
                let feed = self.feed.as_mut().ok_or_else(over)?;
                let ended = feed.await;
                self.feed = None;
                ended
            }
        }
    }

    /// Has a step done; the number of rows if it has ended.
    async fn step(&mut self, step: Step) -> Result<Option<u64>, sqlx::Error> {
        let mut step = Some(step);
        let Self { feed, steps } = self;
        let ended = {
            let running = feed.as_mut().ok_or_else(over)?;
            poll_fn(|context| {
                if let Poll::Ready(ended) = running.as_mut().poll(context) {
                    return Poll::Ready(Some(ended));
                }
                // There is room when the step before was done.
                match step.take() {
                    Some(next) => match steps.try_send(next) {
                        Ok(()) => context.waker().wake_by_ref(),
                        Err(
                            mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
                        ) => {
                            step = Some(back);
                        }
                    },
                    None if steps.capacity() > 0 => return Poll::Ready(None),
                    None => {}
                }
                Poll::Pending
            })
            .await
        };
        match ended {
            Some(ended) => {
                *feed = None;
                ended.map(Some)
            }
            None => Ok(None),
        }
    }
}

impl AsyncExit for CopyIn {
    type Error = Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Error> {
        let failed = |error| Error::new::<Postgres>(Stage::Copy, error);
        match outcome {
            // The body has finished it, or seen it fail.
            _ if self.feed.is_none() => Ok(()),
            Outcome::Completed => self.finish().await.map(drop).map_err(failed),
            Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Cancelled => {
                let Self { feed, steps } = self;
                drop(steps);
                if let Some(feed) = feed {
                    // It has failed by intent.
                    let _ = feed.await;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").field("has_ended", &self.feed.is_none()).finish_non_exhaustive()
    }
}
