//! Opening a connection.

use std::pin::Pin;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tenure::shield;

use super::Connection;
use crate::backend::Driver as _;
use crate::{Error, Retry, Stage};

/// A connection to an SQLite database, as a context: opened when entered, closed at its exit.
///
/// Setting the journal mode needs the database for itself, for which SQLite does not wait; so opening is tried again
/// while the database is busy.
///
/// # Errors
/// Entering fails at [`Stage::Connect`], the exit at [`Stage::Close`].
///
/// # Cancel safety
/// Dropped before the first poll, or while it waits for a busy database, nothing is open. Once a connection is being
/// opened, that goes on in the background, and it is closed there in order.
pub fn connect(options: SqliteConnectOptions) -> Connect {
    Connect { options, retry: Retry::new() }
}

/// A connection to be opened; made by [`connect`].
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before it is entered, with `tenure::with` for instance"]
pub struct Connect {
    options: SqliteConnectOptions,
    retry: Retry,
}

impl Connect {
    /// How a busy database is waited for. The default is [`Retry::new`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    async fn enter(self) -> Result<Connection, Error> {
        let mut attempts = self.retry.start();
        loop {
            // Only the attempt is shielded: nothing is open between attempts.
            match shield(open(self.options.clone())).await {
                Ok(connection) => return Ok(connection),
                Err(error) if sqlx::Sqlite::is_busy(&error) => {
                    if let Err(gave_up) = attempts.pause().await {
                        return Err(Error::busy(Stage::Connect, error, gave_up));
                    }
                }
                Err(error) => return Err(Error::new(Stage::Connect, error)),
            }
        }
    }
}

async fn open(options: SqliteConnectOptions) -> Result<Connection, sqlx::Error> {
    options.connect().await.map(Connection::from_sqlx)
}

impl IntoFuture for Connect {
    type Output = Result<Connection, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.enter())
    }
}
