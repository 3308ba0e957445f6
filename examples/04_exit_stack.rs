//! Several contexts on an exit stack: all are usable at once, and leave in reverse order.
//!
//! ```python
//! async with AsyncExitStack() as stack:
//!     store = await stack.enter_async_context(open_("store"))
//!     cache = await stack.enter_async_context(open_("cache"))
//!     stack.callback(print, "a callback")
//!     cache.value = store.value + 1
//! ```

use anyhow::{Result, ensure};
use tenure::{AsyncExit, Outcome, with_stack};
use tokio::task::yield_now;

struct Service {
    name: &'static str,
    value: u32,
}

async fn open(name: &'static str) -> Result<Service> {
    ensure!(name != "mirror", "the {name} is away");
    yield_now().await;
    println!("open {name}");
    Ok(Service { name, value: 6 })
}

impl AsyncExit for Service {
    type Error = anyhow::Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<()> {
        yield_now().await;
        let how = if outcome.is_completed() { "well" } else { "badly" };
        println!("close {}: it ended {how}", self.name);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    let answer = with_stack(async |stack| {
        let store = stack.enter(open("store")).await?;
        let cache = stack.enter(open("cache")).await?;
        // Functions have their place in the same order: plain, asynchronous, or told the outcome.
        stack.defer(|| println!("a callback"));
        stack.defer_async(async || {
            println!("an asynchronous callback");
            Ok(())
        });
        cache.value = store.value + 1;
        anyhow::Ok(store.value * cache.value)
    })
    .await?;
    assert_eq!(answer, 42);

    // An enter that fails registers nothing. What was entered before it is exited.
    let result = with_stack(async |stack| {
        stack.enter(open("store")).await?;
        stack.enter(open("mirror")).await?;
        anyhow::Ok(())
    });
    println!("{}", result.await.expect_err("there is no mirror"));
    Ok(())
}
