//! A replicated pool on real servers: the members are sessions of one server, which may write or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenure::with;
use tenure_sqlx::pool::{Connections, Pool, PoolExt, ReplicatedPool, Role};

use crate::common::{Place, note, on_both_flavours, on_both_servers};
use crate::failure::Failure;
use crate::server::{Postgres, Server};
use crate::trouble::Trouble;

on_both_servers!(sessions_that_may_only_read_are_found_out_and_replaced);

/// As after a failover behind the same address: the sessions that are open may only read, new ones may write.
async fn sessions_that_may_only_read_are_found_out_and_replaced<S: Server>(place: &Place<S>) {
    let member = Pool::builder(Connections::<S::Db>::new(place.options())).max_size(3);
    let pool = ReplicatedPool::builder("one", member).role_interval(Duration::from_secs(600)).build().unwrap();
    with(pool, async |pool| {
        let write = pool.write();
        // Three sessions of the old primary.
        with(write.connection(), async |one| {
            with(write.connection(), async |two| {
                with(write.connection(), async |three| {
                    for connection in [one, two, three] {
                        S::execute(connection.conn(), S::MAY_ONLY_READ).await?;
                    }
                    Ok::<_, Failure>(())
                })
                .await
            })
            .await
        })
        .await?;
        let mut failed = 0;
        for n in 0..20 {
            let text = format!("note {n}");
            let written = with(write.transaction(), async |transaction| {
                Ok::<_, Failure>(note::<S>(transaction.conn(), &text).await?)
            });
            failed += usize::from(written.await.is_err());
        }
        assert!((1..=3).contains(&failed), "each session costs one failure at most: {failed}");
        assert_eq!(place.notes().await.len(), 20 - failed);
        assert_eq!(pool.primary(), Some("one"));
        Ok::<_, Trouble>(())
    })
    .await
    .unwrap();
}

/// What the server says of a session is its role, until it says otherwise.
#[test]
fn on_postgres_a_failover_between_two_members_is_followed() {
    on_both_flavours(&async |place: &Place<Postgres>| {
        let may_write = [Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false))];
        let member = |at: usize| {
            let may_write = Arc::clone(&may_write[at]);
            let connections = Connections::<sqlx::Postgres>::new(place.options()).on_get(move |connection| {
                let is_read_only = if may_write.load(Ordering::SeqCst) { "off" } else { "on" };
                let set = format!("SET default_transaction_read_only = {is_read_only}");
                Box::pin(async move { Postgres::execute(connection, &set).await })
            });
            Pool::builder(connections).max_size(2)
        };
        let pool = ReplicatedPool::builder("0", member(0)).member("1", member(1));
        let pool = pool.role_interval(Duration::from_secs(600)).build().unwrap();
        with(pool, async |pool| {
            for round in 0..4 {
                assert_eq!(pool.primary(), Some(["0", "1"][round % 2]));
                let read = with(pool.read().connection(), async |connection| {
                    Ok::<_, Failure>(Postgres::texts(connection.conn(), "SHOW transaction_read_only").await?)
                });
                assert_eq!(read.await?, ["on"]);
                may_write[round % 2].store(false, Ordering::SeqCst);
                may_write[(round + 1) % 2].store(true, Ordering::SeqCst);
                let write = async |text: String| {
                    with(pool.write().transaction(), async |transaction| {
                        Ok::<_, Failure>(note::<Postgres>(transaction.conn(), &text).await?)
                    })
                    .await
                };
                write("never".to_owned()).await.unwrap_err();
                write(format!("kept {round}")).await?;
            }
            assert_eq!(pool.failovers(), 4);
            let roles: Vec<_> = pool.members().into_iter().map(|member| member.role.unwrap()).collect();
            assert_eq!(roles, [Role::Primary, Role::Replica]);
            Ok::<_, Trouble>(())
        })
        .await
        .unwrap();
        assert_eq!(place.notes().await.len(), 4);
    });
}
