//! `async with` for Rust: whatever is entered is exited.
#![deny(unsafe_code)]

mod cancel;
mod custody;
mod drain;
mod exit;
mod exit_errors;
mod frame;
mod generator;
mod group;
mod guarded;
mod held;
mod job;
mod join;
mod outcome;
mod registry;
mod resources;
#[cfg(feature = "signal")]
mod run;
mod scope;
mod shield;
mod stack;
mod tenure;
mod with;

pub use cancel::CancelToken;
pub use drain::drain;
pub use exit::{AsyncExit, RecoverExit, Verdict};
pub use exit_errors::ExitErrors;
pub use generator::{Ended, Lender, Lent, LentRecovering, NeverLent, Returned, context, context_recovering};
pub use group::{SpawnError, Spawner, TaskGroup, task_group};
pub use held::{Held, hold};
pub use join::{Join, join};
pub use outcome::{Ending, ErrorValue, Failure, Outcome};
pub use registry::{
    Counters, DrainReport, Incident, IncidentKind, KEPT_INCIDENTS_MAX, OpenTenure, OpenTenures, Phase,
    counters, open, set_default_report_sink, set_report_sink,
};
pub use resources::{Closing, ExitFn, ExitFuture, Released, closing, closing_with_outcome, released};
#[cfg(feature = "signal")]
pub use run::{EXIT_LIMIT_DEFAULT, Run, run};
pub use shield::{Shield, shield};
pub use stack::{ExitStack, with_stack};
pub use with::{ExitError, Options, Stopped, WithError, with, with_detailed, with_recovering};

/// What the macros call. Not for others: it changes without notice.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use crate::run::{Fallible, Main, Test};
}
