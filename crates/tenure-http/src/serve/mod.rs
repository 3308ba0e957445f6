//! A server as a context.

mod accept;
mod answer;
mod body;
mod builder;
mod connection;
mod control;
mod conversation;
mod drive;
mod error;
mod gate;
mod leaving;
mod limits;
mod listener;
mod progress;
mod server;
mod socket;
mod stats;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod watch;

pub use body::{RequestBody, RequestBodyError};
pub use builder::{HttpService, Serve, serve};
pub use error::ServeError;
pub use limits::{
    BODY_READ_TIMEOUT_DEFAULT, GRACE_LIMIT_DEFAULT, HEADER_BYTES_MAX_DEFAULT, HEADER_READ_TIMEOUT_DEFAULT,
    MAX_CONNECTIONS_DEFAULT, WRITE_TIMEOUT_DEFAULT,
};
pub use listener::Listener;
pub use server::Server;
pub use stats::ServerStats;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
