//! Whoever has a connection of a pool after whom: transactions nest, and end, as they do on one that is new.
//!
//! All sequences of uses of three kinds of transaction and of three without one, on a pool of one connection.

use sqlx::Connection as _;
use tenure::with;
use tenure_sqlx::pool::{Pool, PoolExt as _};

use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::subject::{Raw, Subject};

/// How many uses there are in a sequence.
const LENGTH: usize = 3;

/// What one use does; each writes a mark, and says whether it is to be found.
#[derive(Clone, Copy, Debug)]
enum Use {
    /// A transaction that completes.
    Commits,
    /// One that fails.
    Fails,
    /// One that completes with two levels of sqlx's in it: one that commits, and one that is dropped as its last act.
    Nests,
    /// A transaction of sqlx's on a connection of the pool, which commits.
    Begins,
    /// One that is left half-way, as its `BEGIN` is out.
    BeginsAndStops,
    /// A transaction of sqlx's on a bare lease.
    Leases,
}

const USES: [Use; 6] = [Use::Commits, Use::Fails, Use::Nests, Use::Begins, Use::BeginsAndStops, Use::Leases];

/// The mark of what is rolled back.
fn undone(mark: &str) -> String {
    format!("{mark} undone")
}

/// A transaction of sqlx's own, on a connection where none is open.
async fn begin_plainly<S: Subject>(connection: &mut Raw<S::Db>, mark: &str) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    S::mark(&mut transaction, mark.to_owned()).await?;
    transaction.commit().await?;
    assert!(!connection.is_in_transaction(), "{mark}: no level is open after a commit");
    let mut transaction = connection.begin().await?;
    S::mark(&mut transaction, undone(mark)).await?;
    transaction.rollback().await
}

/// One use; tells how many marks there are of it.
async fn act<S: Subject>(pool: &Pool<S::Db>, what: Use, mark: &str) -> Result<i64, Failure> {
    let text = || mark.to_owned();
    match what {
        Use::Commits => {
            let body = async |transaction: &mut tenure_sqlx::Transaction<S::Db>| {
                assert!(transaction.conn().is_in_transaction(), "{mark}: it is open");
                Ok::<_, Failure>(S::mark(transaction.conn(), text()).await?)
            };
            with(pool.transaction(), body).await.map(|()| 1)
        }
        Use::Fails => {
            let failed = with(pool.transaction(), async |transaction| {
                S::mark(transaction.conn(), text()).await?;
                Err::<(), _>(Failure::Refused)
            });
            assert!(matches!(failed.await, Err(Failure::Refused)), "{mark}");
            Ok(0)
        }
        Use::Nests => {
            let body = async |transaction: &mut tenure_sqlx::Transaction<S::Db>| {
                let mut kept = transaction.conn().begin().await?;
                S::mark(&mut kept, text()).await?;
                kept.commit().await?;
                let mut dropped = transaction.conn().begin().await?;
                Ok::<_, Failure>(S::mark(&mut dropped, undone(mark)).await?)
            };
            with(pool.transaction(), body).await.map(|()| 1)
        }
        Use::Begins => {
            let body = async |connection: &mut tenure_sqlx::pool::Pooled<S::Db>| {
                Ok::<_, Failure>(begin_plainly::<S>(connection.conn(), mark).await?)
            };
            with(pool.connection(), body).await.map(|()| 1)
        }
        Use::BeginsAndStops => {
            let body = async |connection: &mut tenure_sqlx::pool::Pooled<S::Db>| {
                drop(drop_at(0, connection.conn().begin()).await);
                Ok::<_, Failure>(())
            };
            with(pool.connection(), body).await.map(|()| 0)
        }
        Use::Leases => {
            let mut lease = pool.get().await.expect("the pool lends");
            begin_plainly::<S>(lease.ready().await?, mark).await?;
            lease.complete();
            Ok(1)
        }
    }
}

/// All sequences.
pub(crate) async fn turns<S: Subject>(pool: &Pool<S::Db>) {
    for number in 0..USES.len().pow(LENGTH as u32) {
        let uses: Vec<_> =
            (0..LENGTH).map(|place| USES[number / USES.len().pow(place as u32) % USES.len()]).collect();
        let mut expected = Vec::new();
        for (place, what) in uses.iter().enumerate() {
            let mark = format!("{number}.{place}");
            let marks = Box::pin(act::<S>(pool, *what, &mark)).await;
            expected.push((mark, marks.unwrap_or_else(|error| panic!("{uses:?} at {place}: {error:?}"))));
        }
        for (mark, marks) in expected {
            let found = with(pool.connection(), async |connection| {
                let kept = S::marks(connection.conn(), mark.clone()).await?;
                Ok::<_, Failure>((kept, S::marks(connection.conn(), undone(&mark)).await?))
            });
            assert_eq!(found.await.unwrap(), (marks, 0), "{uses:?}: {mark}");
        }
    }
}
