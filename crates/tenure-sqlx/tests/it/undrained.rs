//! A runtime that dies undrained loses exits; the database does not suffer from it.

use tenure::with;
use tenure_sqlx::sqlite;
use tokio::runtime::Runtime;

use crate::common::{TempDb, note};
use crate::failure::Failure;

#[test]
fn law_17_what_a_dead_runtime_had_open_is_rolled_back_by_the_database() {
    let dead = Runtime::new().unwrap();
    let db = dead.block_on(TempDb::new());
    let options = db.options();
    let (started, is_started) = tokio::sync::oneshot::channel();
    dead.spawn(with(sqlite::connect(options), async |connection| {
        with(connection.transaction().immediate(), async |transaction| {
            note(transaction, "lost").await?;
            started.send(()).unwrap();
            std::future::pending::<Result<(), Failure>>().await
        })
        .await
    }));
    dead.block_on(is_started).unwrap();
    drop(dead);

    Runtime::new().unwrap().block_on(async {
        let mut connection = db.connect().await;
        // The connection closes in a thread of sqlx's, and this begin waits for it.
        with(connection.transaction().immediate(), async |transaction| {
            note(transaction, "kept").await?;
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
        assert_eq!(db.notes().await, ["kept"]);
    });
}
