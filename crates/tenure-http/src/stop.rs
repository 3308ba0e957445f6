//! How a server tells its requests that its grace limit has passed.

use tenure::CancelToken;

/// Put into each request's extensions by [`serve`](crate::serve()), taken out by the request layer.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "layer"), expect(dead_code, reason = "it is the layer that looks"))]
pub(crate) struct ServerStop(pub(crate) Option<CancelToken>);

impl ServerStop {
    #[cfg(feature = "layer")]
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    #[cfg(feature = "layer")]
    pub(crate) async fn stopped(&self) {
        match &self.0 {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }
}
