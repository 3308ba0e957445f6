//! A savepoint as a context: released when its body completed, rolled back to on every other path.
//!
//! # Invariants
//! 1. Savepoints are named by their depth below the transaction. Two of one name never coexist, since
//!    a parent lends its connection to one child at a time, and each exit takes its savepoint away.
//! 2. A savepoint that could not be taken away dooms the transaction around it: see the module `lease`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::time::Duration;

use sqlx::{AssertSqlSafe, SqlSafeStr as _};
use tenure::{AsyncExit, Outcome, shield};

use crate::cancel::stop_abandoned;
use crate::lease::{Holder, Lease};
use crate::transaction::AWAY;
use crate::{Backend, Error, Stage};

/// A savepoint to be entered; made by [`Transaction::savepoint`](crate::Transaction::savepoint).
#[must_use = "no savepoint is set before it is entered, with `tenure::with` for instance"]
pub struct SetSavepoint<'t, DB: Backend> {
    holder: &'t mut Holder<DB>,
    place: Place,
}

/// Which savepoint it is, and how long an answer about it is waited for.
#[derive(Clone, Copy)]
struct Place {
    depth: u32,
    answer_limit: Option<Duration>,
}

impl<'t, DB: Backend> SetSavepoint<'t, DB> {
    /// The outermost savepoint of a transaction.
    pub(crate) fn in_transaction(holder: &'t mut Holder<DB>, answer_limit: Option<Duration>) -> Self {
        Self { holder, place: Place { depth: 1, answer_limit } }
    }

    async fn enter(self) -> Result<Savepoint<DB>, Error> {
        self.holder.wait().await?;
        let lease = self.holder.lend().ok_or_else(Error::closed)?;
        shield(set(lease, self.place)).await
    }
}

impl<'t, DB: Backend> IntoFuture for SetSavepoint<'t, DB> {
    type Output = Result<Savepoint<DB>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 't>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.enter())
    }
}

/// Sets a savepoint and waits for the answer.
async fn set<DB: Backend>(mut lease: Lease<DB>, place: Place) -> Result<Savepoint<DB>, Error> {
    lease.mark_dirty();
    match send(&mut lease, format!("SAVEPOINT tenure_sp_{}", place.depth), place).await {
        Ok(()) => Ok(Savepoint { lease, place }),
        Err(error) => {
            if DB::is_answer(&error) {
                lease.mark_clean();
            }
            Err(Error::new::<DB>(Stage::Savepoint, error))
        }
    }
}

/// A savepoint that has been set: the resource that a body gets.
///
/// It dereferences to sqlx's own connection, as a [`Transaction`](crate::Transaction) does, and panics at the same
/// misuse.
///
/// # Guarantees
/// - Its changes become part of what is around it when the body completes, and are undone otherwise. Nothing is
///   in the database before the transaction commits.
/// - It is released or rolled back to before the transaction around it ends, also when the caller is gone.
/// - Should undoing it fail, the transaction around it will not commit.
#[must_use = "a savepoint that is dropped, not exited, spoils the transaction around it"]
pub struct Savepoint<DB: Backend> {
    lease: Lease<DB>,
    place: Place,
}

impl<DB: Backend> Savepoint<DB> {
    /// Returns a savepoint inside this one.
    ///
    /// # Errors
    /// Entering fails at [`Stage::Savepoint`], or at [`Stage::HandBack`].
    pub fn savepoint(&mut self) -> SetSavepoint<'_, DB> {
        let Place { depth, answer_limit } = self.place;
        SetSavepoint { holder: self.lease.holder_mut(), place: Place { depth: depth + 1, answer_limit } }
    }

    /// Returns the connection of sqlx's: what dereferencing gives.
    ///
    /// # Panics
    /// As dereferencing does: while a savepoint inside has the connection.
    #[track_caller]
    pub fn conn(&mut self) -> &mut DB::Connection {
        self
    }

    /// Waits until the connection has come back from a savepoint inside that was dropped before its end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// [`Stage::HandBack`], if the connection had to be closed, or did not come back within 10 s.
    pub async fn ready(&mut self) -> Result<&mut DB::Connection, Error> {
        self.lease.holder_mut().ready().await
    }
}

impl<DB: Backend> AsyncExit for Savepoint<DB> {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        let Self { mut lease, place } = self;
        lease.holder_mut().wait().await?;
        match outcome {
            Outcome::Completed => release(&mut lease, place).await,
            Outcome::Failed(_) | Outcome::Panicked(_) | Outcome::Cancelled => {
                let stopped = stop_abandoned(lease.holder_mut(), place.answer_limit).await;
                stopped.map_err(|error| Error::new::<DB>(Stage::RollbackToSavepoint, error))?;
                roll_back(&mut lease, place).await
            }
        }
    }
}

/// Keeps the changes, or undoes them and says why.
async fn release<DB: Backend>(lease: &mut Lease<DB>, place: Place) -> Result<(), Error> {
    let refused = if lease.is_doomed() {
        Error::doomed(Stage::Release)
    } else {
        match send(lease, format!("RELEASE SAVEPOINT tenure_sp_{}", place.depth), place).await {
            Ok(()) => {
                lease.mark_clean();
                return Ok(());
            }
            Err(error) => Error::new::<DB>(Stage::Release, error),
        }
    };
    let undone = roll_back(lease, place).await;
    Err(refused.with_cleanup(undone.err()))
}

/// Undoes the changes and takes the savepoint away. On failure the lease stays dirty, which dooms the transaction.
async fn roll_back<DB: Backend>(lease: &mut Lease<DB>, place: Place) -> Result<(), Error> {
    let failed = |error| Error::new::<DB>(Stage::RollbackToSavepoint, error);
    let Place { depth, .. } = place;
    send(lease, format!("ROLLBACK TO SAVEPOINT tenure_sp_{depth}"), place).await.map_err(failed)?;
    // What was undone includes whatever inside could not be.
    lease.absolve();
    send(lease, format!("RELEASE SAVEPOINT tenure_sp_{depth}"), place).await.map_err(failed)?;
    lease.mark_clean();
    Ok(())
}

/// Sends a statement about the savepoint of this depth. `Ok` is a proof of the connection's place.
async fn send<DB: Backend>(lease: &mut Lease<DB>, statement: String, place: Place) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(statement).into_sql_str();
    let (connection, patience) = lease.holder_mut().in_reach()?;
    let answer = patience.within(place.answer_limit, DB::execute(connection, statement)).await;
    lease.holder_mut().note(answer)
}

impl<DB: Backend> Deref for Savepoint<DB> {
    type Target = DB::Connection;

    #[track_caller]
    fn deref(&self) -> &DB::Connection {
        let connection = self.lease.holder().connection();
        connection.expect(AWAY)
    }
}

impl<DB: Backend> DerefMut for Savepoint<DB> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut DB::Connection {
        let connection = self.lease.holder_mut().connection_mut();
        connection.expect(AWAY)
    }
}

impl<DB: Backend> fmt::Debug for Savepoint<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Savepoint")
            .field("database", &DB::NAME)
            .field("depth", &self.place.depth)
            .field("is_here", &self.lease.holder().connection().is_some())
            .finish()
    }
}

impl<DB: Backend> fmt::Debug for SetSavepoint<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetSavepoint")
            .field("database", &DB::NAME)
            .field("depth", &self.place.depth)
            .finish_non_exhaustive()
    }
}
