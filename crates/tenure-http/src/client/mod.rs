//! A client connection as a context, and a pool of them.

mod body;
mod connect;
mod connection;
mod error;
mod exchange;
mod handshake;
#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "pool")]
mod pooled;
mod requests;
#[cfg(feature = "pool")]
mod resend;
mod tls;

pub use body::ResponseBody;
pub use connect::{CONNECT_TIMEOUT_DEFAULT, Connect, SHUTDOWN_LIMIT_DEFAULT, SILENCE_LIMIT_DEFAULT, connect};
pub use connection::Client;
pub use error::{ClientError, Stage};
#[cfg(feature = "pool")]
pub use pool::{
    Clients, ClientsStats, POOL_CONNECTIONS_EACH_MAX_DEFAULT, POOL_CONNECTIONS_MAX_DEFAULT,
    POOL_DRAIN_LIMIT_DEFAULT, POOL_GET_TIMEOUT_DEFAULT, POOL_IDLE_TIMEOUT_DEFAULT, POOL_LIFETIME_DEFAULT, Pool,
    pool,
};
#[cfg(feature = "pool")]
pub use pooled::Pooled;
pub use requests::Requests;
