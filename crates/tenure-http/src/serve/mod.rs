//! A server as a context.

mod accept;
mod builder;
mod connection;
mod error;
mod progress;
mod server;

pub use builder::{
    GRACE_LIMIT_DEFAULT, HEADER_BYTES_MAX_DEFAULT, HEADER_READ_TIMEOUT_DEFAULT, MAX_CONNECTIONS_DEFAULT, Serve,
    serve,
};
pub use error::ServeError;
pub use server::{Server, ServerStats};
