//! A client connection as a context.

mod body;
mod connect;
mod connection;
mod error;
mod handshake;
mod requests;
mod tls;

pub use body::ResponseBody;
pub use connect::{CONNECT_TIMEOUT_DEFAULT, Connect, SHUTDOWN_LIMIT_DEFAULT, connect};
pub use connection::Client;
pub use error::{ClientError, Stage};
pub use requests::Requests;
