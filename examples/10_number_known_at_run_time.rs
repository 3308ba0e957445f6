//! A stack over a number of resources known only at run time: either all are opened, or none stays open.
//!
//! ```python
//! async def connect_all(hosts):
//!     async with AsyncExitStack() as stack:
//!         conns = [await stack.enter_async_context(connect(h)) for h in hosts]
//!         return stack.pop_all()
//! ```

use anyhow::{Result, ensure};
use tenure::{AsyncExit, ExitStack, Outcome, with, with_stack};
use tokio::task::yield_now;

struct Connection(String);

async fn connect(host: &str) -> Result<Connection> {
    ensure!(host != "down", "{host} does not answer");
    yield_now().await;
    println!("connect {host}");
    Ok(Connection(host.to_owned()))
}

impl AsyncExit for Connection {
    type Error = anyhow::Error;

    async fn exit(self, _: Outcome<'_>) -> Result<()> {
        yield_now().await;
        println!("close {}", self.0);
        Ok(())
    }
}

/// Enters one after the other. If one fails, those before it are closed here; if none does, `pop_all` takes them
/// off this stack, and the caller has them all on a new one.
async fn connect_all(hosts: &[String]) -> Result<ExitStack<anyhow::Error>> {
    with_stack(async |stack| {
        for host in hosts {
            stack.enter(connect(host)).await?;
        }
        Ok(stack.pop_all())
    })
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut hosts: Vec<String> = std::env::args().skip(1).collect();
    if hosts.is_empty() {
        hosts = ["one", "two", "three"].map(String::from).to_vec();
    }
    example(hosts).await
}

pub(crate) async fn example(mut hosts: Vec<String>) -> Result<()> {
    // A stack is a resource itself. More can be entered on it later.
    with(connect_all(&hosts), async |stack| {
        assert_eq!(stack.len(), hosts.len());
        let last = stack.enter(connect("late")).await?;
        println!("{} is the last of {}", last.0, stack.len());
        anyhow::Ok(())
    })
    .await?;

    let last = hosts.last_mut().expect("there is a host");
    "down".clone_into(last);
    let failed = connect_all(&hosts).await;
    println!("{}", failed.expect_err("one is down"));
    Ok(())
}
