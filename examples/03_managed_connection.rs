//! A managed connection, written as one function: what stands before the lend is the enter, what stands behind
//! it the exit. Local variables live through both.
//!
//! ```python
//! @asynccontextmanager
//! async def managed_connection(host):
//!     conn = await connect(host)
//!     try:
//!         yield conn
//!     finally:
//!         await conn.close()
//! ```

use anyhow::{Result, ensure};
use tenure::{Lent, context, with};
use tokio::task::yield_now;

struct Connection {
    host: &'static str,
    sent: u32,
}

impl Connection {
    async fn open(host: &'static str) -> Result<Self> {
        ensure!(host != "nowhere", "{host} does not answer");
        yield_now().await;
        println!("connected to {host}");
        Ok(Self { host, sent: 0 })
    }

    async fn send(&mut self, _: &str) -> Result<()> {
        self.sent += 1;
        Ok(())
    }

    async fn close(self) -> Result<()> {
        yield_now().await;
        println!("closed {} after {} messages", self.host, self.sent);
        Ok(())
    }
}

/// Each call makes a context of its own.
async fn managed_connection(host: &'static str) -> Result<Lent<Connection, anyhow::Error>> {
    context(async move |lender| {
        let connection = Connection::open(host).await?;
        // `yield`. It takes the lender: to lend twice does not compile. No `try` and no `finally`: the function
        // is resumed here, and runs to its end, however the body ends.
        let back = lender.lend(connection).await;
        println!("the body ended: {:?}", back.ended);
        back.value.close().await
    })
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    with(managed_connection("somewhere"), async |connection| {
        connection.send("hello").await?;
        connection.send("again").await
    })
    .await?;

    let cut_short = with(managed_connection("elsewhere"), async |connection| {
        connection.send("hello").await?;
        anyhow::bail!("no reply")
    });
    let result: Result<()> = cut_short.await;
    println!("{}", result.expect_err("there was no reply"));

    // What fails before the lend fails the enter: no body, no exit.
    let never = with(managed_connection("nowhere"), async |_| anyhow::Ok(())).await;
    println!("{}", never.expect_err("nobody is there"));
    Ok(())
}
