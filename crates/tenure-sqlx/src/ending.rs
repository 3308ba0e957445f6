//! How a transaction ends: the commit, the rollback, and what stands for them inside a transaction that is always
//! rolled back.
//!
//! # Invariants
//! 1. No `COMMIT` is told as done before an echo has come back behind the question whether there is anything to commit. Where
//!    the commit waits for the echo, that is before it is sent; where both go in one message, the server passes over the
//!    commit if the answer to the question is no, and a refusal is believed only if another echo comes back after it.
//! 2. What is lost is sent nothing.
//! 3. What is rare, or waits for a server anyway, is boxed: the futures of users nest deep enough.
//! 4. Inside a test's transaction nothing is sent that would end it.

use sqlx::{AssertSqlSafe, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;

use crate::cancel::stop_abandoned;
use crate::lease::{Lease, out_of_place};
use crate::transaction::Terms;
use crate::{Backend, Error, Stage};

/// Commits, or rolls back and says why.
pub(crate) async fn commit<DB: Backend>(lease: &mut Lease<DB>, terms: Terms<DB>) -> Result<(), Error> {
    let at_once = lease.may_commit_at_once();
    let committed =
        if at_once { Box::pin(commit_at_once(lease, terms)).await } else { try_commit(lease, terms).await };
    let refused = match committed {
        Ok(()) => {
            lease.mark_clean();
            return Ok(());
        }
        // There is nobody to send a rollback to.
        Err(lost) if lost.is_broken() => return Err(lost),
        Err(refused) => refused,
    };
    let Err(cleanup) = roll_back(lease, terms).await else {
        return Err(refused);
    };
    // Without a proof of the place, the refusal may have been the answer to another statement. Only in the same process no
    // answer can be taken for another.
    let is_in_doubt = at_once && DB::ANSWER_LIMIT.is_some();
    let refused = if is_in_doubt { refused.in_doubt() } else { refused };
    Err(refused.with_cleanup(Some(cleanup)))
}

/// Commits in one trip, and leaves sqlx's count for the next transaction.
async fn commit_at_once<DB: Backend>(lease: &mut Lease<DB>, terms: Terms<DB>) -> Result<(), Error> {
    let limit = terms.answer_limit;
    let holder = lease.holder_mut();
    let (connection, patience) = holder.in_reach().map_err(Error::uncommitted::<DB>)?;
    if let Err(in_the_way) = patience.within(limit, DB::clear_the_way(connection)).await {
        return holder.note(Err(in_the_way)).map_err(Error::uncommitted::<DB>);
    }
    let mut attempts = terms.retry.start();
    loop {
        let (connection, patience) = holder.in_reach().map_err(Error::uncommitted::<DB>)?;
        let answer = patience.within(limit, DB::commit_at_once(connection)).await;
        match holder.note(answer) {
            Ok(()) => {
                holder.set_overcounted();
                return Ok(());
            }
            Err(error) if DB::is_busy(&error) => {
                if let Err(gave_up) = attempts.pause().await {
                    return Err(Error::busy(Stage::Commit, error, gave_up));
                }
            }
            Err(error) if DB::says_not_open(&error) => return Err(Error::ended_elsewhere(Some(error))),
            Err(error) if DB::says_aborted(&error) => return Err(Error::uncommitted::<DB>(error)),
            Err(error) => return Err(Error::new::<DB>(Stage::Commit, error)),
        }
    }
}

async fn try_commit<DB: Backend>(lease: &mut Lease<DB>, terms: Terms<DB>) -> Result<(), Error> {
    if lease.is_doomed() {
        return Err(Error::doomed(Stage::Commit));
    }
    let is_shared = lease.is_kept();
    let failed = |error| Error::new::<DB>(Stage::Commit, error);
    let limit = terms.answer_limit;
    if lease.holder().is_in_test() {
        let (connection, patience) = lease.holder_mut().in_reach().map_err(Error::uncommitted::<DB>)?;
        let answer = patience.within(limit, Box::pin(release_in_test::<DB>(connection))).await;
        return lease.holder_mut().note(answer).map_err(failed);
    }
    // Where no transaction is open, a commit of sqlx's succeeds; and a nested `begin` of sqlx's that was cancelled
    // has rolled back the transaction around it.
    let (connection, patience) = lease.holder_mut().in_reach().map_err(Error::uncommitted::<DB>)?;
    let answer = patience.within(limit, Box::pin(DB::is_whole(connection, is_shared))).await;
    match lease.holder_mut().note(answer) {
        Ok(true) => {}
        Ok(false) => return Err(Error::ended_elsewhere(None)),
        Err(error) => return Err(Error::uncommitted::<DB>(error)),
    }
    let (connection, patience) = lease.holder_mut().in_reach().map_err(Error::uncommitted::<DB>)?;
    let mut attempts = terms.retry.start();
    // A nested transaction of sqlx's that was leaked is one more level to commit.
    while DB::TransactionManager::get_transaction_depth(connection) > 0 {
        match patience.within(limit, DB::TransactionManager::commit(connection)).await {
            Ok(()) => {}
            Err(error) if DB::is_busy(&error) => {
                if let Err(gave_up) = attempts.pause().await {
                    return Err(Error::busy(Stage::Commit, error, gave_up));
                }
            }
            Err(error) if DB::says_not_open(&error) => {
                return Err(Error::ended_elsewhere(Some(error)));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Stops what was left running, where that is wanted, and rolls back.
pub(crate) async fn undo<DB: Backend>(lease: &mut Lease<DB>, terms: Terms<DB>) -> Result<(), Error> {
    let stopped = Box::pin(stop_abandoned(lease.holder_mut(), terms.answer_limit)).await;
    stopped.map_err(|error| Error::new::<DB>(Stage::Rollback, error))?;
    roll_back(lease, terms).await
}

/// Rolls back. On failure the lease stays dirty, which closes the connection.
async fn roll_back<DB: Backend>(lease: &mut Lease<DB>, terms: Terms<DB>) -> Result<(), Error> {
    let failed = |error| Error::new::<DB>(Stage::Rollback, error);
    let is_in_test = lease.holder().is_in_test();
    let (connection, patience) = lease.holder_mut().in_reach().map_err(failed)?;
    let rolled_back = async {
        if is_in_test {
            Box::pin(undo_in_test::<DB>(connection, "tenure_test")).await
        } else {
            DB::roll_back(connection).await
        }
    };
    let answer = patience.within(terms.answer_limit, rolled_back).await;
    lease.holder_mut().note(answer).map_err(failed)?;
    lease.absolve();
    lease.mark_clean();
    Ok(())
}

/// The same as a commit, inside of a test's transaction.
async fn release_in_test<DB: Backend>(connection: &mut DB::Connection) -> Result<(), sqlx::Error> {
    DB::skip(connection).await?;
    while DB::TransactionManager::get_transaction_depth(connection) > 1 {
        DB::TransactionManager::commit(connection).await?;
    }
    DB::execute(connection, "RELEASE SAVEPOINT tenure_test".into_sql_str()).await
}

/// The same as a rollback, inside of a test's transaction.
pub(crate) async fn undo_in_test<DB: Backend>(
    connection: &mut DB::Connection,
    savepoint: &str,
) -> Result<(), sqlx::Error> {
    DB::skip(connection).await?;
    while DB::TransactionManager::get_transaction_depth(connection) > 1 {
        DB::TransactionManager::rollback(connection).await?;
    }
    if DB::TransactionManager::get_transaction_depth(connection) == 0 {
        // Something has ended the test's own.
        return Err(out_of_place());
    }
    for verb in ["ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"] {
        DB::execute(connection, AssertSqlSafe(format!("{verb} {savepoint}")).into_sql_str()).await?;
    }
    Ok(())
}
