//! Whatever a use does with its connection, and however it is left: those who come next read their own answers, meet no
//! error of another's, and an `Ok` is one.
//!
//! Each kind of statement × each way to leave it × the n-th suspension × each level. `TENURE_MATRIX_RUNS` says how many
//! runs there are to be at least, on each database; without it each is tried at the first few suspensions.

use std::fmt::Debug;
use std::time::Duration;

use sqlx::{Connection as _, Database};
use tenure::with;
use tenure_sqlx::pool::{Pool, PoolExt};
use tenure_sqlx::{Backend, Fate};
use tokio::time::timeout;

use crate::dropped::drop_at;
use crate::failure::Failure;

/// How long something may take that should not hang.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a body waits for a statement of its own after one that it has given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// At how many suspensions each is cut, if nothing else is said.
const SUSPENSIONS: usize = 3;

/// The connection of a database.
pub(crate) type Raw<DB> = <DB as Database>::Connection;

/// A database, and the kinds of statement that it knows.
pub(crate) trait Subject: Send + Sync {
    type Db: Backend;
    type Kind: Copy + Debug + Send + Sync;

    fn kinds() -> Vec<Self::Kind>;

    /// Runs a statement of this kind to its end, or leaves it as the kind says.
    fn statement(
        kind: Self::Kind,
        connection: &mut Raw<Self::Db>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Does what others may do at any time: notify, for instance.
    fn disturb(&mut self) -> impl Future<Output = ()> + Send;

    fn mark(
        connection: &mut Raw<Self::Db>,
        text: String,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// How many marks there are of this text.
    fn marks(
        connection: &mut Raw<Self::Db>,
        text: String,
    ) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;

    /// Asks for this very text.
    fn echo(
        connection: &mut Raw<Self::Db>,
        text: String,
    ) -> impl Future<Output = Result<String, sqlx::Error>> + Send;
}

/// How a use is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All of it is dropped.
    Dropped,
    /// The statement is dropped, and the body completes.
    GivenUp,
    /// The statement is dropped, and the body fails.
    GivenUpAndFailed,
    /// The statement ends, and the body fails.
    Failed,
    /// The statement ends, well or not, and the body completes.
    Completed,
}

const WAYS: [Way; 5] = [Way::Dropped, Way::GivenUp, Way::GivenUpAndFailed, Way::Failed, Way::Completed];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// A lease of the pool's own `get`.
    Lease,
    Connection,
    Transaction,
    Savepoint,
    /// A savepoint of sqlx's own.
    Nested,
}

const LEVELS: [Level; 5] =
    [Level::Lease, Level::Connection, Level::Transaction, Level::Savepoint, Level::Nested];

impl Level {
    /// Returns `true` if what was done before a failure is undone.
    fn is_transaction(self) -> bool {
        !matches!(self, Self::Lease | Self::Connection)
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
struct Case<K> {
    kind: K,
    way: Way,
    level: Level,
    n: usize,
}

impl<K: Copy> Case<K> {
    /// The statement, and how the body goes on.
    async fn act<S: Subject<Kind = K>>(&self, connection: &mut Raw<S::Db>) -> Result<(), Failure> {
        let statement = S::statement(self.kind, connection);
        match self.way {
            Way::GivenUp | Way::GivenUpAndFailed => drop(drop_at(self.n, statement).await),
            // What fails is passed over: that is what the exit has to see.
            Way::Dropped | Way::Failed | Way::Completed => drop(statement.await),
        }
        match self.way {
            Way::Failed | Way::GivenUpAndFailed => Err(Failure::Refused),
            Way::Dropped | Way::GivenUp | Way::Completed => Ok(()),
        }
    }

    /// A use of a connection of the pool.
    async fn run<S: Subject<Kind = K>>(&self, pool: &Pool<S::Db>, mark: &str) -> Result<(), Failure>
    where
        K: Send + Sync,
    {
        if self.level == Level::Lease {
            let mut lease = pool.get().await.expect("the pool lends");
            let done = self.act::<S>(lease.conn()).await;
            if done.is_ok() {
                lease.complete();
            }
            return done;
        }
        if self.level == Level::Connection {
            return with(pool.connection(), async |connection| self.act::<S>(connection.conn()).await).await;
        }
        with(pool.transaction(), async |transaction| {
            S::mark(transaction.conn(), mark.to_owned()).await?;
            match self.level {
                Level::Lease | Level::Connection | Level::Transaction => {
                    self.act::<S>(transaction.conn()).await
                }
                Level::Savepoint => {
                    with(transaction.savepoint(), async |savepoint| self.act::<S>(savepoint.conn()).await).await
                }
                Level::Nested => {
                    let mut nested = transaction.conn().begin().await?;
                    self.act::<S>(&mut nested).await?;
                    // The body's own statement, on whatever the one before has left, waits as long as the body lets it.
                    match timeout(PATIENCE, nested.commit()).await {
                        Ok(committed) => Ok(committed?),
                        Err(_elapsed) => Err(Failure::Refused),
                    }
                }
            }
        })
        .await
    }
}

/// Asks for its own name, on a bare lease, a connection, or in a transaction; then counts the marks.
async fn ask<S: Subject>(
    pool: &Pool<S::Db>,
    name: &str,
    mark: &str,
    turn: usize,
) -> Result<(String, i64), Failure> {
    if turn.is_multiple_of(3) {
        let mut lease = pool.get().await.expect("the pool lends");
        let echo = S::echo(lease.conn(), name.to_owned()).await?;
        let marks = S::marks(lease.conn(), mark.to_owned()).await?;
        lease.complete();
        Ok((echo, marks))
    } else if turn % 3 == 1 {
        with(pool.connection(), async |connection| {
            let echo = S::echo(connection.conn(), name.to_owned()).await?;
            Ok((echo, S::marks(connection.conn(), mark.to_owned()).await?))
        })
        .await
    } else {
        with(pool.transaction(), async |transaction| {
            let echo = S::echo(transaction.conn(), name.to_owned()).await?;
            Ok((echo, S::marks(transaction.conn(), mark.to_owned()).await?))
        })
        .await
    }
}

/// One case, and those who come next.
async fn try_one<S: Subject>(subject: &mut S, pool: &Pool<S::Db>, case: Case<S::Kind>, run: usize) {
    let mark = format!("mark {run}");
    // Boxed, for the compiler's sake.
    let whole = Box::pin(case.run::<S>(pool, &mark));
    let used = async {
        match case.way {
            Way::Dropped => drop_at(case.n, whole).await,
            _ => Some(whole.await),
        }
    };
    let used = timeout(LIMIT, used).await.unwrap_or_else(|_| panic!("run {run}, {case:?}: it hangs"));
    subject.disturb().await;
    for turn in 0..3 {
        let name = format!("user {turn} of run {run}");
        let asked = timeout(LIMIT, ask::<S>(pool, &name, &mark, run + turn)).await;
        let asked = asked.unwrap_or_else(|_| panic!("run {run}, {case:?}: user {turn} waits for ever"));
        let (echo, marks) = asked.unwrap_or_else(|error| {
            panic!("run {run}, {case:?}: user {turn} meets an error of another: {error:?}")
        });
        assert_eq!(echo, name, "run {run}, {case:?}: user {turn} reads the answer of another");
        if !case.level.is_transaction() {
            continue;
        }
        match &used {
            Some(Ok(())) => assert_eq!(marks, 1, "run {run}, {case:?}: a false Ok"),
            Some(Err(Failure::Tenure(error))) if error.fate() == Some(Fate::Unknown) => {}
            Some(Err(error)) => assert_eq!(marks, 0, "run {run}, {case:?}: kept in spite of {error:?}"),
            None => {}
        }
    }
}

/// All cases, as often as is asked for.
pub(crate) async fn matrix<S: Subject>(subject: &mut S, pool: &Pool<S::Db>) -> usize {
    let at_least = std::env::var("TENURE_MATRIX_RUNS").map_or(0, |runs| runs.parse().expect("a number"));
    let mut run = 0;
    let mut n = 0;
    while n < SUSPENSIONS || run < at_least {
        for kind in S::kinds() {
            for way in WAYS {
                // Without a cut each time is the same, but for chance.
                if matches!(way, Way::Failed | Way::Completed) && !n.is_multiple_of(SUSPENSIONS) {
                    continue;
                }
                for level in LEVELS {
                    // What a bare lease leaves is what a connection leaves: it is tried less often.
                    if level == Level::Lease && !n.is_multiple_of(SUSPENSIONS) {
                        continue;
                    }
                    // Where the whole is cut, what comes before the statement has suspensions too.
                    let n = if way == Way::Dropped { 4 * n } else { n };
                    Box::pin(try_one(subject, pool, Case { kind, way, level, n: n % 40 }, run)).await;
                    run += 1;
                }
            }
        }
        n += 1;
    }
    run
}
