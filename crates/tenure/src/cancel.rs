//! A token by which one part of a program asks another to stop.

#[cfg(not(feature = "tokio-util"))]
use std::sync::Arc;

#[cfg(not(feature = "tokio-util"))]
use tokio::sync::SetOnce;
#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

/// A cloneable cancellation token. Clones share the request.
///
/// With the feature `tokio-util` it converts from and to `tokio_util::sync::CancellationToken`, whose trees of tokens go
/// wherever a `CancelToken` is asked for. For anything else that may ask use
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
    #[cfg(not(feature = "tokio-util"))]
    asked: Arc<SetOnce<()>>,
    #[cfg(feature = "tokio-util")]
    asked: CancellationToken,
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the token. Idempotent.
    pub fn cancel(&self) {
        #[cfg(feature = "tokio-util")]
        self.asked.cancel();
        // An error says that it was asked before.
        #[cfg(not(feature = "tokio-util"))]
        let _ = self.asked.set(());
    }

    /// Returns `true` if the token is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        #[cfg(feature = "tokio-util")]
        return self.asked.is_cancelled();
        #[cfg(not(feature = "tokio-util"))]
        self.asked.initialized()
    }

    /// Waits until the token is cancelled.
    ///
    /// # Cancel safety
    /// Cancel safe: a request, once made, stays.
    pub async fn cancelled(&self) {
        #[cfg(feature = "tokio-util")]
        self.asked.cancelled().await;
        #[cfg(not(feature = "tokio-util"))]
        self.asked.wait().await;
    }
}

impl From<&Self> for CancelToken {
    fn from(token: &Self) -> Self {
        token.clone()
    }
}

/// The same request: cancelled with the token it is made of, and with that one's parents.
#[cfg(feature = "tokio-util")]
impl From<CancellationToken> for CancelToken {
    fn from(asked: CancellationToken) -> Self {
        Self { asked }
    }
}

/// As that of the token itself.
#[cfg(feature = "tokio-util")]
impl From<&CancellationToken> for CancelToken {
    fn from(asked: &CancellationToken) -> Self {
        Self { asked: asked.clone() }
    }
}

/// The same request.
#[cfg(feature = "tokio-util")]
impl From<CancelToken> for CancellationToken {
    fn from(token: CancelToken) -> Self {
        token.asked
    }
}
