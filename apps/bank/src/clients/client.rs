//! A client: makes one transfer after the other, each as the seed decides, and sees how it ends.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, StatusCode};
use futures_util::stream;
use indicatif::ProgressBar;
use tenure::{CancelToken, with};
use tenure_http::{Client, ClientError, connect};
use tokio::time::timeout;

use super::order::{Fate, order};
use crate::problem::Problem;
use crate::service::PANIC_HEADER;
use crate::tally::{Ended, Tally};

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) seed: u64,
    pub(crate) transfers: u64,
    /// Where the service is.
    pub(crate) url: String,
    pub(crate) tally: Arc<Tally>,
    pub(crate) progress: ProgressBar,
    /// The number of the next order that nobody has taken.
    next: AtomicU64,
    /// Cancelled when the last order is taken, or when the service is about to stop before that.
    no_more: CancelToken,
}

/// How long a client waits for an answer, if it does not mean to give up earlier.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The most bytes of an answer that a client reads.
const ANSWER_MAX: usize = 16 * 1024;

impl Work {
    pub(crate) fn new(
        seed: u64,
        transfers: u64,
        url: String,
        tally: &Arc<Tally>,
        progress: ProgressBar,
    ) -> Self {
        let (next, no_more) = (AtomicU64::new(0), CancelToken::new());
        Self { seed, transfers, url, tally: Arc::clone(tally), progress, next, no_more }
    }

    /// Takes the next order, if there is one.
    fn take(&self) -> Option<u64> {
        if self.is_stopping() {
            return None;
        }
        // Relaxed: each number is taken once, and that is all.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number + 1 >= self.transfers {
            self.no_more.cancel();
        }
        (number < self.transfers).then_some(number)
    }

    /// Waits until the last order is taken: the service may stop, with the last ones in flight.
    pub(crate) async fn all_taken(&self) {
        self.no_more.cancelled().await;
    }

    /// The service is about to stop: for clients, what fails from now on is in order.
    pub(crate) fn stop(&self) {
        self.no_more.cancel();
    }

    fn is_stopping(&self) -> bool {
        self.no_more.is_cancelled()
    }
}

/// Takes orders until none is left. Only a service that fails stops it before.
pub(crate) async fn client(work: Arc<Work>) -> Result<(), Problem> {
    while !work.is_stopping() {
        let connected =
            with(connect(work.url.clone()).http1_only(), async |http| orders(&work, http).await).await;
        match connected {
            // It was stopped before this client came back.
            Err(Problem::Http(error)) if work.is_stopping() && !error.is_timeout() => return Ok(()),
            connected => connected?,
        }
    }
    Ok(())
}

/// Takes orders for as long as the connection serves.
async fn orders(work: &Work, http: &mut Client) -> Result<(), Problem> {
    while !http.is_closed()
        && let Some(number) = work.take()
    {
        let mut underway = Underway { work, began: Instant::now(), ended: Ended::Cancelled };
        let attempted = attempt(work, http, number).await;
        underway.ended = *attempted.as_ref().unwrap_or(&Ended::Unanswered);
        drop(underway);
        if matches!(attempted?, Ended::Cancelled | Ended::Unanswered) {
            // Whoever drops a request of HTTP/1.1 drops its connection.
            break;
        }
    }
    Ok(())
}

/// A transfer that is under way: cancelled, unless its end is known before this is dropped.
struct Underway<'w> {
    work: &'w Work,
    began: Instant,
    ended: Ended,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.work.tally.transfer_ended(self.ended, self.began.elapsed());
        self.work.progress.inc(1);
    }
}

/// Lets one transfer meet its fate.
async fn attempt(work: &Work, http: &mut Client, number: u64) -> Result<Ended, Problem> {
    let (order, fate) = order(work.seed, number);
    let order = serde_json::to_vec(&order).map_err(Problem::Order)?;
    let transfer = ask(http, order, fate);
    let answered = match fate {
        Fate::Plain | Fate::Panics => timeout(ANSWER_LIMIT, transfer).await.map_err(|_| Problem::NoAnswer)?,
        Fate::Dropped { suspension } => match drop_at(suspension, transfer).await {
            Some(answered) => answered,
            None => return Ok(Ended::Cancelled),
        },
        Fate::TimedOut { after } | Fate::HalfSent { after } => match timeout(after, transfer).await {
            Ok(answered) => answered,
            Err(_) => return Ok(Ended::Cancelled),
        },
    };
    match answered {
        Ok(StatusCode::CREATED) => Ok(Ended::Committed),
        Ok(StatusCode::UNPROCESSABLE_ENTITY | StatusCode::SERVICE_UNAVAILABLE) => Ok(Ended::RolledBack),
        Ok(StatusCode::INTERNAL_SERVER_ERROR) if fate == Fate::Panics => Ok(Ended::Panicked),
        Ok(status) => Err(Problem::Answer(status)),
        // The connection was idle, for the service, when it stopped.
        Err(_) if work.is_stopping() => Ok(Ended::Unanswered),
        Err(error) => Err(error.into()),
    }
}

/// Asks for a transfer, and reads the answer to its end.
async fn ask(http: &mut Client, order: Vec<u8>, fate: Fate) -> Result<StatusCode, ClientError> {
    let mut request = Request::new(match fate {
        Fate::HalfSent { .. } => half(order),
        _ => Body::from(order),
    });
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/transfers".parse().expect("a path is a URI");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, "application/json".parse().expect("it is a header's value"));
    if fate == Fate::Panics {
        headers.insert(PANIC_HEADER, "half-way".parse().expect("it is a header's value"));
    }
    let response = http.send(request).await?;
    let status = response.status();
    response.into_body().bytes(ANSWER_MAX).await?;
    Ok(status)
}

/// A body whose second half never comes.
fn half(mut whole: Vec<u8>) -> Body {
    whole.truncate(whole.len() / 2);
    let first = Bytes::from(whole);
    Body::from_stream(stream::unfold(Some(first), async |first| match first {
        Some(first) => Some((Ok::<_, Infallible>(first), None)),
        None => pending().await,
    }))
}

/// Drops a future when it is suspended for the n-th time, counted from zero. `None` if it came to that.
async fn drop_at<F: Future>(suspension: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut suspended = 0;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if suspended == suspension => Poll::Ready(None),
        Poll::Pending => {
            suspended += 1;
            Poll::Pending
        }
    })
    .await
}
