//! A few connections for many clients, lent in order of arrival.
//!
//! # Invariants
//! 1. A connection is idle, or lent to one checkout, or closed. `opened - closed` counts the first two.
//! 2. A checkout has a permit from before it has a connection until that is idle again or closed.
//! 3. What becomes idle is clean: a checkout waits at its exit until a transaction has given the connection back,
//!    and one that a transaction has closed does not become idle.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;
use tenure::{AsyncExit, Outcome};
use tenure_sqlx::sqlite::{self, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::tally::Tally;

/// How many connections there are. One writes at a time; the others begin, wait, end and are returned meanwhile.
pub(crate) const CONNECTIONS: u32 = 4;

/// The connections to the bank's database: all closed at the exit, when all have been returned.
#[derive(Clone)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    tally: Arc<Tally>,
}

impl Connections {
    /// Connections to this database, each opened when it is needed.
    pub(crate) async fn open(
        options: SqliteConnectOptions,
        tally: &Arc<Tally>,
    ) -> Result<Self, tenure_sqlx::Error> {
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                idle: Mutex::default(),
                permits: Arc::new(Semaphore::new(CONNECTIONS as usize)),
                tally: Arc::clone(tally),
            }),
        })
    }

    /// A connection for a while: waits for one, and opens it if fewer than all are open.
    ///
    /// # Cancel safety
    /// One's place in the queue is lost, and nothing else.
    pub(crate) async fn checkout(&self) -> Result<Checkout, tenure_sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(&shared.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let connection = match shared.take_idle() {
            Some(connection) => connection,
            None => {
                let connection = sqlite::connect(shared.options.clone()).await?;
                shared.tally.connection_opened();
                connection
            }
        };
        Ok(Checkout { connection, shared, _permit: permit })
    }
}

impl Shared {
    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_idle(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(connection);
    }
}

impl AsyncExit for Connections {
    type Error = tenure_sqlx::Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), tenure_sqlx::Error> {
        let Shared { permits, tally, .. } = &*self.shared;
        let all_returned = permits.acquire_many(CONNECTIONS).await;
        let _permits = all_returned.expect("the semaphore is never closed");
        let mut result = Ok(());
        while let Some(mut connection) = self.shared.take_idle() {
            if connection.is_in_transaction() || connection.ping().await.is_err() {
                tally.transaction_left_open();
            }
            let closed = connection.exit(outcome).await;
            tally.connection_closed();
            result = result.and(closed);
        }
        result
    }
}

/// A connection that somebody has for a while. It is returned at the exit.
#[must_use = "a checkout that is dropped, not exited, loses its connection"]
pub(crate) struct Checkout {
    connection: Connection,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncExit for Checkout {
    type Error = tenure_sqlx::Error;

    async fn exit(mut self, _outcome: Outcome<'_>) -> Result<(), tenure_sqlx::Error> {
        match self.connection.ready().await {
            Ok(_) => {
                self.shared.put_idle(self.connection);
                Ok(())
            }
            Err(error) => {
                self.shared.tally.connection_closed();
                Err(error)
            }
        }
    }
}

impl Deref for Checkout {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Checkout {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
