//! The generator form with arguments: a setting that holds for as long as the body runs. What it was before is
//! a local variable, which waits for the exit.
//!
//! ```python
//! @asynccontextmanager
//! async def setting(settings, key, value):
//!     before = await settings.set(key, value)
//!     try:
//!         yield
//!     finally:
//!         await settings.set(key, before)
//! ```

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tenure::{Lent, context, drain, with};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Stands in for settings that are far away.
#[derive(Clone, Default)]
struct Settings(Arc<Mutex<BTreeMap<&'static str, u32>>>);

impl Settings {
    async fn set(&self, key: &'static str, value: u32) -> Result<u32> {
        println!("{key} = {value}");
        Ok(self.0.lock().await.insert(key, value).unwrap_or_default())
    }

    async fn get(&self, key: &str) -> Option<u32> {
        self.0.lock().await.get(key).copied()
    }
}

/// The arguments are moved into the context, which may outlive its caller.
async fn setting(settings: &Settings, key: &'static str, value: u32) -> Result<Lent<(), anyhow::Error>> {
    let settings = settings.clone();
    context(async move |lender| {
        let before = settings.set(key, value).await?;
        lender.lend(()).await;
        settings.set(key, before).await?;
        Ok(())
    })
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    let settings = Settings::default();

    // Each call is a context of its own: they nest, and the inner is undone first.
    with(setting(&settings, "workers", 4), async |_| {
        with(setting(&settings, "workers", 8), async |_| {
            assert_eq!(settings.get("workers").await, Some(8));
            anyhow::Ok(())
        })
        .await?;
        assert_eq!(settings.get("workers").await, Some(4));
        anyhow::Ok(())
    })
    .await?;

    // Dropped in mid-air, it is undone in the background.
    let dropped = with(setting(&settings, "retries", 3), async |_| pending::<Result<()>>().await);
    assert!(timeout(Duration::from_millis(1), dropped).await.is_err());
    assert!(drain(Duration::from_secs(1)).await.is_clean());
    assert_eq!(settings.get("retries").await, Some(0));
    Ok(())
}
