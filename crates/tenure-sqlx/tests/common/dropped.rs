//! Dropping a future at a place of one's choice.

use std::future::poll_fn;
use std::task::Poll;

/// Polls `future` until it is suspended for the n-th time, counted from zero, and drops it there. `None` if it was
/// dropped.
pub(crate) async fn drop_at<F: Future>(n: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut suspended = 0;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if suspended == n => Poll::Ready(None),
        Poll::Pending => {
            suspended += 1;
            Poll::Pending
        }
    })
    .await
}
