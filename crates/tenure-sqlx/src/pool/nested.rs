//! The transaction of a test, in which all that is done on a connection of its pool nests.
//!
//! # Invariants
//! 1. It is begun when the connection is opened, and ends with the connection.
//! 2. A use outside of a transaction has a savepoint in it, which is taken away before another use begins.

use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx_core::transaction::TransactionManager as _;

use crate::Backend;
use crate::ending::undo_in_test;
use crate::lease::Holder;

/// Begins the transaction that is never committed.
pub(crate) async fn begin_test<DB: Backend>(holder: &mut Holder<DB>) -> Result<(), sqlx::Error> {
    let (connection, patience) = holder.in_reach()?;
    let begin = DB::TransactionManager::begin(connection, Some(DB::begin_statement(DB::Mode::default())));
    patience.within(DB::ANSWER_LIMIT, begin).await?;
    holder.set_in_test();
    Ok(())
}

/// Sets a savepoint for a use without a transaction of its own, so that what fails in it does not abort the test's.
pub(crate) async fn begin_use<DB: Backend>(holder: &mut Holder<DB>) -> Result<(), sqlx::Error> {
    let (connection, patience) = holder.in_reach()?;
    let set = DB::execute(connection, "SAVEPOINT tenure_use".into_sql_str());
    let answer = patience.within(DB::ANSWER_LIMIT, set).await;
    holder.note(answer)?;
    holder.set_in_use(true);
    Ok(())
}

/// Ends a use: what it did stays, unless it has failed so that nothing can follow it.
pub(crate) async fn end_use<DB: Backend>(
    holder: &mut Holder<DB>,
    limit: Option<Duration>,
) -> Result<(), sqlx::Error> {
    let in_use = holder.set_in_use(false);
    let (connection, patience) = holder.in_reach()?;
    let ended = async {
        if !in_use {
            return DB::prove(connection).await;
        }
        DB::skip(connection).await?;
        while DB::TransactionManager::get_transaction_depth(connection) > 1 {
            DB::TransactionManager::rollback(connection).await?;
        }
        match DB::execute(connection, "RELEASE SAVEPOINT tenure_use".into_sql_str()).await {
            Err(error) if DB::is_answer(&error) => undo_in_test::<DB>(connection, "tenure_use").await,
            ended => ended,
        }
    };
    let answer = patience.within(limit, ended).await;
    holder.note(answer)
}
