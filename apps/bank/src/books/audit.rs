//! The audit: a context that reads the books when it is entered, and again at its exit.

use std::sync::Arc;

use tenure::{AsyncExit, Outcome, with};
use tenure_sqlx::pool::PoolExt as _;

use super::connections::Connections;
use super::ledger::{Books, Ledger};
use crate::problem::Problem;
use crate::tally::Tally;

/// The books have been read once, and will be read again: whatever happens in between.
#[derive(Debug)]
pub(crate) struct Audit<D: Ledger> {
    connections: Connections<D>,
    tally: Arc<Tally>,
}

/// Begins an audit.
pub(crate) async fn audit<D: Ledger>(
    connections: &Connections<D>,
    tally: &Arc<Tally>,
) -> Result<Audit<D>, Problem> {
    tally.begin(read(connections).await?);
    Ok(Audit { connections: connections.clone(), tally: Arc::clone(tally) })
}

impl<D: Ledger> AsyncExit for Audit<D> {
    type Error = Problem;

    async fn exit(self, _outcome: Outcome<'_>) -> Result<(), Problem> {
        let books = read(&self.connections).await?;
        self.tally.end(books);
        Ok(())
    }
}

async fn read<D: Ledger>(connections: &Connections<D>) -> Result<Books, Problem> {
    with(connections.connection(), async |connection| Ok(D::books(connection).await?)).await
}
