//! How often a pooled transaction on PostgreSQL goes to the server and back, and what is certain nevertheless.

use sqlx::{PgConnection, Postgres as Db};
use tenure::with;
use tenure_sqlx::pool::{Connections, Pool, PoolExt as _};
use tenure_sqlx::{Fate, Stage};

use crate::common::{Place, on_both_flavours};
use crate::dropped::drop_at;
use crate::failure::Failure;
use crate::proxy::Proxy;
use crate::server::{Postgres, Server as _};

fn pool_of_one(connections: Connections<Db>) -> Pool<Db> {
    Pool::builder(connections).max_size(1).build().unwrap()
}

/// Writes a note in one trip.
async fn insert(connection: &mut PgConnection, text: &str) -> Result<(), sqlx::Error> {
    Postgres::execute(connection, &format!("INSERT INTO notes (text) VALUES ('{text}')")).await
}

async fn write(pool: &Pool<Db>, text: &str) -> Result<(), Failure> {
    with(pool.transaction(), async |transaction| Ok::<_, Failure>(insert(transaction, text).await?)).await
}

/// How many trips ten rounds take, after ten that are not counted.
async fn trips_of_ten(proxy: &Proxy, round: impl AsyncFn(usize) -> Result<(), Failure>) -> usize {
    let mut before = 0;
    for turn in 0..20 {
        if turn == 10 {
            before = proxy.trips();
        }
        round(turn).await.unwrap();
    }
    proxy.trips() - before
}

#[test]
fn a_transaction_of_one_statement_takes_three_trips() {
    on_both_flavours(&async |place: &Place<Postgres>| {
        let options = place.options();
        let proxy = Proxy::to(Postgres::port(&options)).await;
        let connections = || Connections::new(Postgres::through(options.clone(), proxy.port()));
        for (first, expected) in [(false, 30), (true, 40)] {
            let pool = pool_of_one(connections().prove_before_commit(first));
            let trips = trips_of_ten(&proxy, async |turn| write(&pool, &format!("{first} {turn}")).await).await;
            assert_eq!(trips, expected, "prove_before_commit: {first}");
            assert!(pool.close().await.is_clean());
        }
        // With a plain use between any two: its statement, the check after it, and a transaction as before.
        let pool = pool_of_one(connections());
        let trips = trips_of_ten(&proxy, async |turn| {
            write(&pool, &format!("mixed {turn}")).await?;
            let plain = with(pool.connection(), async |connection| {
                Ok::<_, Failure>(insert(connection.conn(), &format!("plain {turn}")).await?)
            });
            plain.await?;
            // Until the check has ended.
            pool.get().await.expect("the pool lends").complete();
            Ok(())
        });
        assert_eq!(trips.await, 60);
        assert!(pool.close().await.is_clean());
    });
}

#[test]
fn an_error_that_the_body_passes_over_is_no_success_on_a_pool() {
    on_both_flavours(&async |place: &Place<Postgres>| {
        let pool = pool_of_one(Connections::new(place.options()));
        for text in ["first", "second"] {
            let error = with(pool.transaction(), async |transaction| {
                insert(transaction, text).await?;
                assert!(Postgres::execute(transaction, "SELCT 1").await.is_err());
                Ok::<_, Failure>(())
            });
            let error = error.await.unwrap_err().into_tenure();
            assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Undone)));
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("aborted"));
            write(&pool, &format!("after the {text}")).await.unwrap();
        }
        assert_eq!(place.notes().await, ["after the first", "after the second"]);
        assert!(pool.close().await.is_clean());
    });
}

#[test]
fn a_commit_that_a_deferred_constraint_refuses_is_told_as_the_databases_own_error() {
    on_both_flavours(&async |place: &Place<Postgres>| {
        let pool = pool_of_one(Connections::new(place.options()));
        let made = with(pool.connection(), async |connection| {
            let table = "CREATE TABLE one (id INT UNIQUE DEFERRABLE INITIALLY DEFERRED)";
            Ok::<_, Failure>(Postgres::execute(connection.conn(), table).await?)
        });
        made.await.unwrap();
        for _ in 0..3 {
            let session = async || {
                let session = with(pool.transaction(), async |transaction| {
                    Ok::<_, Failure>(Postgres::texts(transaction, Postgres::session()).await?)
                });
                session.await.unwrap()
            };
            let before = session().await;
            let refused: Result<(), sqlx::Error> = with(pool.transaction(), async |transaction| {
                insert(transaction, "never").await?;
                Postgres::execute(transaction, "INSERT INTO one VALUES (1), (1)").await.map(drop)
            })
            .await;
            let refused = refused.unwrap_err();
            assert!(
                refused.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation),
                "{refused:?}"
            );
            assert_eq!(session().await, before, "the connection is in order");
        }
        assert!(place.notes().await.is_empty());
        assert!(pool.close().await.is_clean());
    });
}

/// Its answer is taken for the one to the next statement.
#[test]
fn a_copy_whose_end_is_given_up_in_the_body_is_no_success() {
    on_both_flavours(&async |place: &Place<Postgres>| {
        for (first, fate) in [(false, Fate::Unknown), (true, Fate::Undone)] {
            let pool = pool_of_one(Connections::new(place.options()).prove_before_commit(first));
            let before = place.notes().await.len();
            let given_up = with(pool.transaction(), async |transaction| {
                insert(transaction, &format!("perhaps, {first}")).await?;
                Postgres::execute(transaction, "CREATE TEMP TABLE copied (id INT)").await?;
                let mut copy = transaction.conn().copy_in_raw("COPY copied FROM STDIN").await?;
                copy.send(&b"1\n"[..]).await?;
                drop(drop_at(0, copy.finish()).await);
                Ok::<_, Failure>(())
            });
            let error = given_up.await.unwrap_err().into_tenure();
            assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(fate)), "{error:?}");
            if fate == Fate::Undone {
                assert_eq!(place.notes().await.len(), before, "nothing is kept");
            }
            write(&pool, &format!("after it, {first}")).await.unwrap();
            assert!(pool.close().await.is_clean());
        }
    });
}
