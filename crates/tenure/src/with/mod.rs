//! Enter, body, exit: `with` and its variants.
//!
//! `core` has the one state machine; the other files say what a caller gets of it.

mod body;
mod body_fn;
mod core;
mod detailed;
mod guard;
mod lazy;
mod leave;
mod leftover;
mod options;
mod recovering;
mod simple;
mod steps;
mod stop;

pub use body_fn::BodyFn;
pub use detailed::{ExitError, WithError, with_detailed};
pub use options::Options;
pub use recovering::with_recovering;
pub use simple::{with, with_at, with_local};
pub use stop::Stopped;

pub(crate) use self::core::{Exited, Known, Told, exit_job, outcome_now};
pub(crate) use leave::{Leave, Plain, Recovering};
pub(crate) use leftover::Leftover;
pub(crate) use simple::{error_of, report};
pub(crate) use steps::{Entered, entered, exit_limit_of_dropped, kept};
pub(crate) use stop::Stop;
