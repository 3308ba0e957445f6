//! Stopping the statement that a dropped future has left running on a server, by a word on a second connection.
//!
//! # Invariants
//! 1. A request to stop names a session, and stops whatever runs in it. So it is sent only by an exit that has the
//!    connection to itself, and until its answer is there nothing else is sent on the connection.
//! 2. A request whose answer is lost may still arrive. Then the connection is closed, and with it the session.
//! 3. A request that comes too late hits nothing, or at most the next statement of the session (MySQL). So after the
//!    answer one is sent that may be hit: see [`Driver::prove`](crate::backend::Driver::prove).
//! 4. What could not be sent changes nothing: the statement is waited for, as without the option.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, SqlStr};
use tokio::time::timeout;

use crate::Backend;
use crate::connect::Options;
use crate::lease::Holder;
use crate::patience::within;

/// How long a statement that nobody waits for may go on before the server is told to stop it.
pub(crate) const CANCEL_AFTER: Duration = Duration::from_millis(100);

/// How long telling the server may take.
pub(crate) const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// A database whose statements can be stopped: `sqlx::Postgres` and `sqlx::MySql`. It is sealed.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub trait Cancel: Backend {
    /// The statement that stops what runs in the session of this connection.
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

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn identify<DB: Cancel>() -> Identify<DB> {
    |connection| Box::pin(DB::cancel_statement(connection))
}

/// How to stop what runs on a connection.
pub(crate) struct Canceller<DB: Backend> {
    options: Options<DB>,
    statement: SqlStr,
}

impl<DB: Backend> Canceller<DB> {
    /// Asks the connection for its number.
    pub(crate) async fn of(
        connection: &mut DB::Connection,
        options: Options<DB>,
        identify: Identify<DB>,
    ) -> Result<Arc<Self>, sqlx::Error> {
        let statement = identify(connection).await?;
        Ok(Arc::new(Self { options, statement }))
    }

    /// Tells the server. `Ok` says whether it was told; after an `Err` nobody knows.
    async fn cancel(&self) -> Result<bool, sqlx::Error> {
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
    let Some(canceller) = holder.canceller() else {
        return Ok(());
    };
    let Some(connection) = holder.connection_mut() else {
        return Ok(());
    };
    {
        let mut ended = pin!(DB::skip(connection));
        if timeout(CANCEL_AFTER, &mut ended).await.is_ok() {
            return Ok(());
        }
        if !canceller.cancel().await? {
            return Ok(());
        }
        within(answer_limit, ended).await?;
    }
    // If the request came too late, this is what it hits.
    let _ = within(answer_limit, DB::prove(connection)).await;
    Ok(())
}
