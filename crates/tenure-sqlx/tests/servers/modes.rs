//! What can be said in a `BEGIN` gets to the server.

use tenure::with;
use tenure_sqlx::Isolation;

use crate::common::{Place, assert_clean, note, on_both_flavours, on_both_servers};
use crate::failure::Failure;
use crate::server::{MySql, Postgres, Server};

on_both_servers!(a_read_only_transaction_refuses_to_write);

async fn a_read_only_transaction_refuses_to_write<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    let begin = S::isolated(S::read_only(connection.transaction()), Isolation::RepeatableRead);
    let written = with(begin, async |transaction| {
        note::<S>(transaction, "refused").await?;
        Ok::<_, Failure>(())
    });
    assert!(matches!(written.await, Err(Failure::Statement(_))));
    assert!(place.notes().await.is_empty());
    assert_clean(place, &mut connection).await;
}

const LEVELS: [Isolation; 4] =
    [Isolation::ReadUncommitted, Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

#[test]
fn postgres_is_told_the_mode() {
    on_both_flavours(&async |place: &Place<Postgres>| {
        let mut connection = place.connect().await;
        for level in LEVELS {
            let begin = connection.transaction().isolation(level).read_only().deferrable();
            let mode = with(begin, async |transaction| {
                let mode = "SELECT concat_ws(', ', current_setting('transaction_isolation'),
                    current_setting('transaction_read_only'), current_setting('transaction_deferrable'))";
                Ok::<_, Failure>(Postgres::texts(transaction, mode).await?)
            });
            let level = format!("{level:?}").replace("Read", "read ").replace("read C", "read c");
            let level = level.replace("read U", "read u").replace("Repeatableread ", "repeatable read");
            assert_eq!(mode.await.unwrap(), [format!("{}, on, on", level.to_lowercase().trim())]);
        }
        assert_clean(place, &mut connection).await;
    });
}

#[test]
fn mysql_is_told_the_isolation_level_of_this_transaction_alone() {
    on_both_flavours(&async |place: &Place<MySql>| {
        let mut connection = place.connect().await;
        let mut other = place.connect().await;
        for (level, sees) in [(Isolation::ReadUncommitted, 1), (Isolation::ReadCommitted, 0)] {
            with(other.transaction(), async |writer| {
                note::<MySql>(writer, "not committed").await?;
                let read = with(connection.transaction().isolation(level), async |reader| {
                    Ok::<_, Failure>(MySql::texts(reader, "SELECT text FROM notes").await?.len())
                });
                assert_eq!(read.await?, sees, "{level:?}");
                Err::<(), _>(Failure::Refused)
            })
            .await
            .unwrap_err();
        }
        assert_clean(place, &mut connection).await;
    });
}

#[test]
fn a_consistent_snapshot_is_taken_at_the_beginning_on_mysql() {
    on_both_flavours(&async |place: &Place<MySql>| {
        let mut connection = place.connect().await;
        let mut other = place.connect().await;
        for (is_snapshot, sees) in [(true, 0), (false, 1)] {
            let mut begin = connection.transaction();
            if is_snapshot {
                begin = begin.consistent_snapshot();
            }
            let seen = with(begin, async |transaction| {
                MySql::execute(&mut other, "DELETE FROM notes").await?;
                note::<MySql>(&mut other, "committed since").await?;
                Ok::<_, Failure>(MySql::texts(transaction, "SELECT text FROM notes").await?.len())
            });
            assert_eq!(seen.await.unwrap(), sees);
            MySql::execute(&mut other, "DELETE FROM notes").await.unwrap();
        }
    });
}
