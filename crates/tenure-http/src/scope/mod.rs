//! The exit stack of one request: what handlers enter contexts on.

mod error;
#[cfg(feature = "axum")]
mod extract;
mod handle;
mod scoped;
mod unwind;
#[cfg(feature = "serve")]
mod upgrade;
#[cfg(feature = "ws")]
mod web_socket;

pub use error::{EnterError, ExitFailed, RequestFailed};
#[cfg(feature = "axum")]
pub use extract::NoRequestScope;
pub use handle::RequestScope;
pub use scoped::Scoped;
#[cfg(feature = "serve")]
pub use upgrade::Upgrade;
#[cfg(feature = "ws")]
pub use web_socket::Socket;

pub(crate) use handle::{Closed, Word};
pub(crate) use unwind::{close_now, exit_reported, hand_over};
