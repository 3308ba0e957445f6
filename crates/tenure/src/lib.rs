//! `async with` for Rust: whatever is entered is exited, exactly once, in reverse order, knowing how the body ended, on
//! every path: return, error, panic, cancellation, timeout, shutdown.
//!
//! ```
//! use tenure::{AsyncExit, Outcome, with};
//!
//! struct Transaction(Vec<&'static str>);
//!
//! async fn begin() -> Result<Transaction, std::io::Error> {
//!     Ok(Transaction(vec!["BEGIN"]))
//! }
//!
//! impl AsyncExit for Transaction {
//!     type Error = std::io::Error;
//!
//!     async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), std::io::Error> {
//!         self.0.push(if outcome.is_completed() { "COMMIT" } else { "ROLLBACK" });
//!         tokio::task::yield_now().await;
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::io::Error> {
//! let rows = with(begin(), async |transaction| {
//!     transaction.0.push("INSERT");
//!     Ok::<_, std::io::Error>(1)
//! })
//! .await?;
//! assert_eq!(rows, 1);
//! # Ok(()) }
//! ```
//!
//! # Where to begin
//! | to … | use |
//! |---|---|
//! | hold one resource for the length of a block | [`with`] |
//! | make a resource of your own type, or of a foreign one | [`AsyncExit`], [`closing`], [`released`] |
//! | write enter and exit as one function | [`context()`](fn@context) |
//! | hold several, their number known at run time | [`ExitStack`], [`with_stack`] |
//! | enter several side by side | [`join`](fn@join) |
//! | hold one in a field, or across functions | [`hold`], [`Held::new`] |
//! | hold a resource that is there already | [`entered`](fn@entered) |
//! | finish an enter even when its caller is gone | [`shield`] |
//! | finish work that is no resource even when its caller is gone | [`run_to_completion`] |
//! | commit or roll back, in two functions | [`committing`] |
//! | limit the time, stop by a token, give a name | [`Options`] |
//! | let an exit suppress the body's error | [`RecoverExit`], [`with_recovering`] |
//! | get both errors | [`with_detailed`] |
//! | spawn tasks that do not outlive a block | [`task_group`], [`background`] |
//! | wait for what exits in the background | [`drain`] |
//! | see what is held now | [`open`], [`counters`] |
//! | learn of what went wrong in the background | [`set_report_sink`] |
//! | tell of what has no caller | [`report`](fn@report) |
//! | run a program until a signal | [`run`](fn@run), `#[tenure::main]` |
//!
//! # When a future is dropped
//! The body is dropped first; then the exit runs to its end in the background, on the runtime the resource was entered
//! on, before the exits of everything around it. An exit that is half done goes on where it was. The caller that dropped the
//! future does not wait for that, for `Drop` cannot: [`drain`] does, and [`Options`] offers limits and tokens that stop a
//! body and await its exit in place.
//!
//! # What cannot be promised
//! Nothing runs after `panic = "abort"`, `process::exit` or SIGKILL; a future that is leaked (`mem::forget`) is never
//! dropped; and exits are lost, though reported, when their runtime is gone before they have ended.
//!
//! # Features
//! - `signal` (default): [`run`](fn@run).
//! - `tracing` (default): incidents as events at `ERROR` of the target `tenure`; handed-over exits run in the span they
//!   were entered in. Without it, or where there is no subscriber, incidents that no sink takes are lines on standard
//!   error.
//! - `macros`: `#[tenure::main]`, `#[tenure::test]`, `#[tenure::context]`, `#[tenure::within]`.
//! - `tokio-util`: [`CancelToken`] from and to tokio-util's `CancellationToken`.
//! - `test-util`: a paused clock, `#[tenure::test(start_paused = true)]`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

mod as_part;
mod background;
mod cancel;
mod completion;
mod drain;
mod exit;
mod exit_errors;
mod exiting;
mod fault;
mod frame;
mod generator;
mod group;
mod held;
mod inline_exit;
mod job;
mod join;
mod label;
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

pub use background::{Background, background};
pub use cancel::CancelToken;
pub use completion::{Completion, run_to_completion};
pub use drain::drain;
pub use exit::{AsyncExit, RecoverExit, Verdict};
#[doc(hidden)]
pub use exit::{StopBody, StopSource};
pub use exit_errors::ExitErrors;
pub use fault::panic_message;
pub use generator::{Ended, Lender, Lent, LentRecovering, NeverLent, Returned, context, context_recovering};
pub use group::{SpawnError, Spawner, TaskGroup, task_group};
pub use held::{Held, hold};
pub use join::{Join, join};
pub use outcome::{Ending, ErrorValue, Failure, Outcome};
pub use registry::{
    Counters, DrainReport, Incident, IncidentKind, KEPT_INCIDENTS_MAX, OpenTenure, OpenTenures, Phase,
    counters, exit_deadline, open, report, set_default_report_sink, set_report_sink, wait_for_exit_deadline,
};
pub use resources::{
    Closing, ExitFn, ExitFuture, Released, closing, closing_with_outcome, committing, entered, released,
};
#[cfg(feature = "signal")]
pub use run::{Run, run};
pub use shield::{Shield, shield};
pub use stack::{ExitStack, with_stack};
// `context` is a function too: the two have a namespace each.
#[cfg(feature = "macros")]
pub use tenure_macros::{context, lend, main, test, within};
pub use with::{
    BodyFn, ExitError, Options, Stopped, WithError, with, with_at, with_detailed, with_local, with_recovering,
};

/// What the macros call. Not for others: it changes without notice.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod __private {
    pub use crate::run::{Fallible, Main, Test};
}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
