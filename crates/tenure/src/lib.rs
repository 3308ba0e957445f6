//! `async with` for Rust: whatever is entered is exited.
#![forbid(unsafe_code)]

mod cancel;
mod custody;
mod drain;
mod exit;
mod frame;
mod guarded;
mod held;
mod job;
mod outcome;
mod registry;
mod resources;
mod scope;
mod shield;
mod tenure;
mod with;

pub use cancel::CancelToken;
pub use drain::drain;
pub use exit::{AsyncExit, RecoverExit, Verdict};
pub use held::{Held, hold};
pub use outcome::{Ending, ErrorValue, Failure, Outcome};
pub use registry::{
    Counters, DrainReport, Incident, IncidentKind, KEPT_INCIDENTS_MAX, OpenTenure, OpenTenures,
    Phase, counters, open, set_default_report_sink, set_report_sink,
};
pub use resources::{
    Closing, ExitFn, ExitFuture, Released, closing, closing_with_outcome, released,
};
pub use shield::{Shield, Shielded, shield};
pub use with::{ExitError, Options, Stopped, WithError, with, with_detailed, with_recovering};
