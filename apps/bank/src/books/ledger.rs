//! The accounts and the ledger, as each database spells them.

use sqlx::{Executor as _, MySql, MySqlConnection, PgConnection, Postgres, Sqlite, SqliteConnection};
use tenure::with;
use tenure_sqlx::{Backend, Begin, Connection};

use crate::problem::Problem;

/// The number of an account, from 1.
pub(crate) type Account = i64;

/// An amount of money.
pub(crate) type Cents = i64;

/// How many accounts the bank has.
pub(crate) const ACCOUNTS: Account = 1_000;

/// What each account begins with.
const OPENING_BALANCE: Cents = 100_000;

/// Whether a database may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The bank has made it before, or nobody has made anything in it.
    BankOrNobody,
    /// It holds what another application has made.
    Other,
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

/// A database that can keep the bank's books.
pub(crate) trait Ledger: Backend {
    /// How many connections there are.
    const CONNECTIONS: usize;

    /// The statements that make what is missing of the tables. The first marks the database as the bank's, so that
    /// a bank that was stopped in the middle goes on here the next time.
    const TABLES: &[&str];

    /// The transaction, as one that will write.
    fn to_write(transaction: Begin<'_, Self>) -> Begin<'_, Self>;

    /// Whether the database may be used.
    fn owner(connection: &mut Self::Connection) -> impl Future<Output = Result<Owner, sqlx::Error>> + Send;

    /// Executes one of these statements.
    fn make(
        connection: &mut Self::Connection,
        statement: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Opens the accounts from the first to the last, unless there are some.
    fn open_accounts(connection: &mut Self::Connection)
    -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The money on an account, which nobody else changes until the transaction ends. `None` if there is no such one.
    fn balance(
        connection: &mut Self::Connection,
        account: Account,
    ) -> impl Future<Output = Result<Option<Cents>, sqlx::Error>> + Send;

    /// Adds money to an account, or takes it away. Says whether there is such an account.
    fn add(
        connection: &mut Self::Connection,
        account: Account,
        amount: Cents,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Writes a transfer into the ledger.
    fn record(
        connection: &mut Self::Connection,
        payer: Account,
        payee: Account,
        amount: Cents,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Some accounts and what is on them, in order, from this one on.
    fn accounts(
        connection: &mut Self::Connection,
        from: Account,
        count: i64,
    ) -> impl Future<Output = Result<Vec<(Account, Cents)>, sqlx::Error>> + Send;

    /// Reads the books.
    fn books(connection: &mut Self::Connection) -> impl Future<Output = Result<Books, sqlx::Error>> + Send;
}

/// Makes what is missing of the bank's tables and accounts.
pub(crate) async fn prepare<D: Ledger>(connection: &mut Connection<D>) -> Result<(), Problem> {
    for statement in D::TABLES {
        D::make(connection, statement).await?;
    }
    with(D::to_write(connection.transaction()), async |transaction| Ok(D::open_accounts(transaction).await?))
        .await
}

/// Implements [`Ledger`] for a database. What it does not name is the same in all of them.
macro_rules! ledger {
    (
        $database:ty, $connection:ty, at most $connections:literal connections,
        to write: $to_write:expr,
        // How it writes the first, second and third parameter of a statement.
        parameters: [$first:literal, $second:literal, $third:literal],
        // The type that a sum is cast to, to be a whole number of 64 bits.
        whole_number: $whole:literal,
        // What makes a read keep others from writing.
        locking: $locking:literal,
        // Yields a column: how many signs there are that this is somebody else's.
        foreign: $foreign:literal,
        tables: [$($table:expr),+ $(,)?],
    ) => {
        impl Ledger for $database {
            const CONNECTIONS: usize = $connections;
            const TABLES: &[&str] = &[$($table),+];

            fn to_write(transaction: Begin<'_, Self>) -> Begin<'_, Self> {
                $to_write(transaction)
            }

            async fn owner(connection: &mut $connection) -> Result<Owner, sqlx::Error> {
                let signs: i64 = sqlx::query_scalar($foreign).fetch_one(connection).await?;
                Ok(if signs == 0 { Owner::BankOrNobody } else { Owner::Other })
            }

            async fn make(connection: &mut $connection, statement: &'static str) -> Result<(), sqlx::Error> {
                connection.execute(statement).await.map(drop)
            }

            async fn open_accounts(connection: &mut $connection) -> Result<(), sqlx::Error> {
                let count = "SELECT count(*) FROM accounts";
                let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *connection).await?;
                if count > 0 {
                    return Ok(());
                }
                let mut insert = sqlx::QueryBuilder::new("INSERT INTO accounts (account, opening, balance) ");
                insert.push_values(1..=ACCOUNTS, |mut row, account| {
                    row.push_bind(account).push_bind(OPENING_BALANCE).push_bind(OPENING_BALANCE);
                });
                insert.build().execute(connection).await.map(drop)
            }

            async fn balance(
                connection: &mut $connection,
                account: Account,
            ) -> Result<Option<Cents>, sqlx::Error> {
                let balance = concat!("SELECT balance FROM accounts WHERE account = ", $first, $locking);
                sqlx::query_scalar(balance).bind(account).fetch_optional(connection).await
            }

            async fn add(
                connection: &mut $connection,
                account: Account,
                amount: Cents,
            ) -> Result<bool, sqlx::Error> {
                let add = concat!(
                    "UPDATE accounts SET balance = balance + ", $first, " WHERE account = ", $second
                );
                let done = sqlx::query(add).bind(amount).bind(account).execute(connection).await?;
                Ok(done.rows_affected() == 1)
            }

            async fn record(
                connection: &mut $connection,
                payer: Account,
                payee: Account,
                amount: Cents,
            ) -> Result<(), sqlx::Error> {
                let record = concat!(
                    "INSERT INTO ledger (payer, payee, amount) VALUES (", $first, ", ", $second, ", ", $third, ")"
                );
                sqlx::query(record).bind(payer).bind(payee).bind(amount).execute(connection).await.map(drop)
            }

            async fn accounts(
                connection: &mut $connection,
                from: Account,
                count: i64,
            ) -> Result<Vec<(Account, Cents)>, sqlx::Error> {
                let accounts = concat!(
                    "SELECT account, balance FROM accounts WHERE account >= ", $first,
                    " ORDER BY account LIMIT ", $second
                );
                sqlx::query_as(accounts).bind(from).bind(count).fetch_all(connection).await
            }

            async fn books(connection: &mut $connection) -> Result<Books, sqlx::Error> {
                let books = concat!(
                    "WITH moved (account, amount) AS (
                         SELECT payee, amount FROM ledger UNION ALL SELECT payer, -amount FROM ledger
                     ), explained (account, amount) AS (
                         SELECT account, sum(amount) FROM moved GROUP BY account
                     )
                     SELECT
                         CAST((SELECT sum(balance) FROM accounts) AS ", $whole, "),
                         (SELECT count(*) FROM ledger),
                         (SELECT count(*) FROM accounts LEFT JOIN explained
                          ON explained.account = accounts.account
                          WHERE balance <> opening + coalesce(amount, 0))"
                );
                let (sum, entries, unexplained) = sqlx::query_as(books).fetch_one(connection).await?;
                Ok(Books { sum, entries, unexplained })
            }
        }
    };
}

ledger! {
    // One writes at a time; the others begin, wait, end and are returned meanwhile.
    Sqlite, SqliteConnection, at most 4 connections,
    // With the lock for writing from the beginning: one that reads first and writes later may come too late.
    to write: Begin::<Sqlite>::immediate,
    parameters: ["?1", "?2", "?3"],
    whole_number: "INTEGER",
    locking: "",
    // The number is the one that the first of the tables' statements sets.
    foreign: "SELECT CASE application_id
                  WHEN 2118886401 THEN 0
                  WHEN 0 THEN (SELECT count(*) FROM sqlite_schema)
                  ELSE 1
              END FROM pragma_application_id",
    tables: [
        "PRAGMA application_id = 2118886401",
        "CREATE TABLE IF NOT EXISTS accounts (
             account INTEGER PRIMARY KEY,
             opening INTEGER NOT NULL,
             balance INTEGER NOT NULL CHECK (balance >= 0)
         )",
        "CREATE TABLE IF NOT EXISTS ledger (
             entry INTEGER PRIMARY KEY,
             payer INTEGER NOT NULL REFERENCES accounts,
             payee INTEGER NOT NULL REFERENCES accounts,
             amount INTEGER NOT NULL CHECK (amount > 0)
         )",
    ],
}

ledger! {
    Postgres, PgConnection, at most 8 connections,
    to write: std::convert::identity,
    parameters: ["$1", "$2", "$3"],
    whole_number: "BIGINT",
    locking: " FOR UPDATE",
    // Tables of these names, without the one that is made first.
    foreign: "SELECT count(*) FROM information_schema.tables
              WHERE table_schema = current_schema() AND table_name IN ('accounts', 'ledger')
              AND NOT EXISTS (SELECT 1 FROM information_schema.tables
                              WHERE table_schema = current_schema() AND table_name = 'tenure_bank')",
    tables: [
        "CREATE TABLE IF NOT EXISTS tenure_bank ()",
        "CREATE TABLE IF NOT EXISTS accounts (
             account BIGINT PRIMARY KEY,
             opening BIGINT NOT NULL,
             balance BIGINT NOT NULL CHECK (balance >= 0)
         )",
        "CREATE TABLE IF NOT EXISTS ledger (
             entry BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             payer BIGINT NOT NULL REFERENCES accounts,
             payee BIGINT NOT NULL REFERENCES accounts,
             amount BIGINT NOT NULL CHECK (amount > 0)
         )",
    ],
}

ledger! {
    MySql, MySqlConnection, at most 8 connections,
    to write: std::convert::identity,
    parameters: ["?", "?", "?"],
    whole_number: "SIGNED",
    locking: " FOR UPDATE",
    foreign: "SELECT count(*) FROM information_schema.tables
              WHERE table_schema = DATABASE() AND table_name IN ('accounts', 'ledger')
              AND NOT EXISTS (SELECT 1 FROM information_schema.tables
                              WHERE table_schema = DATABASE() AND table_name = 'tenure_bank')",
    tables: [
        "CREATE TABLE IF NOT EXISTS tenure_bank (nothing INTEGER) ENGINE = InnoDB",
        "CREATE TABLE IF NOT EXISTS accounts (
             account BIGINT PRIMARY KEY,
             opening BIGINT NOT NULL,
             balance BIGINT NOT NULL CHECK (balance >= 0)
         ) ENGINE = InnoDB",
        "CREATE TABLE IF NOT EXISTS ledger (
             entry BIGINT AUTO_INCREMENT PRIMARY KEY,
             payer BIGINT NOT NULL,
             payee BIGINT NOT NULL,
             amount BIGINT NOT NULL CHECK (amount > 0),
             FOREIGN KEY (payer) REFERENCES accounts (account),
             FOREIGN KEY (payee) REFERENCES accounts (account)
         ) ENGINE = InnoDB",
    ],
}
