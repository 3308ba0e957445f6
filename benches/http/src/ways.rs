//! The servers that are compared: all answer the same, each with one thing more than another.

use std::future::Future;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, serve};
use tokio::net::TcpListener;
use tower::Layer as _;

use crate::call::Nothing;
use crate::noop::noop;

/// A service, and the server that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Axum,
    Serve,
    Nothing,
    Layer,
    LayerOne,
    Around,
    AroundOne,
}

impl Way {
    /// The first is what the others are compared with.
    pub(crate) const ALL: [Self; 7] =
        [Self::Axum, Self::Serve, Self::Nothing, Self::Layer, Self::LayerOne, Self::Around, Self::AroundOne];

    /// Returns the name on the command line.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Axum => "axum",
            Self::Serve => "serve",
            Self::Nothing => "nothing",
            Self::Layer => "layer",
            Self::LayerOne => "layer-one",
            Self::Around => "around",
            Self::AroundOne => "around-one",
        }
    }

    pub(crate) fn of(key: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::key).join(", ");
        Self::ALL.into_iter().find(|way| way.key() == key).ok_or_else(|| format!("known are {}", known()))
    }

    /// Returns the name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Axum => "`axum::serve`",
            Self::Serve => "`serve`",
            Self::Nothing => "`serve`, a layer on the router that does nothing",
            Self::Layer => "`serve`, the layer on the router",
            Self::LayerOne => "`serve`, the layer on the router, one context entered",
            Self::Around => "`serve`, the layer around the router",
            Self::AroundOne => "`serve`, the layer around the router, one context entered",
        }
    }

    /// Serves until `stopped`.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let layer = RequestScopeLayer::new();
        let plain = Router::new().route("/", get(hello));
        let one = Router::new().route("/", get(entering));
        if self == Self::Axum {
            // As `serve` has it.
            let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a TCP stream"));
            let served = axum::serve(listener, plain).with_graceful_shutdown(stopped);
            return served.await.map_err(ServeError::Listener);
        }
        let until = async |_: &mut tenure_http::Server| {
            stopped.await;
            Ok::<_, ServeError>(())
        };
        match self {
            Self::Axum | Self::Serve => tenure::with(serve(listener, plain), until).await,
            Self::Nothing => tenure::with(serve(listener, plain.layer(Nothing)), until).await,
            Self::Layer => tenure::with(serve(listener, plain.layer(layer)), until).await,
            Self::LayerOne => tenure::with(serve(listener, one.layer(layer)), until).await,
            Self::Around => tenure::with(serve(listener, layer.layer(plain)), until).await,
            Self::AroundOne => tenure::with(serve(listener, layer.layer(one)), until).await,
        }
    }
}

async fn hello() -> &'static str {
    "hello"
}

async fn entering(scope: RequestScope) -> &'static str {
    drop(scope.enter(noop(false)).await.ok());
    "hello"
}
