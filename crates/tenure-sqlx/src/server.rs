//! What the drivers of servers have in common.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sqlx::Connection as _;

use crate::Backend;
use crate::lease::out_of_place;

/// How long the answer of a server is waited for.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How many answers to abandoned statements are skipped before a connection is given up.
const ABANDONED_MAX: usize = 64;

/// Takes in what is left of the statements whose futures were dropped, without a word to the server if nothing is.
///
/// sqlx does so before each statement. But when it meets an error there, it returns it as the error of the
/// statement that was to be sent, which has not been sent then.
pub(crate) async fn skip_abandoned<DB: Backend>(connection: &mut DB::Connection) -> Result<(), sqlx::Error> {
    skip_those::<DB>(connection, DB::is_answer).await
}

/// The same, with a say in which errors are answers.
pub(crate) async fn skip_those<DB: Backend>(
    connection: &mut DB::Connection,
    is_answer: fn(&sqlx::Error) -> bool,
) -> Result<(), sqlx::Error> {
    for _ in 0..ABANDONED_MAX {
        match connection.flush().await {
            Err(error) if is_answer(&error) => {}
            ended => return ended,
        }
    }
    Err(sqlx::Error::Protocol(format!("more than {ABANDONED_MAX} abandoned statements failed")))
}

/// A word that nobody else says: what an echo is recognised by.
pub(crate) fn word() -> String {
    format!("tenure{:016x}", fastrand::u64(..))
}

/// Catches a panic: sqlx may panic when it takes one message for another.
pub(crate) async fn without_panic<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let mut work = pin!(work);
    poll_fn(|context| {
        // What a panic leaves behind is a connection that is out of place, and is closed.
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)))
            .unwrap_or_else(|_panic| Poll::Ready(Err(out_of_place())))
    })
    .await
}
