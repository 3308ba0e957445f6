//! A server as a context.

mod accept;
mod body;
mod builder;
mod connection;
mod error;
mod progress;
mod server;
mod watch;

pub use body::{RequestBody, RequestBodyError};
pub use builder::{
    BODY_READ_TIMEOUT_DEFAULT, GRACE_LIMIT_DEFAULT, HEADER_BYTES_MAX_DEFAULT, HEADER_READ_TIMEOUT_DEFAULT,
    MAX_CONNECTIONS_DEFAULT, Serve, WRITE_TIMEOUT_DEFAULT, serve,
};
pub use error::ServeError;
pub use server::{Server, ServerStats};
