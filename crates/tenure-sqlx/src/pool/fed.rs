//! Streams that have their connection: what reads from it goes on inside of the stream, and gives it back at its end.
//!
//! # Invariants
//! 1. The future that has the connection is polled only by the stream, and dropped with it: nothing is spawned.
//! 2. At most one item waits to be taken, so that the reader's pace is the server's.
//! 3. A stream that was read to its end has given its connection back as one whose use completed. One that is dropped
//!    before, or that failed, has it reset.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures_core::Stream;
use sqlx::{Execute, Executor};
use tenure::{AsyncExit as _, Outcome};
use tokio::sync::mpsc;

use super::ext::{PoolExt, Pooled};
use crate::{Backend, Error};

/// A stream of what is read on a connection of a pool, which it holds until its end: made by [`PoolExt::rows`].
///
/// # Guarantees
/// The connection is given back when the stream has ended, and before the end is told. If the stream is dropped before,
/// the connection is cleaned in the background before it is lent again.
#[must_use = "nothing is read before it is polled"]
pub struct PooledStream<T> {
    feed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    items: mpsc::Receiver<Result<T, sqlx::Error>>,
}

impl<T: Send + 'static> PooledStream<T> {
    /// What `read` sends, and then the connection given back.
    pub(crate) fn new<DB: Backend>(
        connection: impl Future<Output = Result<Pooled<DB>, Error>> + Send + 'static,
        read: impl AsyncRead<DB, T>,
    ) -> Self {
        let (sender, items) = mpsc::channel(1);
        let feed = async move {
            let mut connection = match connection.await {
                Ok(connection) => connection,
                Err(error) => {
                    let _ = sender.send(Err(error.into())).await;
                    return;
                }
            };
            let has_failed = read.read(connection.conn(), &sender).await.is_err();
            let outcome = if has_failed { Outcome::failed(&Unread) } else { Outcome::Completed };
            // It never fails: the pool tells what becomes of the connection.
            let _ = connection.exit(outcome).await;
        };
        Self { feed: Some(Box::pin(feed)), items }
    }
}

/// How a use has ended whose error the reader of the stream has.
#[derive(Debug)]
struct Unread;

/// What reads, and sends what it has read.
pub(crate) trait AsyncRead<DB: Backend, T>: Send + 'static {
    /// `Err` if the last item sent was an error.
    fn read<'c>(
        self,
        connection: &'c mut DB::Connection,
        items: &'c mpsc::Sender<Result<T, sqlx::Error>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'c>>;
}

/// Sends all items of a stream.
pub(crate) async fn send_all<T: Send>(
    stream: impl Stream<Item = Result<T, sqlx::Error>> + Send,
    items: &mpsc::Sender<Result<T, sqlx::Error>>,
) -> Result<(), ()> {
    let mut stream = pin!(stream);
    let mut has_failed = false;
    while let Some(item) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        has_failed = item.is_err();
        // Nobody takes it only where all of this is dropped next.
        let _ = items.send(item).await;
    }
    if has_failed { Err(()) } else { Ok(()) }
}

/// The rows of one query.
struct Query<Q>(Q);

impl<DB, Q> AsyncRead<DB, DB::Row> for Query<Q>
where
    DB: Backend,
    Q: Execute<'static, DB> + Send + 'static,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    fn read<'c>(
        self,
        connection: &'c mut DB::Connection,
        items: &'c mpsc::Sender<Result<DB::Row, sqlx::Error>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'c>> {
        let rows = connection.fetch(self.0);
        Box::pin(send_all(rows, items))
    }
}

/// [`PoolExt::rows`].
pub(super) fn rows<DB, P, Q>(pool: &P, query: Q) -> PooledStream<DB::Row>
where
    DB: Backend,
    P: PoolExt<DB> + ?Sized,
    Q: Execute<'static, DB> + Send + 'static,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    PooledStream::new(pool.connection(), Query(query))
}

impl<T> Stream for PooledStream<T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(feed) = &mut self.feed
            && feed.as_mut().poll(context).is_ready()
        {
            self.feed = None;
        }
        // What was sent last is still to be taken; the sender is gone with the feed.
        self.items.poll_recv(context)
    }
}

impl<T> fmt::Debug for PooledStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledStream").field("has_ended", &self.feed.is_none()).finish_non_exhaustive()
    }
}
