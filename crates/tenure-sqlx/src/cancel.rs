//! Stopping the statement that a dropped future has left running on a server, by a word on a second connection.
//!
//! # Invariants
//! 1. A request to stop names a session, and stops whatever runs in it. So it is sent only by an exit that has the
//!    connection to itself, and until its answer is there nothing else is sent on the connection.
//! 2. A request whose answer is lost may still arrive. Then the connection is closed, and with it the session.
//! 3. A request that comes too late hits nothing, or at most the next statement of the session (MySQL). So after the
//!    answer one is sent that may be hit: see [`Driver::prove`](crate::backend::Driver::prove).
//! 4. What could not be sent changes nothing: the statement is waited for, as without the option, and the request is
//!    tried again meanwhile.
//! 5. SQLite needs no request: a flag stops what runs on the connection. It is up only while an exit waits for that to
//!    end, and sends nothing.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, SqlStr};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::Backend;
use crate::connect::Options;
use crate::lease::Holder;
use crate::patience::within;

/// How long a statement that nobody waits for may go on before the server is told to stop it.
pub(crate) const CANCEL_AFTER: Duration = Duration::from_millis(100);

/// How long telling the server may take.
pub(crate) const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// The longest pause between two attempts to tell the server, where there was no room for one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A database whose statements can be stopped: `sqlx::Postgres` and `sqlx::MySql`. It is sealed.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub trait Cancel: Backend {
    /// Returns the statement that stops what runs in the session of this connection.
    #[doc(hidden)]
    fn cancel_statement(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<SqlStr, sqlx::Error>> + Send + '_;
}

/// [`Cancel::cancel_statement`] as a value, for code that has to do without the bound.
pub(crate) type Identify<DB> =
    for<'c> fn(
        &'c mut <DB as sqlx::Database>::Connection,
    ) -> Pin<Box<dyn Future<Output = Result<SqlStr, sqlx::Error>> + Send + 'c>>;

/// How statements are stopped, for all connections that were asked for together.
pub(crate) struct Stop<DB: Backend> {
    identify: Identify<DB>,
    /// One of them opens a second connection at a time: where many are to be stopped, there is least room.
    turn: Arc<Semaphore>,
}

impl<DB: Backend> Clone for Stop<DB> {
    fn clone(&self) -> Self {
        Self { identify: self.identify, turn: Arc::clone(&self.turn) }
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn stop<DB: Cancel>() -> Stop<DB> {
    let identify: Identify<DB> = |connection| Box::pin(DB::cancel_statement(connection));
    Stop { identify, turn: Arc::new(Semaphore::new(1)) }
}

/// How to stop what runs on a connection.
pub(crate) struct Canceller<DB: Backend> {
    options: Options<DB>,
    statement: SqlStr,
    turn: Arc<Semaphore>,
}

impl<DB: Backend> Canceller<DB> {
    /// Asks the connection for its number.
    pub(crate) async fn of(
        connection: &mut DB::Connection,
        options: Options<DB>,
        stop: Stop<DB>,
    ) -> Result<Arc<Self>, sqlx::Error> {
        let statement = (stop.identify)(connection).await?;
        Ok(Arc::new(Self { options, statement, turn: stop.turn }))
    }

    /// Tells the server. `Ok` says whether it was told; after an `Err` nobody knows.
    async fn cancel(&self) -> Result<bool, sqlx::Error> {
        let Ok(Ok(_turn)) = timeout(CANCEL_LIMIT, self.turn.acquire()).await else {
            return Ok(false);
        };
        let Ok(Ok(mut connection)) = timeout(CANCEL_LIMIT, self.options.connect()).await else {
            return Ok(false);
        };
        let told = within(Some(CANCEL_LIMIT), DB::execute(&mut connection, self.statement.clone())).await;
        let is_told = match told {
            Ok(()) => true,
            // It may not, or there is no such session any more.
            Err(error) if DB::is_answer(&error) => false,
            Err(error) => return Err(error),
        };
        // It has done its work; the server learns that the client is gone in any case.
        let _ = timeout(CANCEL_LIMIT, connection.close()).await;
        Ok(is_told)
    }
}

/// Stops the statement that was left running on this connection, if one is and it can be stopped. To be called by
/// an exit that is to undo what was done, before it does.
///
/// # Errors
/// The connection is of no more use: a request to stop may still be on its way.
pub(crate) async fn stop_abandoned<DB: Backend>(
    holder: &mut Holder<DB>,
    answer_limit: Option<Duration>,
) -> Result<(), sqlx::Error> {
    let (canceller, interrupt) = (holder.canceller(), holder.interrupt());
    let Some(connection) = holder.connection_mut() else {
        return Ok(());
    };
    if let Some(flag) = interrupt {
        let _up = Up::raise(&flag);
        return within(answer_limit, DB::skip(connection)).await;
    }
    let Some(canceller) = canceller else {
        return Ok(());
    };
    {
        let mut ended = pin!(DB::skip(connection));
        let end = Instant::now() + answer_limit.unwrap_or(CANCEL_LIMIT);
        let mut pause = CANCEL_AFTER;
        loop {
            if timeout(pause, &mut ended).await.is_ok() || Instant::now() >= end {
                return Ok(());
            }
            if canceller.cancel().await? {
                break;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        within(answer_limit, ended).await?;
    }
    // If the request came too late, this is what it hits.
    let _ = within(answer_limit, DB::prove(connection)).await;
    Ok(())
}

/// A flag that is up, until this is dropped.
struct Up<'f>(&'f AtomicBool);

impl<'f> Up<'f> {
    fn raise(flag: &'f AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
