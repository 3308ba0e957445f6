//! The tower layer that gives each request a scope.

mod body;
mod future;
mod request;
mod service;

pub use body::RequestScopeBody;
pub use future::ResponseFuture;
pub use service::{OnDisconnect, RequestScopeLayer, RequestScopeService};
