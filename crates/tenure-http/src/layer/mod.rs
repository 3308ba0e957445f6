//! The tower layers: one gives each request a scope, one tells the scope whether its handler ran to the end.

mod body;
mod future;
mod handler;
mod outcomes;
mod request;
mod service;

pub use body::RequestScopeBody;
pub use future::ResponseFuture;
pub use handler::{HandlerFuture, HandlerLayer, HandlerService};
pub use outcomes::Outcomes;
pub use service::{OnDisconnect, RequestScopeLayer, RequestScopeService};
