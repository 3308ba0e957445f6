//! The exit stack of one request: what handlers enter contexts on.

mod error;
#[cfg(feature = "axum")]
mod extract;
mod handle;
mod scoped;
mod unwind;

pub use error::{EnterError, ExitFailed, RequestFailed};
#[cfg(feature = "axum")]
pub use extract::NoRequestScope;
pub use handle::RequestScope;
pub use scoped::Scoped;

pub(crate) use handle::{Closed, Word};
pub(crate) use unwind::{close_now, exit_reported, hand_over, message_of};
