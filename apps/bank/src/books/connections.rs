//! A few connections for many requests: what the bank adds to tenure-sqlx's manager.
//!
//! # Invariants
//! 1. What is lent is clean. After a use that did not complete, the reset waits until the transaction has given the
//!    connection back; one on which a transaction is still open then is closed, not cleaned.
//! 2. A connection on which a transaction is still open when it is closed is counted, and decides the exit code.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use tenure_pool::{Context, CreateContext, LeaseEnd, Manager, Next, Pool};
use tenure_sqlx::{Connection, pool};

use super::ledger::Ledger;
use crate::problem::Problem;
use crate::tally::Tally;

/// How long the reset, check or close of a connection may take: longer than the 10 s after which a connection gives
/// up waiting for a transaction to hand it back.
const TEND_LIMIT: Duration = Duration::from_secs(15);

/// How long a request waits for a connection, before it is told to come again.
const GET_LIMIT: Duration = Duration::from_secs(10);

/// The connections to the bank's database, each opened when it is needed, lent in order of arrival.
pub(crate) type Connections<D> = Pool<Connector<D>>;

/// How a connection is opened.
pub(crate) type ConnectOptions<D> = <<D as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// Connections to this database. As a context they are all closed at the exit, when all have been returned.
pub(crate) fn connections<D: Ledger>(options: ConnectOptions<D>, tally: &Arc<Tally>) -> Connections<D> {
    let inner = pool::Connections::new(options);
    Pool::builder(Connector { inner, tally: Arc::clone(tally) })
        .name("bank")
        .max_size(D::CONNECTIONS)
        .get_timeout(GET_LIMIT)
        .check_timeout(TEND_LIMIT)
        .reset_timeout(TEND_LIMIT)
        .close_timeout(TEND_LIMIT)
        .build()
        .expect("the size is in range")
}

/// Opens, cleans and closes connections.
#[derive(Debug)]
pub(crate) struct Connector<D: Ledger> {
    inner: pool::Connections<D>,
    tally: Arc<Tally>,
}

impl<D: Ledger> Manager for Connector<D> {
    type Resource = Connection<D>;
    type Error = Problem;

    async fn create(&self, context: CreateContext) -> Result<Connection<D>, Problem> {
        Ok(self.inner.create(context).await?)
    }

    /// There is nothing to roll back: the transaction does that, and this waits until it has. One that did not is
    /// not worth a second attempt but a violation, so the connection is closed.
    async fn reset(&self, connection: &mut Connection<D>, _: Context) -> Result<(), Problem> {
        let connection = connection.ready().await?;
        if connection.is_in_transaction() { Err(Problem::LeftOpen) } else { Ok(()) }
    }

    async fn check(&self, connection: &mut Connection<D>, context: Context) -> Result<(), Problem> {
        Ok(self.inner.check(connection, context).await?)
    }

    async fn close(&self, mut connection: Connection<D>, context: Context) -> Result<(), Problem> {
        // An error says that a transaction has closed it already.
        if connection.ready().await.is_ok_and(|connection| connection.is_in_transaction()) {
            self.tally.transaction_left_open();
        }
        Ok(self.inner.close(connection, context).await?)
    }

    fn is_broken(&self, connection: &Connection<D>) -> bool {
        self.inner.is_broken(connection)
    }

    fn assess_completed(&self, connection: &mut Connection<D>) -> Next {
        self.inner.assess_completed(connection)
    }

    fn assess(&self, connection: &mut Connection<D>, end: LeaseEnd<'_>) -> Next {
        self.inner.assess(connection, end)
    }

    fn is_permanent(&self, problem: &Problem) -> bool {
        matches!(problem, Problem::Tenure(error) if self.inner.is_permanent(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::Sqlite;
    use tenure::{hold, with};
    use tenure_pool::Lease;

    use super::connections;
    use crate::books::file::DatabaseFile;
    use crate::books::ledger::Ledger as _;
    use crate::problem::Problem;
    use crate::tally::Tally;

    #[tokio::test]
    async fn a_connection_that_is_returned_while_a_transaction_has_it_is_clean_for_the_next() {
        let tally = Arc::new(Tally::new());
        let tested = with(DatabaseFile::claim(None), async |database| {
            database.prepare().await?;
            let pool = connections::<Sqlite>(database.options(), &tally);
            pool.resize(1).expect("one is a size");
            with(pool, async |pool| {
                let before =
                    with(pool.get(), async |lease| Ok::<_, Problem>(Sqlite::books(lease).await?)).await?;
                let mut lease = pool.get().await?;
                let id = Lease::id(&lease);
                let mut transaction = hold(lease.transaction().immediate()).await?;
                Sqlite::add(&mut transaction, 1, -100).await?;
                // The rollback goes on in the background, and the lease goes before it has ended.
                drop(transaction);
                drop(lease);
                let mut lease = pool.get().await?;
                assert_eq!(Lease::id(&lease), id, "the connection was reset, not replaced");
                assert_eq!(Sqlite::books(&mut lease).await?, before);
                lease.complete();
                let counters = pool.counters();
                assert_eq!((counters.resets, counters.reset_failures), (1, 0));
                Ok::<_, Problem>(())
            })
            .await
        });
        tested.await.unwrap();
        assert_eq!(tally.left_open(), 0);
    }
}
