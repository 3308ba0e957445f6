//! A token by which one part of a program asks another to stop.

use std::sync::Arc;

use tokio::sync::SetOnce;

/// Asks, and is asked, to stop. Clones share the request.
///
/// For trees of tokens use `tokio_util::sync::CancellationToken`, and join it to a tenure with
/// [`Options::stop_when`](crate::Options::stop_when).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let token = tenure::CancelToken::new();
/// let asked = token.clone();
/// token.cancel();
/// asked.cancelled().await;
/// assert!(asked.is_cancelled());
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    asked: Arc<SetOnce<()>>,
}

impl CancelToken {
    /// A token nobody has asked to stop by.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. To ask twice is to ask once.
    pub fn cancel(&self) {
        // An error says that it was asked before.
        let _ = self.asked.set(());
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.asked.initialized()
    }

    /// Waits until it is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe: a request, once made, stays.
    pub async fn cancelled(&self) {
        self.asked.wait().await;
    }
}
