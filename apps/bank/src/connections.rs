//! A few connections for many clients: what the pool has to know of them.
//!
//! # Invariants
//! 1. What is lent is clean. A client whose transfer ended well returns its connection when the transaction has given
//!    it back; after any other end, the reset waits for that. A connection that a transaction has closed, or on which
//!    one is still open, is not lent again.
//! 2. A connection on which a transaction is still open when it is closed is counted, and decides the exit code.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;
use tenure::{AsyncExit, Outcome};
use tenure_pool::{Context, CreateContext, Manager, Pool};
use tenure_sqlx::sqlite::{self, Connection};
use tokio::sync::Mutex;

use crate::problem::Problem;
use crate::tally::Tally;

/// How many connections there are. One writes at a time; the others begin, wait, end and are returned meanwhile.
const CONNECTIONS: usize = 4;

/// How long the reset, check or close of a connection may take: longer than the 10 s after which a connection gives
/// up waiting for a transaction to hand it back.
const TEND_LIMIT: Duration = Duration::from_secs(15);

/// The connections to the bank's database, each opened when it is needed, lent in order of arrival.
pub(crate) type Connections = Pool<Connector>;

/// Connections to this database. As a context they are all closed at the exit, when all have been returned.
pub(crate) fn connections(options: SqliteConnectOptions, tally: &Arc<Tally>) -> Connections {
    let connector = Connector { options, tally: Arc::clone(tally), closing: Mutex::new(()) };
    Pool::builder(connector)
        .name("bank")
        .max_size(CONNECTIONS)
        // How long a client waits is its own affair: some orders have a time limit.
        .get_timeout(None)
        .check_timeout(TEND_LIMIT)
        .reset_timeout(TEND_LIMIT)
        .close_timeout(TEND_LIMIT)
        .build()
        .expect("the size is in range")
}

/// Opens, cleans and closes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    options: SqliteConnectOptions,
    tally: Arc<Tally>,
    /// Closing goes one by one: SQLite removes its log with the last connection, but of two that close at the same
    /// time each takes the other for one that stays.
    closing: Mutex<()>,
}

impl Manager for Connector {
    type Resource = Connection;
    type Error = Problem;

    async fn create(&self, _: CreateContext) -> Result<Connection, Problem> {
        Ok(sqlite::connect(self.options.clone()).await?)
    }

    /// There is nothing to roll back: the transaction does that, and this waits until it has. One that did not is
    /// not worth a second attempt but a violation, so the connection is closed.
    async fn reset(&self, connection: &mut Connection, _: Context) -> Result<(), Problem> {
        let connection = connection.ready().await?;
        if connection.is_in_transaction() { Err(Problem::LeftOpen) } else { Ok(()) }
    }

    async fn check(&self, connection: &mut Connection, _: Context) -> Result<(), Problem> {
        Ok(connection.ready().await?.ping().await?)
    }

    async fn close(&self, mut connection: Connection, _: Context) -> Result<(), Problem> {
        // An error says that a transaction has closed it already.
        if connection.ready().await.is_ok_and(|connection| connection.is_in_transaction()) {
            self.tally.transaction_left_open();
        }
        let _alone = self.closing.lock().await;
        Ok(connection.exit(Outcome::Completed).await?)
    }

    /// A file that cannot be opened now cannot be opened in a moment.
    fn is_permanent(&self, _: &Problem) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::{hold, with};
    use tenure_pool::Lease;

    use super::connections;
    use crate::account;
    use crate::database::Database;
    use crate::problem::Problem;
    use crate::tally::Tally;

    #[tokio::test]
    async fn a_connection_that_is_returned_while_a_transaction_has_it_is_clean_for_the_next() {
        let tally = Arc::new(Tally::new());
        let tested = with(Database::claim(None), async |database| {
            database.prepare().await?;
            let pool = connections(database.options(), &tally);
            pool.resize(1);
            with(pool, async |pool| {
                let before =
                    with(pool.get(), async |lease| Ok::<_, Problem>(account::books(lease).await?)).await?;
                let mut lease = pool.get().await?;
                let id = Lease::id(&lease);
                let mut transaction = hold(lease.transaction().immediate()).await?;
                account::add(&mut transaction, 1, -100).await?;
                // The rollback goes on in the background, and the lease goes before it has ended.
                drop(transaction);
                drop(lease);
                let mut lease = pool.get().await?;
                assert_eq!(Lease::id(&lease), id, "the connection was reset, not replaced");
                assert_eq!(account::books(&mut lease).await?, before);
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
