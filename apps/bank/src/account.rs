//! The accounts: how they are kept in the database.

use sqlx::{AssertSqlSafe, Executor as _, SqliteConnection};

/// The number of an account, from 1.
pub(crate) type Account = i64;

/// An amount of money.
pub(crate) type Cents = i64;

/// How many accounts the bank has.
pub(crate) const ACCOUNTS: Account = 1_000;

/// What each account begins with.
const OPENING_BALANCE: Cents = 100_000;

/// Marks a database as the bank's own.
const APPLICATION_ID: i64 = 0x7E4B_A401;

/// Whose data a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is empty.
    Nobody,
    /// The bank has made it before.
    Bank,
    /// Another application.
    Other,
}

/// Whose data the database holds.
pub(crate) async fn owner(connection: &mut SqliteConnection) -> Result<Owner, sqlx::Error> {
    let tables = scalar(connection, "SELECT count(*) FROM sqlite_schema").await?;
    let application = scalar(connection, "PRAGMA application_id").await?;
    Ok(if application == APPLICATION_ID {
        Owner::Bank
    } else if application == 0 && tables == 0 {
        Owner::Nobody
    } else {
        Owner::Other
    })
}

/// Opens the accounts in an empty database.
pub(crate) async fn open_all(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(
            "CREATE TABLE accounts (
                 account INTEGER PRIMARY KEY,
                 opening INTEGER NOT NULL,
                 balance INTEGER NOT NULL CHECK (balance >= 0)
             );
             CREATE TABLE ledger (
                 entry INTEGER PRIMARY KEY,
                 payer INTEGER NOT NULL REFERENCES accounts,
                 payee INTEGER NOT NULL REFERENCES accounts,
                 amount INTEGER NOT NULL CHECK (amount > 0)
             );",
        )
        .await?;
    sqlx::query(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
         INSERT INTO accounts SELECT n, ?2, ?2 FROM number",
    )
    .bind(ACCOUNTS)
    .bind(OPENING_BALANCE)
    .execute(&mut *connection)
    .await?;
    // A pragma takes no parameters.
    let seal = format!("PRAGMA application_id = {APPLICATION_ID}");
    connection.execute(AssertSqlSafe(seal)).await.map(drop)
}

async fn scalar(connection: &mut SqliteConnection, query: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(query).fetch_one(connection).await
}

/// The money on an account.
pub(crate) async fn balance(connection: &mut SqliteConnection, account: Account) -> Result<Cents, sqlx::Error> {
    sqlx::query_scalar("SELECT balance FROM accounts WHERE account = ?")
        .bind(account)
        .fetch_one(connection)
        .await
}

/// Adds money to an account, or takes it away.
pub(crate) async fn add(
    connection: &mut SqliteConnection,
    account: Account,
    amount: Cents,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE accounts SET balance = balance + ? WHERE account = ?")
        .bind(amount)
        .bind(account)
        .execute(connection)
        .await
        .map(drop)
}

/// Writes a transfer into the ledger.
pub(crate) async fn record(
    connection: &mut SqliteConnection,
    payer: Account,
    payee: Account,
    amount: Cents,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO ledger (payer, payee, amount) VALUES (?, ?, ?)")
        .bind(payer)
        .bind(payee)
        .bind(amount)
        .execute(connection)
        .await
        .map(drop)
}

/// The books at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    /// The money on all accounts together.
    pub(crate) sum: Cents,
    /// How many transfers the ledger has.
    pub(crate) entries: i64,
    /// How many accounts have a balance that the ledger does not explain.
    pub(crate) unexplained: i64,
}

/// Reads the books.
pub(crate) async fn books(connection: &mut SqliteConnection) -> Result<Books, sqlx::Error> {
    let (sum, entries, unexplained) = sqlx::query_as(
        "WITH moved (account, amount) AS (
             SELECT payee, amount FROM ledger UNION ALL SELECT payer, -amount FROM ledger
         ), explained (account, amount) AS (
             SELECT account, sum(amount) FROM moved GROUP BY account
         )
         SELECT
             (SELECT sum(balance) FROM accounts),
             (SELECT count(*) FROM ledger),
             (SELECT count(*) FROM accounts LEFT JOIN explained USING (account)
              WHERE balance <> opening + coalesce(amount, 0))",
    )
    .fetch_one(connection)
    .await?;
    Ok(Books { sum, entries, unexplained })
}
