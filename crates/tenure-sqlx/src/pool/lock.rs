//! An advisory lock as a context: released, and awaited, on every path.
//!
//! # Invariants
//! 1. The lock is the session's. A connection of which it is not known whether it has the lock is closed.

use std::fmt::{self, Debug};
use std::ops::{Deref, DerefMut};

use tenure::{AsyncExit, Outcome};

use super::{PoolExt, Pooled};
use crate::patience::within;
use crate::{Backend, Error, Stage};

/// A database that has advisory locks: `sqlx::Postgres` and `sqlx::MySql`. It is sealed.
pub trait Lock: Backend {
    /// The name of a lock.
    type Key: Debug + Send + Sync + 'static;

    /// Takes the lock; tells whether the session has it.
    #[doc(hidden)]
    fn lock<'c>(
        connection: &'c mut Self::Connection,
        key: &'c Self::Key,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send + 'c;

    /// Releases the lock; tells whether the session had it.
    #[doc(hidden)]
    fn unlock<'c>(
        connection: &'c mut Self::Connection,
        key: &'c Self::Key,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send + 'c;
}

/// Gets a connection and takes a lock on it.
pub(crate) fn take<DB: Lock>(
    pool: &impl PoolExt<DB>,
    key: DB::Key,
) -> impl Future<Output = Result<AdvisoryLock<DB>, Error>> + Send + 'static {
    let connection = pool.connection();
    async move {
        let mut locked = AdvisoryLock { connection: Some(connection.await?), key };
        let failed = |error| Error::new::<DB>(Stage::Lock, error);
        let AdvisoryLock { connection, key } = &mut locked;
        let is_held = match connection {
            Some(connection) => DB::lock(connection.conn(), key).await.map_err(failed)?,
            None => false,
        };
        if is_held { Ok(locked) } else { Err(failed(refused())) }
    }
}

fn refused() -> sqlx::Error {
    sqlx::Error::Protocol("the server did not give the lock".to_owned())
}

/// An advisory lock that is held: the resource that a body gets. It dereferences to the connection that has it.
#[must_use = "a lock that is dropped, not exited, is released by closing its connection"]
pub struct AdvisoryLock<DB: Lock> {
    /// Taken by the exit. Until then the session may have the lock, or get it yet.
    connection: Option<Pooled<DB>>,
    key: DB::Key,
}

impl<DB: Lock> AdvisoryLock<DB> {
    /// Returns the connection of sqlx's: what dereferencing gives.
    #[track_caller]
    pub fn conn(&mut self) -> &mut DB::Connection {
        self
    }
}

impl<DB: Lock> Drop for AdvisoryLock<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.give_up();
        }
    }
}

impl<DB: Lock> AsyncExit for AdvisoryLock<DB> {
    type Error = Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Error> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        if let Err(error) = connection.ready().await {
            connection.give_up();
            return Err(error);
        }
        let unlocked = within(DB::ANSWER_LIMIT, DB::unlock(connection.conn(), &self.key)).await;
        let failed = match unlocked {
            Ok(true) => None,
            Ok(false) => Some(sqlx::Error::Protocol("the lock was not the session's any more".to_owned())),
            // Where the transaction is aborted, or an answer is lost.
            Err(error) => {
                connection.give_up();
                Some(error)
            }
        };
        let failed = failed.map(|error| Error::new::<DB>(Stage::Lock, error));
        let outcome = failed.as_ref().map_or(outcome, Outcome::failed);
        connection.exit(outcome).await?;
        failed.map_or(Ok(()), Err)
    }
}

/// What is so until the exit takes the connection.
const HELD: &str = "a lock that has not exited has its connection";

impl<DB: Lock> Deref for AdvisoryLock<DB> {
    type Target = DB::Connection;

    #[track_caller]
    fn deref(&self) -> &DB::Connection {
        self.connection.as_ref().expect(HELD)
    }
}

impl<DB: Lock> DerefMut for AdvisoryLock<DB> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect(HELD)
    }
}

impl<DB: Lock> Debug for AdvisoryLock<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdvisoryLock").field("key", &self.key).finish_non_exhaustive()
    }
}
