//! A database on a server to keep the books in: named by a URL, and claimed, so that two banks do not count each other's
//! money.

use std::time::Duration;

use sqlx::{MySql, Postgres};
use tenure::{AsyncExit, Outcome, hold};
use tenure_sqlx::Connection;
use tokio::time::timeout;
use url::Url;

use super::connections::ConnectOptions;
use super::ledger::{self, Ledger, Owner};
use crate::problem::{FOREIGN, Problem};

/// How long the server may take to accept the first connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A database on a server.
pub(crate) trait OnServer: Ledger {
    /// Claims the database for this session, and yields whether that was possible.
    fn claim(connection: &mut Self::Connection) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// A connection that is to be opened.
    fn connect(options: ConnectOptions<Self>) -> tenure_sqlx::Connect<Self>;
}

impl OnServer for Postgres {
    async fn claim(connection: &mut Self::Connection) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT pg_try_advisory_lock(2118886401)").fetch_one(connection).await
    }

    fn connect(options: ConnectOptions<Self>) -> tenure_sqlx::Connect<Self> {
        tenure_sqlx::postgres::connect(options)
    }
}

impl OnServer for MySql {
    async fn claim(connection: &mut Self::Connection) -> Result<bool, sqlx::Error> {
        // Such locks are the whole server's, and their names are short.
        let claim = "SELECT coalesce(GET_LOCK(concat('tenure_bank.', md5(DATABASE())), 0), 0) = 1";
        sqlx::query_scalar(claim).fetch_one(connection).await
    }

    fn connect(options: ConnectOptions<Self>) -> tenure_sqlx::Connect<Self> {
        tenure_sqlx::mysql::connect(options)
    }
}

/// The bank's database on a server: claimed for as long as its connection is open.
pub(crate) struct Server<D: Ledger> {
    options: ConnectOptions<D>,
    address: String,
    /// It holds the claim and does nothing else.
    claim: Connection<D>,
}

impl<D: OnServer> Server<D> {
    /// Claims the database at this URL.
    pub(crate) async fn claim(url: &Url) -> Result<Self, Problem> {
        let address = without_password(url);
        let refused = |problem: Problem| problem.at(&address);
        let options: ConnectOptions<D> =
            url.as_str().parse().map_err(|error| refused(Problem::Statement(error)))?;
        let connected = timeout(CONNECT_LIMIT, hold(D::connect(options.clone()))).await;
        let connected = connected.map_err(|_| {
            Problem::unusable(&address, format!("it does not answer within {} s", CONNECT_LIMIT.as_secs()))
        })?;
        let mut connection = connected.map_err(|error| refused(error.into()))?;
        let problem = match D::claim(&mut connection).await {
            Ok(true) => return Ok(Self { options, address, claim: connection.disarm() }),
            Ok(false) => Problem::unusable(&address, "another bank is using it"),
            Err(error) => refused(error.into()),
        };
        // That it cannot be closed in order either tells nobody more.
        let _ = connection.close().await;
        Err(problem)
    }

    /// Makes what is missing in it.
    pub(crate) async fn prepare(&mut self) -> Result<(), Problem> {
        let connection = &mut self.claim;
        let prepared = match D::owner(connection).await {
            Ok(Owner::BankOrNobody) => ledger::prepare(connection).await,
            Ok(Owner::Other) => Err(Problem::unusable(&self.address, FOREIGN)),
            Err(error) => Err(error.into()),
        };
        prepared.map_err(|problem| problem.at(&self.address))
    }

    /// How to connect.
    pub(crate) fn options(&self) -> ConnectOptions<D> {
        self.options.clone()
    }
}

impl<D: Ledger> AsyncExit for Server<D> {
    type Error = Problem;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Problem> {
        Ok(self.claim.exit(outcome).await?)
    }
}

/// A URL, to be shown.
fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // It fails where there is no place for a password.
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://ann:secret@db.example/bank", "postgres://ann@db.example/bank"),
            ("mysql://db.example:3306/bank", "mysql://db.example:3306/bank"),
        ] {
            assert_eq!(without_password(&url.parse().unwrap()), shown);
        }
    }
}
