//! A pool of five, in a page: a lesson, not a tool. The pool to use is the crate `tenure-pool`.
//!
//! ```python
//! conn = await self.queue.get()
//! try: yield conn
//! finally: await self.queue.put(conn)
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tenure::{AsyncExit, ExitErrors, Outcome, drain, task_group, with};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout};

#[derive(Default)]
struct Connection {
    dirty: bool,
}

/// The idle connections are in a channel. Whoever has the lock is the next to get one.
#[derive(Clone)]
struct Pool {
    give: mpsc::Sender<Connection>,
    take: Arc<Mutex<mpsc::Receiver<Connection>>>,
}

struct Lease(Connection, Pool);

impl Pool {
    async fn get(self) -> Result<Lease> {
        let connection = self.take.lock().await.recv().await;
        Ok(Lease(connection.context("the pool is gone")?, self))
    }
}

impl AsyncExit for Lease {
    type Error = anyhow::Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<()> {
        if !outcome.is_completed() {
            println!("reset, dirty: {}", self.0.dirty);
            self.0.dirty = false;
        }
        Ok(self.1.give.send(self.0).await?)
    }
}

async fn work(Lease(connection, _): &mut Lease) -> Result<()> {
    connection.dirty = true;
    sleep(Duration::from_millis(10)).await;
    connection.dirty = false;
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    let (give, take) = mpsc::channel(5);
    let take = Arc::new(Mutex::new(take));
    let pool = Pool { give, take };
    for _ in 0..5 {
        pool.give.send(Connection::default()).await?;
    }

    let start = Instant::now();
    // A group, since tasks that are merely aborted go on for a while.
    with(task_group(), async |clients| {
        for _ in 0..20 {
            clients.spawn(with(pool.clone().get(), work));
        }
        Ok::<_, ExitErrors<anyhow::Error>>(())
    })
    .await?;
    println!("20 clients, 10 ms each, took {:?}", start.elapsed());

    // Whoever is cancelled leaves a dirty connection, which is reset before anyone else has it.
    let client = with(pool.clone().get(), work);
    assert!(timeout(Duration::from_millis(5), client).await.is_err());
    assert!(drain(Duration::from_secs(1)).await.is_clean());
    assert_eq!(pool.take.lock().await.len(), 5);
    Ok(())
}
