//! The audit: a context that reads the books when it is entered, and again at its exit.

use std::sync::Arc;

use tenure::{AsyncExit, Outcome, with};

use crate::account::{self, Books};
use crate::connections::Connections;
use crate::problem::Problem;
use crate::tally::Tally;

/// The books have been read once, and will be read again: whatever happens in between.
#[derive(Debug)]
pub(crate) struct Audit {
    connections: Connections,
    tally: Arc<Tally>,
}

/// Begins an audit.
pub(crate) async fn audit(connections: &Connections, tally: &Arc<Tally>) -> Result<Audit, Problem> {
    tally.begin(read(connections).await?);
    Ok(Audit { connections: connections.clone(), tally: Arc::clone(tally) })
}

impl AsyncExit for Audit {
    type Error = Problem;

    async fn exit(self, _outcome: Outcome<'_>) -> Result<(), Problem> {
        let books = read(&self.connections).await?;
        self.tally.end(books);
        Ok(())
    }
}

async fn read(connections: &Connections) -> Result<Books, Problem> {
    with(connections.get(), async |connection| Ok(account::books(connection).await?)).await
}
