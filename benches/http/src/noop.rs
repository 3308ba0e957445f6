//! Resources that cost nothing themselves.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::{AsyncExit, Outcome};

/// Exits that have run.
pub(crate) static EXITS: AtomicU64 = AtomicU64::new(0);

/// A resource whose exit waits, or does not.
pub(crate) struct Noop {
    pub(crate) waits: bool,
}

impl AsyncExit for Noop {
    type Error = Infallible;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Infallible> {
        if self.waits {
            tokio::task::yield_now().await;
        }
        EXITS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) async fn noop(waits: bool) -> Result<Noop, Infallible> {
    Ok(Noop { waits })
}
