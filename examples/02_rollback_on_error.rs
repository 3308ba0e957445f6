//! A database connection that commits what succeeded and rolls back what did not.
//!
//! ```python
//! class Connection:
//!     async def __aexit__(self, exc_type, exc, tb):
//!         if exc_type is None:
//!             await self.commit()
//!         else:
//!             await self.rollback()
//! ```
//!
//! For real databases there is the crate `tenure-sqlx`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tenure::{AsyncExit, Outcome, drain, with};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Stands in for a database: the rows that are committed.
type Rows = Arc<Mutex<Vec<i64>>>;

struct Connection {
    rows: Rows,
    uncommitted: Vec<i64>,
}

async fn connect(rows: &Rows) -> Result<Connection> {
    let (rows, uncommitted) = (Arc::clone(rows), vec![]);
    Ok(Connection { rows, uncommitted })
}

impl Connection {
    async fn insert(&mut self, row: i64) -> Result<()> {
        ensure!(row >= 0, "{row} is negative");
        self.uncommitted.push(row);
        Ok(())
    }
}

impl AsyncExit for Connection {
    type Error = anyhow::Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<()> {
        if outcome.is_completed() {
            println!("commit {:?}", self.uncommitted);
            self.rows.lock().await.append(&mut self.uncommitted);
        } else {
            println!("roll back {:?}", self.uncommitted);
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    let rows = Rows::default();
    with(connect(&rows), async |db| db.insert(1).await).await?;

    let bad = with(connect(&rows), async |db| {
        db.insert(3).await?;
        db.insert(-4).await
    });
    let error = bad.await.expect_err("the second is refused");
    println!("{error}");

    // A client that goes away drops the future that served it. That is a rollback too.
    let abandoned = with(connect(&rows), async |db| {
        db.insert(5).await?;
        pending::<Result<()>>().await
    });
    assert!(timeout(Duration::from_millis(1), abandoned).await.is_err());
    assert!(drain(Duration::from_secs(1)).await.is_clean());
    assert_eq!(*rows.lock().await, [1]);
    Ok(())
}
